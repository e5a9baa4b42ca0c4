"""This module is where export and erasure are specified: all of what is theirs, and then nothing of it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from models import RefreshToken, Role, Session, User, UserConsent, utcnow
from models.base import Base
from models.ids import encode, parse, uuid7
from resolvers.exports import SECTIONS
from resolvers.principal import Principal
from resolvers.privacy import EMPTIED, KEPT, hanging_on_people
from resolvers.verification import verify_tenant
from tests.report import record
from tests.schema.conftest import Gateway
from tests.schema.test_audit import ACCESSES, entries, hire, person
from tests.world import AUDIT, Tenants, principal

EXPORT = """mutation($input: ExportUserDataInput!) { exportUserData(input: $input) {
  page { section items hasNextPage endCursor } userErrors { code field } } }"""
ERASE = """mutation($input: EraseUserInput!) { eraseUser(input: $input) {
  user { id displayName status email username } userErrors { code field } } }"""


async def export(gateway: Gateway, who: Principal, id: str | None = None) -> dict[str, list[dict[str, Any]]]:
    """Everything, by section."""
    found: dict[str, list[dict[str, Any]]] = {}
    after: str | None = None
    while True:
        said = {name: value for name, value in (("id", id), ("after", after)) if value is not None}
        answer = (await gateway.data(who, EXPORT, input=said))["exportUserData"]
        assert answer["userErrors"] == []
        page = answer["page"]
        found.setdefault(page["section"], []).extend(page["items"])
        after = page["endCursor"]
        if not page["hasNextPage"]:
            assert after is None
            return found


async def settle(gateway: Gateway, who: Principal, sessions: int = 3) -> None:
    """Give a person sessions, tokens and consents."""
    async with gateway.services.database.session(who.tenant_id) as session:
        for number in range(sessions):
            one = Session(
                tenant_id=who.tenant_id,
                id=uuid7(),
                user_id=who.user_id,
                started_at=utcnow(),
                last_seen_at=utcnow(),
                address="198.51.100.7",
                agent="CanaryBrowser",
            )
            session.add(one)
            await session.flush()
            session.add(
                RefreshToken(
                    tenant_id=who.tenant_id,
                    user_id=who.user_id,
                    family_id=one.id,
                    token_hash=f"{one.id}{number}".encode(),
                    expires_at=utcnow(),
                    absolute_expires_at=utcnow(),
                )
            )
        session.add(UserConsent(tenant_id=who.tenant_id, user_id=who.user_id, consent_type="analytics", granted=True))
        await session.commit()


async def test_a_person_gets_everything_that_is_theirs(gateway: Gateway, tenants: Tenants) -> None:
    admin = await person(gateway, tenants.mine)
    await settle(gateway, admin, sessions=103)
    bob = await hire(gateway, admin, "Bob")
    mine = await export(gateway, admin)
    assert list(mine) == [section.name for section in SECTIONS]
    assert mine["profile"][0]["email"].endswith("@x.example")
    assert not {"passwordHash", "emailKey", "emailHash", "tenantId"} & mine["profile"][0].keys()
    assert len(mine["sessions"]) == len({one["id"] for one in mine["sessions"]}) == 103
    assert mine["sessions"][0]["address"] == "198.51.100.7"
    assert [one["consentType"] for one in mine["consents"]] == ["analytics"]
    assert [one["action"] for one in mine["auditEntriesBy"]] == ["user.created"]
    assert "values" not in mine["auditEntriesBy"][0]
    his = await export(gateway, admin, bob)
    assert his["profile"][0]["displayName"] == "Bob"
    assert his["auditEntriesAbout"][0]["values"]["new"]["display_name"] == "Bob"
    assert len(his["dataAccesses"]) > 0


async def test_only_an_admin_gets_anothers_and_every_page_is_noted(gateway: Gateway, tenants: Tenants) -> None:
    admin, viewer = await person(gateway, tenants.mine), await person(gateway, tenants.mine, Role.VIEWER)
    assert (await export(gateway, viewer))["profile"][0]["id"] == encode("user", viewer.user_id or uuid7())
    answer = await gateway.answer(viewer, EXPORT, input={"id": encode("user", admin.user_id or uuid7())})
    assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    await export(gateway, admin, encode("user", viewer.user_id or uuid7()))
    noted = (await gateway.data(admin, ACCESSES, filter={"accessType": ["EXPORT"]}))["dataAccessLogs"]
    assert noted["totalCount"] == 2 * len(SECTIONS)
    assert {one["legalBasis"] for one in noted["nodes"]} == {"LEGAL_OBLIGATION"}


async def test_an_export_of_nobody_and_with_anothers_cursor_is_refused(gateway: Gateway, tenants: Tenants) -> None:
    admin = await person(gateway, tenants.mine)
    stranger = await person(gateway, tenants.other)
    for id in ("nonsense", encode("user", uuid7()), encode("user", stranger.user_id or uuid7())):
        answer = (await gateway.data(admin, EXPORT, input={"id": id}))["exportUserData"]
        assert answer == {"page": None, "userErrors": [{"code": "NOT_FOUND", "field": ["input", "id"]}]}
    first = (await gateway.data(stranger, EXPORT, input={}))["exportUserData"]["page"]["endCursor"]
    for after in (first, "nonsense", "", "A" * 300):
        answer = (await gateway.data(admin, EXPORT, input={"after": after}))["exportUserData"]
        assert answer == {"page": None, "userErrors": [{"code": "INVALID", "field": ["input", "after"]}]}
    assert (await gateway.data(admin, ACCESSES))["dataAccessLogs"]["totalCount"] == 0


async def test_an_erased_person_is_an_id_and_nothing_else(
    gateway: Gateway, tenants: Tenants, owner: AsyncEngine
) -> None:
    admin, eve = await person(gateway, tenants.mine), await person(gateway, tenants.mine, Role.VIEWER)
    await settle(gateway, eve)
    id = encode("user", eve.user_id or uuid7())
    erased = (await gateway.data(admin, ERASE, input={"id": id}))["eraseUser"]
    assert erased["userErrors"] == []
    assert erased["user"] == {"id": id, "displayName": "unknown", "status": "DELETED", "email": None, "username": None}
    async with gateway.services.database.session(tenants.mine) as session:
        row = (await session.scalars(select(User).where(User.id == eve.user_id))).one()
        for table, column in hanging_on_people():
            left = await session.scalar(select(table.c.tenant_id).where(table.c[column] == eve.user_id).limit(1))
            assert left is None, table.name
    for name in set(User.__table__.columns.keys()) - {*KEPT, *EMPTIED, "deleted_at", "authorization_version"}:
        assert getattr(row, name) is None, name
    assert {name: getattr(row, name) for name in EMPTIED} == EMPTIED
    async with owner.connect() as connection:
        for table in Base.metadata.sorted_tables:
            said = str((await connection.execute(text(f"SELECT t::text FROM {table.name} t"))).scalars().all())
            assert f"{eve.user_id}@x.example" not in said, table.name
    again = (await gateway.data(admin, ERASE, input={"id": id}))["eraseUser"]
    assert again["userErrors"] == []


async def test_the_log_of_an_erased_person_stays_whole_and_keeps_their_secret(
    gateway: Gateway, tenants: Tenants
) -> None:
    admin = await person(gateway, tenants.mine)
    people = [await hire(gateway, admin, f"Person {number}") for number in range(10)]
    before = await entries(gateway, admin)
    assert all(one["newValues"] for one in before)
    for one in people[:5]:
        await gateway.data(admin, ERASE, input={"id": one})
    readable = {
        one["resourceId"]: one["newValues"] is not None
        for one in await entries(gateway, admin, action=["user.created"])
    }
    assert readable == {one: one not in people[:5] for one in people}
    erasures = await entries(gateway, admin, action=["user.erased"])
    assert [(one["oldValues"], one["newValues"]) for one in erasures] == [(None, None)] * 5
    verdict = await verify_tenant(gateway.services.database, AUDIT, tenants.mine)
    assert (verdict.fault, verdict.entries) == (None, 15)
    noted = (await gateway.data(admin, ACCESSES, filter={"accessType": ["ERASURE"]}))["dataAccessLogs"]
    assert {one["subjectId"] for one in noted["nodes"]} == set(people[:5])
    record(4, "erasure of a person leaves the chain valid", 5, "5 of 10 people erased, 15 entries, chain whole")


async def test_nobody_but_an_admin_erases_and_the_last_admin_stays(gateway: Gateway, tenants: Tenants) -> None:
    admin, operator = await person(gateway, tenants.mine), await person(gateway, tenants.mine, Role.OPERATOR)
    mine = encode("user", admin.user_id or uuid7())
    answer = await gateway.answer(operator, ERASE, input={"id": mine})
    assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    refused = (await gateway.data(admin, ERASE, input={"id": mine}))["eraseUser"]
    assert refused["userErrors"] == [{"code": "ILLEGAL_TRANSITION", "field": ["input", "id"]}]
    stranger = await person(gateway, tenants.other)
    for id in ("nonsense", encode("user", uuid7()), encode("user", stranger.user_id or uuid7())):
        answer = (await gateway.data(admin, ERASE, input={"id": id}))["eraseUser"]
        assert answer == {"user": None, "userErrors": [{"code": "NOT_FOUND", "field": ["input", "id"]}]}
    second = await person(gateway, tenants.mine)
    assert (await gateway.data(admin, ERASE, input={"id": encode("user", second.user_id or uuid7())}))["eraseUser"][
        "userErrors"
    ] == []


async def test_a_key_that_may_erase_cannot_erase_an_admin(gateway: Gateway, tenants: Tenants) -> None:
    admin, _ = await person(gateway, tenants.mine), await person(gateway, tenants.mine)
    key = principal(tenants.mine, Role.API_CLIENT, api_key_id=uuid7(), scopes=admin.scopes)
    answer = await gateway.answer(key, ERASE, input={"id": encode("user", admin.user_id or uuid7())})
    assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"


@pytest.mark.parametrize(
    "table",
    ["sessions", "refresh_tokens", "user_consents", "one_time_tokens", "outgoing_mails", "canvas_viewports"],
)
def test_what_hangs_on_people_is_found_by_its_foreign_keys(table: str) -> None:
    assert table in {one.name for one, _ in hanging_on_people()}
    assert parse("user_nonsense", "user").int == 0
