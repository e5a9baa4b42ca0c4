"""This module is where whoever watches a fleet sees how it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from gateway.simulate.report import FleetReport

Progress = Callable[[FleetReport], None]


@contextmanager
def shown_on(console: Console) -> Iterator[Progress]:
    """What to hand to ``run_fleet``: one line that changes in place on a terminal, a new line each time elsewhere."""
    if not console.is_terminal:
        yield lambda report: console.print(report.summary, highlight=False, markup=False, soft_wrap=True)
        return
    with console.status("starting") as status:
        yield lambda report: status.update(report.summary)
