"""Fixtures of the tests of the data."""

import threading
from http.server import ThreadingHTTPServer

import pytest

from lhdlib.data import remote
from tests.data.server import Handler


@pytest.fixture
def server(monkeypatch):
    """A server whose faults a test switches on; ``log`` has an entry per request."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(remote, "WAITS", (0, 0, 0))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.lock, server.held, server.released = threading.Lock(), threading.Event(), threading.Event()
    server.files, server.log, server.cuts, server.statuses, server.lies = {}, [], [], [], {}
    server.ranges, server.surplus, server.shift, server.hold_from = True, b"", 0, 0
    server.address = f"http://127.0.0.1:{server.server_port}"
    server.sent = lambda path="/images": sum(entry.sent for entry in server.log if entry.path == path)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()
