"""What TensorFlow says as it starts, in real kernels; a stand-in says it, and at once."""

import os

import pytest
from jupyter_client.manager import start_new_kernel

from lhdlib.run.workspace import ROOT

TENSORFLOW = "import os\nos.write(2, b'no driver, whatever the level\\n')\n"


@pytest.fixture
def said(tmp_path, monkeypatch):
    """``said(code, *options)``: what a kernel shows below a cell as standard error, and its terminal."""
    (tmp_path / "tensorflow.py").write_text(TENSORFLOW)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))

    def run(code: str, *options: str) -> tuple[str, str]:
        terminal, shown = tmp_path / "terminal", []
        monkeypatch.delenv("PYTEST_CURRENT_TEST")  # with it a kernel shows nothing that native code writes
        with terminal.open("wb") as file:
            manager, client = start_new_kernel(stdout=file, stderr=file, extra_arguments=list(options))
            try:
                # The cell ends some time after its last line: what goes through the pipe is shown by then.
                reply = client.execute_interactive(f"{code}\nimport time; time.sleep(1)", 60, output_hook=shown.append)
            finally:
                client.stop_channels()
                manager.shutdown_kernel(now=True)
        assert reply["content"]["status"] == "ok", reply["content"]
        streams = [message["content"] for message in shown if message["msg_type"] == "stream"]
        return "".join(part["text"] for part in streams if part["name"] == "stderr"), terminal.read_text()

    return run


@pytest.mark.slow
def test_start_up_lines_go_to_the_terminal_and_later_ones_are_shown(said):
    below, terminal = said("import lhdlib.run.quiet, os\nos.write(2, b'out of memory')")
    assert below == "out of memory" and "no driver" in terminal


@pytest.mark.slow
def test_where_a_kernel_shows_no_native_lines_all_are_in_its_log(said):
    below, log = said("import lhdlib.run.quiet, os\nos.write(2, b'later')", "--IPKernelApp.capture_fd_output=False")
    assert below == "" and "no driver" in log and "later" in log


@pytest.mark.slow
def test_no_other_module_of_the_package_moves_standard_error(said):
    """The planted fault too: the stand-in's line is shown where `quiet` is not imported first."""
    below, _ = said("import lhdlib.run.workspace, lhdlib.run.stale, tensorflow")
    assert below == "no driver, whatever the level\n"
