"""This module is where every place that takes an id is asked with a neighbour's: nothing comes back or changes."""

from __future__ import annotations

import random
import secrets
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from models import Role
from tests.report import record
from tests.schema.conftest import Gateway
from tests.tenancy.neighbours import Neighbour, fingerprint, move_in, serving
from tests.tenancy.sweep import SLOTS, Slot, candidates

CALLS = 20_000
A_TENTH = CALLS // 10
LAYERS = {"both layers": (True, True), "no filter": (False, True), "no row-level security": (True, False)}
SHOWS = {
    "both layers": "a generated sweep: three identical answers, zero foreign bytes in 20,000 calls",
    "no filter": "with the tenant filter removed on purpose, the sweep still leaks nothing (row-level security)",
    "no row-level security": "with row-level security off, the sweep still leaks nothing (filter)",
}
ASKED = [one for one in SLOTS if one.operation != "subscription"]


@dataclass(slots=True)
class Found:
    """What a sweep met."""

    calls: int = 0
    leaks: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)


async def swept(gateway: Gateway, mine: Neighbour, theirs: Neighbour, calls: int, dice: random.Random) -> Found:
    """Ask every slot as every role, in turns of random order, until ``calls`` were made."""
    found = Found()
    while found.calls < calls:
        turns = [(slot, role) for slot in ASKED for role in (Role.ADMIN, dice.choice(list(Role)))]
        dice.shuffle(turns)
        for slot, role in turns:
            await _ask(gateway, slot, role, mine, theirs, dice, found)
            if found.calls >= calls:
                break
    return found


async def _ask(
    gateway: Gateway,
    slot: Slot,
    role: Role,
    mine: Neighbour,
    theirs: Neighbour,
    dice: random.Random,
    found: Found,
) -> None:
    document, answers = slot.document(), dict[str, dict[bytes, str]]()
    for kind, prefix, candidate in candidates(theirs.ids, dice):
        answer = await gateway.answer(mine.who(role=role), document, **slot.variables(candidate, mine.ids))
        said = orjson.dumps(answer)
        found.calls += 1
        found.codes.update(_codes(answer))
        found.leaks += [f"{slot.name} {kind} {prefix}: {trace}" for trace in theirs.traces if trace.encode() in said]
        # What a role may know of depends on the kind of thing that an id names, so only an admin's answers are all one.
        group = "" if role is Role.ADMIN else prefix
        answers.setdefault(group, {}).setdefault(said, f"{kind} {prefix} {candidate[:40]}")
    for alike in answers.values():
        if len(alike) > 1:
            said_of = " ≠ ".join(f"{of}: {one[:200]!r}" for one, of in alike.items())
            found.differences.append(f"{slot.name} as {role.value}: {said_of}")


def _codes(answer: dict[str, Any]) -> list[str]:
    errors = [one["extensions"]["code"] for one in answer.get("errors", ())]
    for payload in (answer.get("data") or {}).values():
        if isinstance(payload, dict):
            errors += [one["code"] for one in payload.get("userErrors", ())]
    return errors or ["nothing"]


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("calls", [A_TENTH, pytest.param(CALLS, marks=pytest.mark.faults)])
async def test_no_id_of_a_neighbour_is_answered_otherwise_than_one_that_never_was(
    migrated: str, owner: AsyncEngine, layers: str, calls: int
) -> None:
    filtered, protected = LAYERS[layers]
    seed = secrets.randbits(32)
    async with serving(migrated, filtered=True, protected=True) as plain:
        mine, theirs = await move_in(plain, owner), await move_in(plain, owner)
    before = await fingerprint(owner, mine.id), await fingerprint(owner, theirs.id)
    async with serving(migrated, filtered=filtered, protected=protected) as gateway:
        found = await swept(gateway, mine, theirs, calls, random.Random(seed))
    after = await fingerprint(owner, mine.id), await fingerprint(owner, theirs.id)
    assert found.leaks == []
    assert found.differences == []
    assert _changed(before[1], after[1]) == set()
    assert _changed(before[0], after[0]) == set()
    # Refused for what it names, not for how it was asked.
    assert {"NOT_FOUND", "FORBIDDEN", "nothing"} <= set(found.codes)
    assert not {"BAD_REQUEST", "INTERNAL", "LIMIT_EXCEEDED", "THROTTLED"} & set(found.codes), found.codes
    record(
        4,
        SHOWS[layers],
        n=found.calls,
        figure=f"{len(ASKED)} places, 0 foreign bytes, 0 differences, no row of either tenant changed; seed {seed}",
    )


async def test_the_sweep_finds_a_leak_when_both_layers_are_gone(migrated: str, owner: AsyncEngine) -> None:
    async with serving(migrated, filtered=True, protected=True) as plain:
        mine, theirs = await move_in(plain, owner), await move_in(plain, owner)
    async with serving(migrated, filtered=False, protected=False) as gateway:
        found = await swept(gateway, mine, theirs, A_TENTH, random.Random(4))
    assert len({one.partition(")")[0] for one in found.leaks}) > 5
    assert len(found.differences) > 5


def _changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {table for table in before | after if before.get(table) != after.get(table)}


@pytest.mark.parametrize("slot", SLOTS, ids=lambda one: one.name)
def test_every_place_that_takes_an_id_is_asked_for_an_id_of_a_kind_that_there_is(slot: Slot, gateway: Gateway) -> None:
    assert slot.document().startswith(slot.operation)


def test_the_sweep_covers_queries_and_mutations() -> None:
    assert len([one for one in ASKED if one.operation == "query"]) >= 15
    assert len([one for one in ASKED if one.operation == "mutation"]) >= 25
