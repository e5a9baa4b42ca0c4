"""This module is where every place of a stream that takes an id is given a neighbour's: nothing comes of it."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from dataloaders.heartbeats import Beat
from models import Role, Scope
from models.ids import parse, uuid7
from schema.declare import Nodes
from subscriptions.cursor import Cursor
from subscriptions.fanout import Fanout
from subscriptions.replies import Piece, Place, Typing
from tests.patience import DEADLINE
from tests.report import record
from tests.schema.conftest import Gateway
from tests.schema.test_activity import envelope, tell
from tests.tenancy.neighbours import Neighbour, move_in, serving
from tests.tenancy.sweep import SLOTS, Slot, candidates

STREAMED: Final = [one for one in SLOTS if one.operation == "subscription"]
LAYERS: Final = {"both layers": (True, True), "no filter": (False, True), "no row-level security": (True, False)}
BEATS: Final = "heartbeats"
CHECKPOINT_SECONDS: Final = 0.1
DEPTH: Final = 3
"""Down to the events that items show."""

Items = AsyncGenerator[dict[str, Any], None]


@dataclass(slots=True)
class Found:
    """What the streams said."""

    streams: int = 0
    leaks: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    own: list[str] = field(default_factory=list)
    """What was said in answer to the caller's own ids: or silence would prove nothing."""

    def compare(self, slot: Slot, answers: dict[str, bytes], theirs: Neighbour) -> None:
        """Every id gets one answer, and no answer knows the neighbour."""
        self.streams += len(answers)
        for what, said in answers.items():
            self.leaks += [f"{slot.name} {what}: {trace}" for trace in theirs.traces if trace.encode() in said]
        alike = {said: what for what, said in answers.items()}
        if len(alike) > 1:
            self.differences.append(
                f"{slot.name}: " + " ≠ ".join(f"{what}: {said[:300]!r}" for said, what in alike.items())
            )


@asynccontextmanager
async def opened(
    gateway: Gateway, slot: Slot, role: Role, mine: Neighbour, ids: dict[str, str]
) -> AsyncIterator[dict[str, Items]]:
    """A stream for each of ``ids``, by what it is."""
    async with AsyncExitStack() as stack:
        found = {}
        for what, candidate in ids.items():
            variables = slot.variables(candidate, mine.ids)
            if slot.field == BEATS:
                # Their own beside it, so that there is always something to wait for.
                variables |= {"workspaceIds": [candidate, mine.ids["workspace"]]}
            document = slot.document(DEPTH)
            found[what] = await stack.enter_async_context(
                aclosing(await gateway.watch(mine.who(role=role), document, **variables))
            )
        yield found


async def next_of(items: Items) -> dict[str, Any]:
    return await asyncio.wait_for(anext(items), DEADLINE)


async def until(items: Items, seq: int) -> list[dict[str, Any]]:
    """What a durable stream says until it stands at ``seq``; signs of life are left out."""
    said: list[dict[str, Any]] = []
    while True:
        answer = await next_of(items)
        (item,) = (answer.get("data") or {"": None}).values()
        cursor = Cursor.decode(item["cursor"]) if item else None
        if item is None or item["__typename"] != "StreamCheckpoint":
            said.append(answer)
        if cursor is None or (cursor.seq >= seq and item["__typename"] == "StreamCheckpoint"):
            return said


async def stir(gateway: Gateway, tenant: Neighbour) -> int:
    """An event about each thing that the tenant has, by everybody that can act; where its log stands then."""
    place = str(parse(tenant.ids["workspace"], "workspace"))
    facets = {"workspace": {"id": place, "status": "online", "parent_id": place}}
    facets["approval"] = {f"{one}_id": str(parse(tenant.ids[one], one)) for one in ("user", "agent")}
    facets["message"] = {f"{one}_id": str(parse(tenant.ids[one], one)) for one in ("conversation", "agent")}
    for actor in ("user", "key", "workspace"):
        events = [
            envelope(
                f"{prefix}.touched",
                entity_type=prefix,
                entity_id=parse(tenant.ids[prefix], prefix),
                required_scope=Scope.ACTIVITY_READ,
                payload={"mark": tenant.mark},
                after=facets.get(prefix),
            )
            for prefix in Nodes.by_prefix
        ]
        await tell(gateway, tenant.id, *events, actor=(actor, parse(tenant.ids[actor], actor)))
    return (await gateway.services.tails.bounds(tenant.id))[1]


async def beat(gateway: Gateway, tenant: Neighbour) -> None:
    """A beat of the tenant's workspace, seen by whoever watches it."""
    document = "subscription { heartbeats(minIntervalMilliseconds: 100) { workspaceId currentTask receivedAt } }"
    async with aclosing(await gateway.watch(tenant.who(), document)) as watcher:
        before = (await next_of(watcher))["data"][BEATS]
        workspace_id = parse(tenant.ids["workspace"], "workspace")
        said = Beat(tenant_id=tenant.id, workspace_id=workspace_id, current_task=tenant.mark)
        await gateway.services.heartbeats.report(said)
        assert (await next_of(watcher))["data"][BEATS] != before


def asked(theirs: Neighbour, dice: random.Random) -> dict[str, str]:
    return {f"{kind} {prefix} {one[:40]!r}": one for kind, prefix, one in candidates(theirs.ids, dice)}


async def durable(
    gateway: Gateway, slot: Slot, role: Role, mine: Neighbour, theirs: Neighbour, dice: random.Random, found: Found
) -> None:
    """Watch while both tenants' logs grow."""
    ids, own = asked(theirs, dice), {"own": mine.ids[slot.prefix]}
    async with opened(gateway, slot, role, mine, ids | own) as streams:
        ready = {what: await next_of(items) for what, items in streams.items()}
        await stir(gateway, theirs)
        seq = await stir(gateway, mine)
        said = {what: [ready[what], *await until(items, seq)] for what, items in streams.items()}
    if len(said.pop("own")) > 1:
        found.own.append(slot.name)
    found.compare(slot, {what: orjson.dumps(answers) for what, answers in said.items()}, theirs)


async def beating(
    gateway: Gateway, slot: Slot, role: Role, mine: Neighbour, theirs: Neighbour, dice: random.Random, found: Found
) -> None:
    """Watch while both tenants' workspaces beat, and once more when they have."""
    ids = asked(theirs, dice)
    async with opened(gateway, slot, role, mine, ids) as streams:
        state = {what: await next_of(items) for what, items in streams.items()}
        await beat(gateway, theirs)
        await beat(gateway, mine)
        said = {what: orjson.dumps([state[what], await next_of(items)]) for what, items in streams.items()}
    found.compare(slot, said, theirs)
    if all(mine.ids["workspace"].encode() in one for one in said.values()):
        found.own.append(slot.name)
    async with opened(gateway, slot, role, mine, ids) as streams:
        found.compare(slot, {what: orjson.dumps(await next_of(items)) for what, items in streams.items()}, theirs)


async def talking(
    gateway: Gateway, slot: Slot, role: Role, mine: Neighbour, theirs: Neighbour, dice: random.Random, found: Found
) -> None:
    """Watch while in both tenants somebody types, and a reply is being written."""
    replies = gateway.services.reply_board.replies
    places = [Place(one.id, parse(one.ids["conversation"], "conversation")) for one in (theirs, mine)]

    async def stir_up() -> None:
        for place, tenant in zip(places, (theirs, mine), strict=True):
            await replies.begin(place, Piece(uuid7(), 0, tenant.mark, False), "somebody")
            await replies.tell_typing(place, Typing(parse(tenant.ids["user"], "user"), True))

    ids = asked(theirs, dice)
    async with opened(gateway, slot, role, mine, ids | {"own": mine.ids[slot.prefix]}) as streams:
        seen = asyncio.create_task(next_of(streams.pop("own")), name="own")
        # Until a watcher stands no sign of typing reaches it: it is given again, as clients do.
        while not seen.done():
            await stir_up()
            await asyncio.wait({seen}, timeout=0.1)
        if seen.result().get("data"):
            found.own.append(slot.name)
        said = {what: orjson.dumps([one async for one in items]) for what, items in streams.items()}
    found.compare(slot, said, theirs)


async def deciding(
    gateway: Gateway, slot: Slot, role: Role, mine: Neighbour, theirs: Neighbour, dice: random.Random, found: Found
) -> None:
    """Wait for decisions: of what is not there nothing comes, of one's own what was decided."""
    ids = asked(theirs, dice)
    own = mine.ids[slot.prefix]
    async with opened(gateway, slot, role, mine, ids | {"own": own}) as streams:
        seen = asyncio.create_task(next_of(streams.pop("own")), name="own")
        said = {what: orjson.dumps([one async for one in items]) for what, items in streams.items()}
        await gateway.answer(
            mine.who(),
            "mutation($input: CancelApprovalInput!) { cancelApproval(input: $input) { approval { id } } }",
            input={"id": own},
        )
        if (await seen).get("data"):
            found.own.append(slot.name)
    found.compare(slot, said, theirs)


WATCH: Final = {BEATS: beating, "messageChunks": talking, "typing": talking, "approvalDecided": deciding}
"""How what is not durable is watched."""


@asynccontextmanager
async def impatient(migrated: str, *, filtered: bool, protected: bool) -> AsyncIterator[Gateway]:
    """A gateway whose idle streams say at once where they stand."""
    async with serving(migrated, filtered=filtered, protected=protected) as gateway:
        services = gateway.services
        yield Gateway(replace(services, fanout=Fanout(services.tails, CHECKPOINT_SECONDS)))


@pytest.mark.parametrize("layers", LAYERS)
async def test_no_stream_is_another_for_a_neighbours_id_than_for_one_that_never_was(
    migrated: str, owner: AsyncEngine, layers: str
) -> None:
    filtered, protected = LAYERS[layers]
    seed, found = secrets.randbits(32), Found()
    dice = random.Random(seed)
    async with serving(migrated, filtered=True, protected=True) as plain:
        mine, theirs = await move_in(plain, owner), await move_in(plain, owner)
    async with impatient(migrated, filtered=filtered, protected=protected) as gateway:
        for slot in STREAMED:
            for role in (Role.ADMIN, Role.VIEWER):
                await WATCH.get(slot.field, durable)(gateway, slot, role, mine, theirs, dice, found)
    assert found.leaks == []
    assert found.differences == []
    assert sorted(found.own) == sorted(2 * [one.name for one in STREAMED])
    record(
        4,
        f"subscriptions by a neighbour's id, {layers}: three identical answers, zero foreign bytes",
        n=found.streams,
        figure=f"{len(STREAMED)} places, 2 roles, 0 foreign bytes, 0 differences; seed {seed}",
    )


async def test_the_streams_show_a_leak_when_both_layers_are_gone(migrated: str, owner: AsyncEngine) -> None:
    found, dice = Found(), random.Random(4)
    async with serving(migrated, filtered=True, protected=True) as plain:
        mine, theirs = await move_in(plain, owner), await move_in(plain, owner)
    async with impatient(migrated, filtered=False, protected=False) as gateway:
        for slot in STREAMED:
            if slot.field == BEATS:
                await beating(gateway, slot, Role.ADMIN, mine, theirs, dice, found)
    assert found.leaks
    assert found.differences


def test_every_stream_that_takes_an_id_is_asked() -> None:
    assert {one.field for one in STREAMED} >= {"activityFeed", "workspaceStatus", "conversationMessages", *WATCH}
