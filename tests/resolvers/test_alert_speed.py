"""This module is where alerts are held to their promised speed; `benchmarks/alerts.py` measures, this compares."""

from __future__ import annotations

import statistics

import pytest

from benchmarks.alerts import GROUP, RULES, matched_per_cpu_second, ratios
from models.database import Database
from tests.report import record
from tests.world import Tenants, running

MATCHED_A_SECOND = 5_000
MOST_TIMES_A_BARE_INSERT = 4.0


@pytest.mark.faults
def test_five_thousand_alerts_a_second_of_cpu_are_matched_against_two_hundred_rules() -> None:
    rate = statistics.median(matched_per_cpu_second() for _ in range(5))
    record(7, f"alerts a second of CPU matched against {RULES} rules, at least 5,000", 5, f"{rate:,.0f}")
    assert rate >= MATCHED_A_SECOND


@pytest.mark.faults
async def test_a_group_of_a_thousand_takes_at_most_four_times_a_bare_insert(
    database: Database, tenants: Tenants
) -> None:
    async with running(database) as services:
        found = await ratios(services, tenants.mine, 5)
    ratio = statistics.median(found)
    record(7, f"a group of {GROUP:,} ingested, as a ratio to one bare multi-row insert, at most 4", 5, f"{ratio:.2f}")
    assert ratio <= MOST_TIMES_A_BARE_INSERT
