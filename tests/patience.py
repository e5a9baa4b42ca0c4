"""This module is where tests get how long they wait: no test fails because the machine had something else to do.

A promised time holds exactly where a test runs alone (`make test-faults`, `pytest` by hand). Where tests run side by
side (`make test`) the machine is theirs together, and each allows ten times as much.
"""

import os
from typing import Final

DEADLINE: Final = 60.0
"""Seconds; longer than anything takes that does not hang."""

_SIDE_BY_SIDE: Final = "PYTEST_XDIST_WORKER" in os.environ


def promised(seconds: float) -> float:
    """The seconds within which something must have happened that is promised within ``seconds``."""
    return seconds * (10.0 if _SIDE_BY_SIDE else 1.0)
