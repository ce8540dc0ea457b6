"""The command ``lhdlib``: the one place for its arguments, a user's errors, interrupts and exit codes."""

import argparse
import importlib
import io
import os
import resource
import sys
from collections.abc import Sequence
from types import ModuleType

from lhdlib.errors import UserError

#: Subcommand -> the module that has its ``add_arguments(parser)`` and ``run(args) -> int``, and what it does. Modules
#: are named, not imported: a subcommand loads only what it needs, and those of `show` lie above this one.
COMMANDS = {
    "run": ("lhdlib.run.notebooks", "Regenerate every table and figure of the paper; ./run_all.sh is the same."),
    "fetch": ("lhdlib.data.archive", "Fetch the public archive of images and notes, or some patients of it."),
    "study": ("lhdlib.show.study", "Read one DICOM study with the model of a finished run."),
    "export": (
        "lhdlib.show.export",
        "Write the model of a finished run as one file, for others to read studies with.",
    ),
    "review": ("lhdlib.show.review", "List the discs that wait for a person's verdict, and how to give one."),
    "sweep": ("lhdlib.run.sweep", "List the pre-trainings of Table 3, or run them one by one or many at once."),
    "sensitivity": ("lhdlib.run.sensitivity", "Compute the main result under other readings of the paper."),
    "expect": ("lhdlib.run.expected", "Compare a run's numbers with those of the accepted runs."),
    "time": ("lhdlib.run.timing", "Time twenty steps of pre-training here, and state how long the whole run takes."),
    "readme": ("lhdlib.run.readme", "Write the numbers of figures/ and of the accepted runs into README.md and docs."),
    "labels": ("lhdlib.data.rsna", "Write labels.csv from another collection's gradings."),
    "compare": ("lhdlib.data.card", "Tell whether two sites built the same dataset."),
    "explain": ("lhdlib.run.provenance", "Say where figures or tables came from."),
}
MENDABLE, INTERRUPTED = 2, 130
OPEN_FILES = 256  # at once: sockets of a kernel, libraries, slices
EXIT_CODES = "Exit code: 0 done, 1 a negative answer or a failure, 2 an error that you can mend, 130 interrupted."


def parse(argv: Sequence[str]) -> tuple[ModuleType, argparse.Namespace]:
    """The module of a command line's subcommand, and its arguments; leaves with the usage (`SystemExit`) if wrong."""
    parser = argparse.ArgumentParser(
        prog="lhdlib", description="Companion to Hou et al. (2023), lumbar disc herniation.", epilog=EXIT_CODES
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (place, purpose) in COMMANDS.items():
        own = commands.add_parser(name, help=purpose, description=purpose, epilog=EXIT_CODES)
        if name == next(iter(argv), None):
            module = importlib.import_module(place)
            module.add_arguments(own)
    args = parser.parse_args(argv)
    return module, args


def _allow_open_files() -> None:
    """Raise the number of files that may be open at once where the system lets us, else say how."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= OPEN_FILES:
        return
    if hard != resource.RLIM_INFINITY and hard < OPEN_FILES:
        raise UserError(
            f"Only {hard} files may be open at once and {OPEN_FILES} are needed: start again where `ulimit -n` allows "
            "more."
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, hard))


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand; returns its exit code (`EXIT_CODES`)."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before a subcommand imports TensorFlow, and for its processes
    module, args = parse(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without σ or × shows their codes
    try:
        _allow_open_files()
        return module.run(args)
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return MENDABLE
    except KeyboardInterrupt:
        print("\nInterrupted: start the same command again to go on; what was finished is kept.", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
