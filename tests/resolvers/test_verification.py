"""This module is where tampering is specified: whatever the database's owner does, the first bad entry is named."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import orjson
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from models import utcnow
from models.chain import CHAINED
from models.database import Database, DatabaseUrls, PoolOptions
from models.ids import suffix
from models.sealing import AuditKeys
from resolvers.anchors import Anchoring, read_anchors
from resolvers.verification import Anchor, verify_tenant
from tests.report import record
from tests.resolvers.chains import Chain, Intruder
from tests.world import AUDIT, Tenants

LENGTH = 12
TAMPERINGS = 60

EDITS = {
    "action": "action || '.really'",
    "actor_id": "gen_random_uuid()",
    "actor_type": "'key'",
    "contents": "contents || '\\x00'::bytea",
    "details": "'{}'",
    "key_id": "'\\x00'::bytea || key_id",
    "mac": "sha256(mac)",
    "occurred_at": "occurred_at - interval '1 microsecond'",
    "origin": "'\\x01'::bytea",
    "resource_id": "gen_random_uuid()",
    "resource_type": "'user'",
    "subject_id": "gen_random_uuid()",
    "trace_id": "'forged'",
}
"""What an owner may write over each column; seq, id and tenant_id have tests of their own."""


class Shelf:
    """A place for anchors that the database's owner does not reach."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    async def keep(self, lines: list[bytes]) -> None:
        """Keep them."""
        self.lines += lines

    def anchors(self) -> list[Anchor]:
        """What was kept."""
        return list(read_anchors(self.lines))


async def always() -> bool:
    return True


async def anchored(database: Database) -> Shelf:
    """All heads as they stand now, anchored."""
    shelf = Shelf()
    await Anchoring(database, AUDIT, shelf, utcnow).run(always)
    return shelf


@pytest.fixture(scope="module")
async def superuser(migrated: str) -> AsyncIterator[AsyncEngine]:
    """Whoever owns the server."""
    engine = create_async_engine(migrated)
    yield engine
    await engine.dispose()


@pytest.fixture
async def chain(database: Database, tenants: Tenants) -> Chain:
    """A log of twelve entries."""
    made = Chain(database, tenants.mine)
    await made.grow(LENGTH)
    return made


@pytest.fixture
def intruder(superuser: AsyncEngine, chain: Chain) -> Intruder:
    """Somebody who may do anything to it."""
    return Intruder(superuser, chain.tenant_id)


async def _first_bad(chain: Chain, anchors: list[Anchor] | None = None) -> tuple[int, str]:
    fault = (await chain.verdict(anchors or [])).fault
    assert fault is not None
    return fault.seq, fault.what


async def test_a_log_that_nobody_touched_is_whole(chain: Chain, database: Database, tenants: Tenants) -> None:
    verdict = await chain.verdict((await anchored(database)).anchors())
    assert (verdict.entries, verdict.fault) == (LENGTH, None)
    empty = await Chain(database, tenants.other).verdict()
    assert (empty.entries, empty.fault) == (0, None)


@pytest.mark.parametrize("column", EDITS)
async def test_an_edited_entry_is_named(chain: Chain, intruder: Intruder, column: str) -> None:
    await intruder.run(f"UPDATE audit_logs SET {column} = {EDITS[column]} WHERE tenant_id = :tenant AND seq = 7")
    seq, what = await _first_bad(chain)
    assert seq == 7
    assert "not as it was written" in what or "key that is not" in what
    fault = (await chain.verdict()).fault
    assert fault is not None
    assert fault.entry == (await chain.rows())[6].typeid


def test_every_column_of_an_entry_is_tried() -> None:
    assert {*EDITS, "tenant_id", "id", "seq"} == {*CHAINED, "occurred_at", "key_id", "mac"}


@pytest.mark.parametrize("seq", [1, 2, 7, LENGTH - 1])
async def test_a_deleted_entry_is_named(chain: Chain, intruder: Intruder, seq: int) -> None:
    await intruder.run("DELETE FROM audit_logs WHERE tenant_id = :tenant AND seq = :seq", seq=seq)
    named, what = await _first_bad(chain)
    assert named == seq
    assert "is missing" in what


async def test_a_deleted_entry_is_named_when_those_behind_it_are_numbered_anew(
    chain: Chain, intruder: Intruder
) -> None:
    await intruder.run(
        "DELETE FROM audit_logs WHERE tenant_id = :tenant AND seq = 7",
        "UPDATE audit_logs SET seq = seq - 1 WHERE tenant_id = :tenant AND seq > 7",
        "UPDATE audit_heads SET seq = seq - 1 WHERE tenant_id = :tenant",
    )
    assert (await _first_bad(chain))[0] == 7


@pytest.mark.parametrize("what", ["seq", "id", "both"])
async def test_two_entries_that_changed_places_are_named(chain: Chain, intruder: Intruder, what: str) -> None:
    one, other = (await chain.rows())[4], (await chain.rows())[7]
    columns = {"seq": ("seq",), "id": ("id",), "both": ("seq", "id")}[what]
    spare = {"seq": 10_000, "id": UUID(int=one.id.int ^ 1)}
    for column in columns:
        mine, theirs = f"{column} = '{getattr(one, column)}'", f"{column} = '{getattr(other, column)}'"
        where = "WHERE tenant_id = :tenant AND"
        await intruder.run(
            f"UPDATE audit_logs SET {column} = '{spare[column]}' {where} {mine}",
            f"UPDATE audit_logs SET {mine} {where} {theirs}",
            f"UPDATE audit_logs SET {theirs} {where} {column} = '{spare[column]}'",
        )
    assert (await _first_bad(chain))[0] == 5


async def test_a_tail_that_was_cut_off_is_named_by_the_head(chain: Chain, intruder: Intruder) -> None:
    await intruder.run("DELETE FROM audit_logs WHERE tenant_id = :tenant AND seq > 9")
    seq, what = await _first_bad(chain)
    assert seq == 10
    assert "12 entries, by its head" in what


_CUT = (
    "DELETE FROM audit_logs WHERE tenant_id = :tenant AND seq > 9",
    "UPDATE audit_heads h SET seq = 9, last_id = a.id, mac = a.mac FROM audit_logs a "
    "WHERE h.tenant_id = :tenant AND a.tenant_id = :tenant AND a.seq = 9",
)


async def test_a_tail_that_was_cut_off_together_with_its_head_is_named_by_its_anchor(
    chain: Chain, intruder: Intruder, database: Database
) -> None:
    shelf = await anchored(database)
    await intruder.run(*_CUT)
    # Within the database nothing is missing: only what was written elsewhere knows.
    assert (await chain.verdict()).fault is None
    seq, what = await _first_bad(chain, shelf.anchors())
    assert seq == 10
    assert "by its anchor" in what
    # The log goes on, and is longer than the anchor says: it is another one all the same.
    await chain.grow(5)
    seq, what = await _first_bad(chain, shelf.anchors())
    assert seq == 12
    assert "not the one that was anchored" in what


async def test_a_log_that_was_emptied_is_named(chain: Chain, intruder: Intruder, database: Database) -> None:
    shelf = await anchored(database)
    await intruder.run(
        "DELETE FROM audit_logs WHERE tenant_id = :tenant",
        "UPDATE audit_heads SET seq = 0, last_id = NULL, mac = NULL WHERE tenant_id = :tenant",
    )
    assert (await chain.verdict()).fault is None
    assert (await _first_bad(chain, shelf.anchors()))[0] == 1


async def test_a_head_that_is_gone_or_set_back_is_named(chain: Chain, intruder: Intruder) -> None:
    await intruder.run("UPDATE audit_heads SET seq = 8 WHERE tenant_id = :tenant")
    assert (await _first_bad(chain))[0] == 9
    await intruder.run("DELETE FROM audit_heads WHERE tenant_id = :tenant")
    assert "head is gone" in (await _first_bad(chain))[1]


async def test_an_entry_that_others_wrote_is_named(chain: Chain, migrated: str) -> None:
    stranger = Database(DatabaseUrls.for_roles(migrated), PoolOptions(size=1), AuditKeys([b"s" * 32]))
    await Chain(stranger, chain.tenant_id).grow(1)
    await stranger.close()
    seq, what = await _first_bad(chain)
    assert seq == LENGTH + 1
    assert "SIGNALBOX_AUDIT_KEYS" in what


async def test_a_log_goes_on_under_a_new_key_and_is_read_with_both(
    chain: Chain, migrated: str, database: Database
) -> None:
    both = AuditKeys([b"n" * 32, b"a" * 32])
    renewed = Database(DatabaseUrls.for_roles(migrated), PoolOptions(size=1), both)
    await Chain(renewed, chain.tenant_id).grow(3)
    await renewed.close()
    assert (await verify_tenant(database, both, chain.tenant_id)).fault is None
    assert (await _first_bad(chain))[0] == LENGTH + 1


async def test_an_anchor_that_was_not_signed_by_us_accuses_nobody(chain: Chain, database: Database) -> None:
    shelf = await anchored(database)
    forged = []
    for line in shelf.lines:
        said = orjson.loads(line)
        forged.append(orjson.dumps(said | {"seq": said["seq"] + 100}))
    assert (await chain.verdict(list(read_anchors([*forged, b'{"tenant": 1}', b"{"])))).fault is None


async def test_anchors_hold_nothing_but_ids_and_numbers(chain: Chain, database: Database) -> None:
    shelf = await anchored(database)
    mine = [orjson.loads(line) for line in shelf.lines if suffix(chain.tenant_id).encode() in line]
    assert [sorted(one) for one in mine] == [["at", "key", "mac", "seq", "signature", "tenant"]]
    assert mine[0]["seq"] == LENGTH


async def test_any_change_of_any_entry_names_the_first_one_that_is_not_as_it_was(
    chain: Chain, intruder: Intruder, database: Database
) -> None:
    chance = random.Random(4)
    shelf = (await anchored(database)).anchors()
    rows = await intruder.copy()
    last = max(rows, key=lambda row: row["seq"])
    head: dict[str, Any] = {"seq": LENGTH, "last_id": last["id"], "mac": last["mac"]}
    named = 0
    for _ in range(TAMPERINGS):
        seq = chance.randint(1, LENGTH)
        kind = chance.choice(("edit", "delete", "cut"))
        if kind == "edit":
            column = chance.choice(sorted(EDITS))
            await intruder.run(
                f"UPDATE audit_logs SET {column} = {EDITS[column]} WHERE tenant_id = :tenant AND seq = :seq", seq=seq
            )
        elif kind == "delete":
            await intruder.run("DELETE FROM audit_logs WHERE tenant_id = :tenant AND seq = :seq", seq=seq)
        else:
            await intruder.run("DELETE FROM audit_logs WHERE tenant_id = :tenant AND seq >= :seq", seq=seq)
        named += (await _first_bad(chain, shelf))[0] == seq
        await intruder.put_back(rows, head)
    assert named == TAMPERINGS
    assert (await chain.verdict(shelf)).fault is None
    record(
        4,
        "audit rows edited, deleted, reordered or cut off are found, naming the first bad one",
        TAMPERINGS,
        f"{named} of {TAMPERINGS} named the first bad entry; {len(EDITS)} columns, swaps and cut tails besides",
    )
