"""Append a measurement to ``RESULTS.md`` with machine, versions and commit."""

import os
import platform
from pathlib import Path

from lhdlib.run import workspace

RESULTS = Path(__file__).with_name("RESULTS.md")


def record(title: str, lines: list[str], dry_run: bool = False) -> None:
    """Print one section and, unless `dry_run`, append it."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB"
    versions = ", ".join(f"{name} {version}" for name, version in workspace.versions().items())
    text = "\n".join([f"## {title}", "", *lines, "", f"{machine}; {versions}; commit {workspace.git_commit()}", ""])
    print(text)
    if dry_run:
        return
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write("\n" + text)
