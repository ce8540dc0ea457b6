"""Tasks are drawn a few at a time, and results come in their order."""

from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice

import pytest

from lhdlib.data import parallel


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
