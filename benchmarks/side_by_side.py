"""Ways to do the same work, timed in turn within one process, so that other load on the machine meets all of them."""

import argparse
import time
from collections.abc import Callable

import numpy as np

from lhdlib.progress import progress_bar


def options(description: str, rounds: int) -> argparse.ArgumentParser:
    """What the command lines share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=rounds, help="how often each side is timed")
    parser.add_argument("--dry-run", action="store_true", help="print, do not append to RESULTS.md")
    return parser


def alternate(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, np.ndarray]:
    """Seconds of each way in each round, after one call each that builds graphs and warms caches."""
    for way in ways.values():
        way()
    seconds = {name: np.zeros(rounds) for name in ways}
    for number in progress_bar(range(rounds), desc="rounds"):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name][number] = time.perf_counter() - start
    return seconds


def compare(seconds: dict[str, np.ndarray], work: float, unit: str) -> list[str]:
    """Rate of each way, and how many times as fast the first one is: medians over rounds (least to most)."""
    first = next(iter(seconds))
    lines = []
    for name, times in seconds.items():
        line = f"- {name}: {_spread(work / times)} {unit}/s"
        if name != first:
            line += f"; {first} is {_spread(times / seconds[first])} times as fast"
        lines.append(line)
    return lines


def _spread(values: np.ndarray) -> str:
    digits = 0 if np.median(values) >= 100 else 2
    return f"{np.median(values):.{digits}f} ({values.min():.{digits}f} to {values.max():.{digits}f})"
