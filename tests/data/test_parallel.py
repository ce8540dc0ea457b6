"""Tasks are drawn a few at a time, and results come in their order."""

import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import count, islice

import pytest

from lhdlib.data import parallel
from lhdlib.data.dicom_file import rules


@pytest.mark.parametrize("total", [0, 1, parallel.CHUNK, 10 * parallel.CHUNK + 3])
def test_results_come_in_order(total):
    with ThreadPoolExecutor(3) as pool:
        assert list(parallel.in_order(pool, str, range(total))) == [str(number) for number in range(total)]


def test_endless_tasks_are_drawn_as_their_results_are_taken(monkeypatch):
    monkeypatch.setattr(parallel.os, "cpu_count", lambda: 2)
    drawn = []

    def tasks():
        for number in count(1):
            drawn.append(number)
            yield number

    with ThreadPoolExecutor(2) as pool:
        results = parallel.in_order(pool, abs, tasks())
        for taken in (1, 1000, 1000):
            assert list(islice(results, taken))[-1] <= len(drawn)
            assert len(drawn) <= 2001 + 9 * parallel.CHUNK
        results.close()


def test_an_error_ends_it_and_the_rest_is_not_begun():
    begun = []

    def work(task):
        begun.append(task)
        return 1 // (5 - task)

    with ThreadPoolExecutor(1) as pool, pytest.raises(ZeroDivisionError):
        list(parallel.in_order(pool, work, range(10**9)))
    assert begun[-1] < 3 * parallel.CHUNK


SCRIPT = """
import sys
from concurrent.futures import ProcessPoolExecutor
from lhdlib.data import parallel
from lhdlib.data.dicom_file import rules
print("once")
with ProcessPoolExecutor(2, mp_context=parallel.SPAWN) as pool:
    print(sum(parallel.in_order(pool, abs, range(-500, 0))))
print(sys.modules["__main__"].__dict__.get("__file__", "no file"), sys.modules["__main__"].__spec__ is None)
"""


@pytest.mark.slow
@pytest.mark.parametrize("way", ["script", "module", "-c", "standard input"])
def test_a_script_without_main_guard_is_not_run_again(way, tmp_path):
    (tmp_path / "mine.py").write_text(SCRIPT)
    command = {"script": ["mine.py"], "module": ["-m", "mine"], "-c": ["-c", SCRIPT], "standard input": ["-"]}[way]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, *command],
        input=SCRIPT,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        timeout=300,
    )
    expected = {"script": f"{tmp_path}/mine.py True", "module": f"{tmp_path}/mine.py False"}
    lines = done.stdout.splitlines()
    assert lines[:2] == ["once", "125250"], done.stderr
    assert lines[2].endswith(expected.get(way, " True").removeprefix(f"{tmp_path}/"))


@pytest.mark.slow
def test_processes_that_read_files_import_no_pandas():
    with ProcessPoolExecutor(1, mp_context=parallel.SPAWN) as pool:
        record = pool.submit(rules.read_header, "nowhere", "0001/a").result()
        assert record["reason"] == "unreadable: FileNotFoundError"
        assert not pool.submit(eval, "'pandas' in __import__('sys').modules").result()
