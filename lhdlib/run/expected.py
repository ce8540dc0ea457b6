"""Has a run come out as it should? Its numbers beside those of accepted runs, with tolerances.

    lhdlib expect results/demo            # compare
    lhdlib expect results/demo --accept   # add this run to the accepted ones

Counts and the data's fingerprint must be equal. An estimate must lie in the 95 % prediction interval for one further
run: the mean of the accepted runs ± t · s · √(1 + 1/K), with s the standard deviation of their K values and t of K − 1
degrees of freedom, and `FLOOR` at least. The accepted runs differ in rounding, and training makes another network of
that; the interval of a single run would not do, since it resamples patients. Where one accepted run alone has an
estimate (the first, or an estimate that came later), its own 95 % interval is all there is and stands in.

Of a sound run's estimates 5 % are expected outside. They are correlated, so in one run there may be more: `CHANCE`. The
headline's four metrics would drown among them; each must lie in its 99 % prediction interval.
"""

import argparse
import functools
import operator
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from lhdlib import files
from lhdlib.errors import UserError
from lhdlib.run import timing

LEVEL = 0.95  # of the prediction intervals
HEADLINE, HEADLINE_LEVEL = "04/headline/metrics/", 0.99  # of these none may lie outside
FLOOR = 0.01  # their least half width: some estimates were the same in all accepted runs
CHANCE = 0.1  # of the estimates may lie outside all the same: twice as many as expected
FOLDER = Path(__file__).with_name("expected_numbers")
#: Where estimates are: notebook, file, and a place in it; other places of ``08/evidence.json`` repeat the headline.
ESTIMATES = (
    "04/headline",
    "05/comparisons",
    "06/comparisons",
    "08/evidence/added_to_level",
    "08/evidence/balance",
    "08/evidence/calibration",
    "08/evidence/controls",
    "08/evidence/ceiling",
    "08/evidence/levels",
    "08/evidence/splits",
    "08/localisation",
)


def collect(results: Path) -> dict[str, Any]:
    """The numbers of a finished run.

    Parameters
    ----------
    results : Path
        Folder of the run, such as ``results/demo``.

    Returns
    -------
    dict
        ``run``: profile, seed and data; ``commits``: this run's; ``exact``: name -> count or fingerprint;
        ``estimates``: name -> value and ends of its interval.

    Raises
    ------
    UserError
        When the run has not finished.
    """
    stamp, dataset = (files.read_json(results / name) for name in ("stamp.json", "01/dataset.json"))
    estimates: dict[str, dict[str, float]] = {}
    for place in ESTIMATES:
        number, name, *inner = place.split("/")
        path = results / number / f"{name}.json"
        if path.is_file():  # lesions have no masks in the real archive
            found = functools.reduce(operator.getitem, inner, files.read_json(path))
            estimates |= dict(_estimates(found, place))
    return {
        "run": {key: stamp[key] for key in ("profile", "seed", "data")},
        "commits": [stamp["commit"]],
        "exact": {"fingerprint": dataset["fingerprint"], **dataset["counts"]},
        "estimates": estimates,
    }


def _estimates(found: Mapping[str, Any], place: str) -> Iterator[tuple[str, dict[str, float]]]:
    """Everything with an interval, however deep, under the name of its place; what had no value (nan) is left out."""
    value = found.get("value", found.get("mean"))
    if value is not None and not np.isnan(value) and {"low", "high"} <= found.keys():
        yield place, {"value": value, "low": found["low"], "high": found["high"]}
    for name, inner in found.items():
        if isinstance(inner, Mapping):
            yield from _estimates(inner, f"{place}/{name}")


def widened(expected: Mapping[str, Any] | None, found: Mapping[str, Any]) -> dict[str, Any]:
    """Add `found` to the accepted runs; `expected` is None for the first one.

    Returns
    -------
    dict
        Like that of `collect`, with ``commits`` of all runs, and for each of ``estimates`` all ``values`` (fewer
        where earlier runs lacked it), the lowest and the highest end of the intervals.

    Raises
    ------
    UserError
        When the runs differ in data or a count, or `found` lacks an estimate.
    """
    expected = expected or {**found, "commits": [], "estimates": {}}
    same = all(expected[key] == found[key] for key in ("run", "exact"))
    if not same or not expected["estimates"].keys() <= found["estimates"].keys():
        path = expected_path(found)
        raise UserError(f"The accepted runs had other data or more estimates: delete {path} to start anew.")
    estimates = {}
    for name, new in found["estimates"].items():
        old = expected["estimates"].get(name, {"values": [], "low": np.inf, "high": -np.inf})
        estimates[name] = {
            "values": [*old["values"], new["value"]],
            "low": min(old["low"], new["low"]),
            "high": max(old["high"], new["high"]),
        }
    return {**found, "commits": expected["commits"] + found["commits"], "estimates": estimates}


def inexact(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """A line for each count or fingerprint of `expected` that `found` lacks or that differs."""
    return [
        f"{name}: {found['exact'].get(name, 'absent')}, expected {value}"
        for name, value in expected["exact"].items()
        if found["exact"].get(name) != value
    ]


def tolerance(accepted: Mapping[str, Any], *, level: float = LEVEL) -> tuple[float, float]:
    """The ends between which a further run's value of an estimate should lie (see the module's text).

    Parameters
    ----------
    accepted : mapping
        Of the ``estimates`` of `widened`.
    level : float
        Of the prediction interval.
    """
    values = accepted["values"]
    if len(values) == 1:
        return accepted["low"], accepted["high"]
    half = stats.t.ppf((1 + level) / 2, len(values) - 1) * np.std(values, ddof=1) * np.sqrt(1 + 1 / len(values))
    return np.mean(values) - max(half, FLOOR), np.mean(values) + max(half, FLOOR)


def outside(found: Mapping[str, Any], expected: Mapping[str, Any], *, level: float = LEVEL) -> list[str]:
    """A line for each estimate of `expected` that `found` lacks or that lies outside its tolerance."""
    lines = []
    for name, accepted in expected["estimates"].items():
        value, (low, high) = found["estimates"].get(name, {}).get("value"), tolerance(accepted, level=level)
        if value is None or not low <= value <= high:  # NaN differs too
            lines.append(f"{name}: {'absent' if value is None else f'{value:.4f}'}, expected {low:.4f} to {high:.4f}")
    return lines


def expected_path(found: Mapping[str, Any]) -> Path:
    """Where the numbers that a run with this profile and seed should give are kept."""
    return FOLDER / f"{found['run']['profile']}-seed{found['run']['seed']}.json"


def verdict(results: Path) -> str:
    """Whether a run came out as expected, and what differs; says so when nothing is known of such a run.

    Raises
    ------
    UserError
        When the run has not finished.
    """
    found = collect(results)
    path = expected_path(found)
    expected = files.read_json(path) if path.is_file() else None
    if expected is None or expected["run"] != found["run"]:
        return "Not compared: no earlier run of this profile, seed and data is known."
    different, far = inexact(found, expected), outside(found, expected)
    astray = any(line.startswith(HEADLINE) for line in outside(found, expected, level=HEADLINE_LEVEL))
    total, estimates = len(expected["exact"]) + len(expected["estimates"]), len(expected["estimates"])
    if different or astray or len(far) > CHANCE * estimates:
        said = f"NOT as earlier runs: {len(different + far)} of {total} numbers differ."
    else:
        said = f"As earlier runs, within tolerance: {total - len(far)} of {total} numbers agree."
        said += f" Outside, as up to {CHANCE:.0%} of the estimates may be by chance:" if far else ""
    return "\n  ".join([said, *different, *far])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``lhdlib expect``."""
    parser.epilog = "Exit code: 0 as earlier runs or not compared, 1 not as earlier runs, 2 an error that you can mend."
    parser.add_argument("results", type=Path, help="a finished run, such as results/demo")
    parser.add_argument("--accept", action="store_true", help="add this run to the accepted ones")


def run(args: argparse.Namespace) -> int:
    """Run ``lhdlib expect``; returns 1 when the run differs from the accepted ones."""
    if args.accept:
        found = collect(args.results)
        path = expected_path(found)
        files.write_json(path, widened(files.read_json(path) if path.is_file() else None, found))
        timing.keep(args.results, found["run"]["profile"])
    said = verdict(args.results)
    print(said)
    return int(said.startswith("NOT"))
