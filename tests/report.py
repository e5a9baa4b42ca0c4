"""This module is where tests write down what they showed and with which numbers; `python -m tests.report` prints it.

A line is kept per measurement, so a Show proven by several tests has several lines.
"""

import json
import sys
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

REPORT = Path(__file__).parents[1] / ".signalbox" / "shows.jsonl"


class Row(NamedTuple):
    """One thing shown: the issue that promised it, what it is, how many of it, and what was measured."""

    issue: int
    show: str
    n: int
    figure: str


def record(issue: int, show: str, n: int, figure: str) -> None:
    """Appends one row; safe from several processes, since a short append is one write."""
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    with REPORT.open("a", encoding="utf-8") as report:
        report.write(json.dumps(Row(issue, show, n, figure)._asdict()) + "\n")


def read(report: Path = REPORT) -> list[Row]:
    """Every row, by issue, in the order they were written."""
    if not report.exists():
        return []
    rows = [Row(**json.loads(line)) for line in report.read_text(encoding="utf-8").splitlines()]
    return sorted(rows, key=lambda row: row.issue)


def table(rows: list[Row]) -> str:
    """The rows as text, one block an issue, columns aligned."""
    if not rows:
        return "nothing was recorded; run make test-full"
    show = max(len(row.show) for row in rows)
    n = max(len(f"{row.n:,}") for row in rows)
    lines = []
    for issue, of_issue in groupby(rows, key=lambda row: row.issue):
        lines.append(f"issue {issue}")
        lines += [f"  {row.show:<{show}}  N = {row.n:>{n},}  {row.figure}".rstrip() for row in of_issue]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(table(read()) + "\n")
