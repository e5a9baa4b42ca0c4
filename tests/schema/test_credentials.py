"""This module is where credentials are specified as callers see them: sessions, keys, ways in without a password."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from models import ApiKey, Role, Scope, Session, User, UserStatus, utcnow
from models.ids import encode, uuid7
from resolvers.principal import Principal
from tests.schema.conftest import Gateway
from tests.world import Tenants, principal

SESSIONS = """query($filter: SessionFilter, $order: SessionOrder) { sessions(filter: $filter, orderBy: $order) {
  totalCount nodes { id isCurrent address userAgent user { id } startedAt expiresAt revokedAt } } }"""
REVOKE = """mutation($id: ID!) { revokeSession(input: {id: $id}) {
  session { id revokedAt } userErrors { code field message } } }"""
REVOKE_OTHERS = """mutation($input: RevokeOtherSessionsInput!) { revokeOtherSessions(input: $input) {
  revokedSessions userErrors { code field } } }"""
KEYS = "query($filter: ApiKeyFilter) { apiKeys(filter: $filter) { totalCount nodes { name } } }"
ROTATE = """mutation($input: RotateApiKeyInput!) { rotateApiKey(input: $input) {
  apiKey { id name expiresAt } secret userErrors { code field } } }"""
INVITE = """mutation($input: InviteUserInput!) { inviteUser(input: $input) {
  user { id status } userErrors { code field } } }"""


async def person(gateway: Gateway, tenants: Tenants, role: Role = Role.VIEWER, sessions: int = 2) -> Principal:
    """Somebody of the tenant who is signed in, and was before: one session of theirs has ended."""
    now = utcnow()
    row = User(tenant_id=tenants.mine, id=uuid7(), roles=[role.value], status=UserStatus.ACTIVE)
    made = [
        Session(
            tenant_id=tenants.mine,
            id=uuid7(),
            user_id=row.id,
            started_at=now - timedelta(hours=number),
            last_seen_at=now,
            address="192.0.2.7",
            agent="tests",
            revoked_at=now if number else None,
        )
        for number in range(sessions)
    ]
    async with gateway.services.database.session(tenants.mine) as session:
        session.add(row)
        await session.flush()
        session.add_all(made)
        await session.commit()
    return principal(tenants.mine, role, user_id=row.id, session_id=made[0].id)


def id_of(who: Principal) -> str:
    assert who.user_id is not None
    return encode("user", who.user_id)


def session_of(who: Principal) -> str:
    assert who.session_id is not None
    return encode("session", who.session_id)


async def listed(gateway: Gateway, who: Principal, **filter: Any) -> dict[str, Any]:
    found: dict[str, Any] = (await gateway.data(who, SESSIONS, filter=filter or None))["sessions"]
    return found


async def test_a_person_sees_their_own_sessions_and_an_admin_everybodys(gateway: Gateway, tenants: Tenants) -> None:
    ada, boss = await person(gateway, tenants), await person(gateway, tenants, Role.ADMIN)
    mine = await listed(gateway, ada)
    assert mine["totalCount"] == 2
    assert [(one["isCurrent"], one["user"]["id"]) for one in mine["nodes"]] == [(True, id_of(ada)), (False, id_of(ada))]
    assert mine["nodes"][0]["userAgent"] == "tests"
    assert (await listed(gateway, ada, userId=id_of(boss)))["totalCount"] == 0
    assert (await listed(gateway, boss))["totalCount"] == 4
    assert (await listed(gateway, boss, userId=id_of(ada), isActive=True))["totalCount"] == 1
    assert (await listed(gateway, ada, isActive=False))["nodes"][0]["revokedAt"] is not None
    assert (await listed(gateway, principal(tenants.other, user_id=uuid7())))["totalCount"] == 0


async def test_sessions_are_sorted_by_either_time(gateway: Gateway, tenants: Tenants) -> None:
    ada = await person(gateway, tenants, sessions=3)
    for field in ("STARTED_AT", "LAST_SEEN_AT"):
        answer = await gateway.data(ada, SESSIONS, order={"field": field, "direction": "ASC"})
        times = [one["startedAt"] for one in answer["sessions"]["nodes"]]
        assert len(times) == 3
        assert field == "LAST_SEEN_AT" or times == sorted(times)


async def test_malformed_foreign_and_unknown_sessions_get_one_answer_and_nothing_ends(
    gateway: Gateway, tenants: Tenants
) -> None:
    ada, boss = await person(gateway, tenants), await person(gateway, tenants, Role.ADMIN)
    stranger = principal(tenants.other, Role.ADMIN, user_id=uuid7())
    answers = [
        await gateway.data(who, REVOKE, id=id)
        for who, ids in (
            (ada, (session_of(boss), "nonsense", encode("session", uuid7()), id_of(ada))),
            (stranger, (session_of(ada),)),
        )
        for id in ids
    ]
    assert all(one == answers[0] for one in answers)
    assert answers[0]["revokeSession"]["userErrors"][0]["code"] == "NOT_FOUND"
    assert (await listed(gateway, boss, isActive=True))["totalCount"] == 2


async def test_sessions_are_ended_one_by_one_or_all_the_others(gateway: Gateway, tenants: Tenants) -> None:
    ada, boss = await person(gateway, tenants), await person(gateway, tenants, Role.ADMIN)
    done = (await gateway.data(boss, REVOKE, id=session_of(ada)))["revokeSession"]
    assert (done["session"]["id"], done["userErrors"]) == (session_of(ada), [])
    assert done["session"]["revokedAt"] is not None
    assert await gateway.data(boss, REVOKE_OTHERS, input={}) == {
        "revokeOtherSessions": {"revokedSessions": 0, "userErrors": []}
    }
    refused = await gateway.answer(ada, REVOKE_OTHERS, input={"userId": id_of(boss)})
    assert refused["data"] == {"revokeOtherSessions": None}
    assert refused["errors"][0]["extensions"]["code"] == "FORBIDDEN"


async def test_keys_are_found_by_who_made_them_and_whether_they_live(gateway: Gateway, tenants: Tenants) -> None:
    boss = await person(gateway, tenants, Role.ADMIN)
    now = utcnow()
    async with gateway.services.database.session(tenants.mine) as session:
        kept: dict[str, dict[str, Any]] = {
            "live": {"created_by": boss.user_id},
            "ends": {"expires_at": now + timedelta(days=1)},
            "expired": {"expires_at": now - timedelta(days=1)},
            "revoked": {"revoked_at": now, "created_by": boss.user_id},
        }
        for name, values in kept.items():
            session.add(ApiKey(tenant_id=tenants.mine, id=uuid7(), name=name, prefix="sbx", secret_hash=b"", **values))
        await session.commit()

    async def names(**filter: Any) -> set[str]:
        found = (await gateway.data(boss, KEYS, filter=filter))["apiKeys"]
        assert found["totalCount"] == len(found["nodes"])
        return {one["name"] for one in found["nodes"]}

    assert await names(isActive=True) == {"live", "ends"}
    assert await names(isActive=False) == {"expired", "revoked"}
    assert await names(createdBy=id_of(boss)) == {"live", "revoked"}
    assert await names(createdBy="nonsense") == set()


async def test_a_key_is_rotated_and_its_secret_shown_once(gateway: Gateway, tenants: Tenants) -> None:
    boss = await person(gateway, tenants, Role.ADMIN)
    create = 'mutation { createApiKey(input: {name: "CI", scopes: ["agents:read"]}) { apiKey { id } secret } }'
    old = (await gateway.data(boss, create))["createApiKey"]
    new = (await gateway.data(boss, ROTATE, input={"id": old["apiKey"]["id"], "overlapSeconds": 60}))["rotateApiKey"]
    assert new["userErrors"] == []
    assert new["apiKey"]["id"] != old["apiKey"]["id"]
    authenticate = gateway.services.accounts.authenticate
    for secret in (old["secret"], new["secret"]):
        assert await authenticate(f"Bearer {secret}") is not None
    revoke = "mutation($id: ID!) { revokeApiKey(input: {id: $id}) { apiKey { id } } }"
    await gateway.data(boss, revoke, id=new["apiKey"]["id"])
    again = (await gateway.data(boss, ROTATE, input={"id": new["apiKey"]["id"]}))["rotateApiKey"]
    assert (again["apiKey"]["id"], again["secret"]) == (new["apiKey"]["id"], None)
    assert again["userErrors"] == [{"code": "ILLEGAL_TRANSITION", "field": ["input", "id"]}]


async def test_without_a_mail_server_asking_for_mail_is_unavailable_for_everybody(
    gateway: Gateway, tenants: Tenants
) -> None:
    boss = await person(gateway, tenants, Role.ADMIN)
    reset = """mutation($input: RequestPasswordResetInput!) { requestPasswordReset(input: $input) {
      userErrors { code } } }"""
    for who, query, said in (
        (None, reset, {"tenantSlug": "nobody", "email": "x@example.org"}),
        (boss, INVITE, {"email": "x@example.org", "roles": ["VIEWER"]}),
    ):
        answer = await gateway.answer(who, query, input=said)
        assert [error["extensions"]["code"] for error in answer["errors"]] == ["UNAVAILABLE"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ('mutation { resetPassword(input: {token: "x", newPassword: "long enough"}) { E } }', "token"),
        ('mutation { resetPassword(input: {token: "x", newPassword: "short"}) { E } }', "newPassword"),
        ('mutation { verifyEmail(input: {token: "sbo_"}) { E } }', "token"),
        ('mutation { refreshSession(input: {refreshToken: "sbr_"}) { E } }', "refreshToken"),
        ('mutation { logout(input: {refreshToken: ""}) { E } }', "refreshToken"),
    ],
)
async def test_a_bad_credential_is_one_clear_user_error(gateway: Gateway, query: str, field: str) -> None:
    (payload,) = (await gateway.data(None, query.replace("E }", "userErrors { code field message } }"))).values()
    (error,) = payload["userErrors"]
    assert error["code"] in {"INVALID", "INVALID_CREDENTIALS"}
    assert error["field"] == ["input", field]


async def test_a_scope_is_needed_for_what_belongs_to_admins(gateway: Gateway, tenants: Tenants) -> None:
    auditor = principal(tenants.mine, Role.AUDITOR, user_id=uuid7())
    for query in (
        f'mutation {{ unlockUser(input: {{id: "{id_of(auditor)}"}}) {{ userErrors {{ code }} }} }}',
        f'mutation {{ rotateApiKey(input: {{id: "{encode("key", uuid7())}"}}) {{ secret }} }}',
        'mutation { inviteUser(input: {email: "x@example.org", roles: []}) { userErrors { code } } }',
    ):
        answer = await gateway.answer(auditor, query)
        assert [error["extensions"]["code"] for error in answer["errors"]] == ["FORBIDDEN"]
    reader = Principal(tenant_id=tenants.mine, user_id=uuid7(), scopes=frozenset({Scope.USERS_READ}))
    assert (await listed(gateway, reader))["totalCount"] == 0
