"""Functions over many tasks in several processes, when neither tasks nor results fit into memory at once."""

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from itertools import islice
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

CHUNK = 64  # tasks that a process is sent at a time


class _Process(SpawnProcess):
    """A process that does not run the user's script again, which may have no main guard."""

    _lock = threading.Lock()

    def start(self) -> None:
        main = vars(sys.modules["__main__"])
        with self._lock:
            script: dict[str, Any] = {name: main[name] for name in ("__file__", "__spec__") if name in main}
            main |= dict.fromkeys(("__file__", "__spec__"))
            try:
                super().start()
            finally:
                for name in ("__file__", "__spec__"):
                    del main[name]
                main |= script


class _Context(SpawnContext):
    Process = _Process


SPAWN = _Context()  #: for pools whose functions lie in lhdlib, not in the script


def in_order(pool: Executor, function: Callable[[Any], Any], tasks: Iterable) -> Iterator:
    """Results of `function`, in the order of `tasks`, of which a few chunks per core are drawn ahead and no more.

    `Executor.map` draws all at once, and `joblib.Parallel(return_as="generator")` as fast as tasks are done, whether
    or not their results are taken.

    Parameters
    ----------
    function : callable
        Takes one task; can be pickled.
    """
    tasks = iter(tasks)
    pending: deque[Future[list]] = deque()
    try:
        while True:
            while len(pending) < 4 * (os.cpu_count() or 1) and (chunk := list(islice(tasks, CHUNK))):
                pending.append(pool.submit(_each, function, chunk))
            if not pending:
                return
            yield from pending.popleft().result()
    finally:
        for future in pending:  # of an interrupted run
            future.cancel()


def _each(function: Callable, chunk: list) -> list:
    return [function(task) for task in chunk]
