"""This module is where ``make bench`` begins: every benchmark, one table each."""

from __future__ import annotations

import argparse
from typing import Final

from benchmarks import alerts, fanout, policy

NAMES: Final = ("policy", "alerts", "fanout")


def main() -> None:
    """Run the benchmarks and print their tables."""
    parser = argparse.ArgumentParser(prog="benchmarks", description="Ratios, median of interleaved rounds.")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, help="default: all of them")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default 5)")
    parser.add_argument("--seconds", type=float, default=6.0, help="measured seconds of each cell (default 6)")
    parser.add_argument("--subscribers", type=int, nargs="+", default=[200, 1000], help="default 200 1000")
    arguments = parser.parse_args()
    if "policy" in arguments.only:
        policy.run(arguments.rounds)
    if "alerts" in arguments.only:
        alerts.run(arguments.rounds)
    if "fanout" in arguments.only:
        fanout.run(arguments.subscribers, arguments.rounds, arguments.seconds)


if __name__ == "__main__":
    main()
