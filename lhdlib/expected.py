"""Has a run come out as it should? Its numbers beside those of a committed run, with tolerances.

    python -m lhdlib.expected results/demo            # compare
    python -m lhdlib.expected results/demo --accept   # let this run's numbers be the expected ones

Counts and the data's fingerprint must be equal. An estimate may differ by half the width of its 95 % interval: another
processor rounds differently, training amplifies that, and within the interval no difference means anything.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lhdlib import workspace
from lhdlib.errors import UserError

FOLDER = Path(__file__).with_name("expected_numbers")
ESTIMATES = ("04/headline.json", "05/comparisons.json", "06/comparisons.json", "07/localisation.json")


def collect(results: Path) -> dict[str, Any]:
    """The numbers of a finished run.

    Parameters
    ----------
    results : Path
        Folder of the run, such as ``results/demo``.

    Returns
    -------
    dict
        ``run``: profile, seed and data; ``exact``: name -> count or fingerprint; ``estimates``: name -> value and
        tolerance.

    Raises
    ------
    UserError
        When the run has not finished.
    """
    stamp, dataset = (workspace.read_json(results / name) for name in ("stamp.json", "01/dataset.json"))
    estimates = {}
    for name in ESTIMATES:
        if (results / name).is_file():  # lesions have no masks in the real archive
            estimates |= dict(_estimates(workspace.read_json(results / name), Path(name).with_suffix("").as_posix()))
    return {
        "run": {key: stamp[key] for key in ("profile", "seed", "data")},
        "exact": {"fingerprint": dataset["fingerprint"], **dataset["counts"]},
        "estimates": estimates,
    }


def _estimates(found: Mapping[str, Any], place: str) -> Iterator[tuple[str, dict[str, float]]]:
    """Everything with an interval, however deep, under the name of its place."""
    value = found.get("value", found.get("mean"))
    if value is not None and {"low", "high"} <= found.keys():
        yield place, {"value": value, "tolerance": (found["high"] - found["low"]) / 2}
    for name, inner in found.items():
        if isinstance(inner, Mapping):
            yield from _estimates(inner, f"{place}/{name}")


def differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """A line for each number of `expected` that `found` lacks or that lies outside its tolerance."""
    lines = []
    for name, value in expected["exact"].items():
        if found["exact"].get(name) != value:
            lines.append(f"{name}: {found['exact'].get(name, 'absent')}, expected {value}")
    for name, wanted in expected["estimates"].items():
        got = found["estimates"].get(name)
        if got is None:
            lines.append(f"{name}: absent, expected {wanted['value']:.4f}")
        elif not abs(got["value"] - wanted["value"]) <= wanted["tolerance"]:  # NaN differs too
            lines.append(f"{name}: {got['value']:.4f}, expected {wanted['value']:.4f} ± {wanted['tolerance']:.4f}")
    return lines


def expected_path(found: Mapping[str, Any]) -> Path:
    """Where the numbers that a run with this profile and seed should give are kept."""
    return FOLDER / f"{found['run']['profile']}-seed{found['run']['seed']}.json"


def verdict(results: Path) -> str:
    """One line when a run came out as expected, otherwise what differs; says so when nothing is known of such a run.

    Raises
    ------
    UserError
        When the run has not finished.
    """
    found = collect(results)
    path = expected_path(found)
    expected = workspace.read_json(path) if path.is_file() else None
    if expected is None or expected["run"] != found["run"]:
        return "Not compared: there are no expected numbers for this profile, seed and data."
    total = len(expected["exact"]) + len(expected["estimates"])
    lines = differences(found, expected)
    if not lines:
        return f"Reproduced within tolerance: {total} of {total} numbers are as expected."
    return "\n  ".join([f"NOT reproduced: {len(lines)} of {total} numbers differ from the expected ones.", *lines])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 0, 1 (not reproduced) or 2 (a mistake to mend)."""
    parser = argparse.ArgumentParser(prog="python -m lhdlib.expected", description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="a finished run, such as results/demo")
    parser.add_argument("--accept", action="store_true", help="write this run's numbers as the expected ones")
    args = parser.parse_args(argv)
    try:
        if args.accept:
            found = collect(args.results)
            workspace.write_json(expected_path(found), found)
        said = verdict(args.results)
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    print(said)
    return int(said.startswith("NOT"))


if __name__ == "__main__":
    sys.exit(main())
