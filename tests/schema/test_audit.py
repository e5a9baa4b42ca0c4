"""This module is where the logs are specified from outside: who reads them, how they are filtered, what they show."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from models import AccessType, DataCategory, Role, User, UserStatus, utcnow
from models.ids import encode, uuid7
from resolvers.data_access import Access
from resolvers.principal import Principal
from tests.schema.conftest import Gateway
from tests.world import Tenants, call_of, principal

LOG = """query($filter: AuditLogFilter, $order: AuditLogOrder, $first: Int, $after: String) {
  auditLogs(filter: $filter, orderBy: $order, first: $first, after: $after) { totalCount
    nodes { id sequence action resourceId details oldValues newValues address userAgent traceId occurredAt
      actor { ... on User { id } } resource { id } }
    pageInfo { hasNextPage endCursor } } }"""
ACCESSES = """query($filter: DataAccessLogFilter) { dataAccessLogs(filter: $filter) { totalCount
  nodes { id subjectId dataCategory accessType purpose legalBasis address actor { ... on User { id } } } } }"""
CREATE = "mutation($input: CreateUserInput!) { createUser(input: $input) { user { id } userErrors { code } } }"
UPDATE = "mutation($input: UpdateUserInput!) { updateUser(input: $input) { user { id } userErrors { code } } }"
RETAIN = """mutation($input: SetRetentionInput!) { setRetention(input: $input) {
  retentionRule { subject days } userErrors { code field } } }"""


async def person(gateway: Gateway, tenant: UUID, role: Role = Role.ADMIN) -> Principal:
    """Somebody of the tenant who has a row."""
    row_id = uuid7()
    async with gateway.services.database.session(tenant) as session:
        session.add(
            User(
                tenant_id=tenant,
                id=row_id,
                email=f"{row_id}@x.example",
                email_key=f"{row_id}@x.example",
                roles=[role.value],
                status=UserStatus.ACTIVE,
            )
        )
        await session.commit()
    return principal(tenant, role, user_id=row_id)


async def hire(gateway: Gateway, admin: Principal, name: str) -> str:
    """A new person's id."""
    said = {"email": f"{uuid7().hex}@x.example", "roles": ["VIEWER"], "displayName": name}
    made = await gateway.data(admin, CREATE, input=said)
    assert made["createUser"]["userErrors"] == []
    return str(made["createUser"]["user"]["id"])


async def entries(gateway: Gateway, who: Principal, **filter: Any) -> list[dict[str, Any]]:
    """What the log shows, newest first."""
    nodes: list[dict[str, Any]] = (await gateway.data(who, LOG, filter=filter))["auditLogs"]["nodes"]
    return nodes


async def test_the_log_shows_who_did_what_and_what_it_was_before(gateway: Gateway, tenants: Tenants) -> None:
    admin = await person(gateway, tenants.mine)
    auditor = principal(tenants.mine, Role.AUDITOR, user_id=uuid7())
    bob = await hire(gateway, admin, "Bob")
    await gateway.data(admin, UPDATE, input={"id": bob, "displayName": "Robert", "roles": ["OPERATOR"]})
    changed, made = await entries(gateway, auditor)
    assert (made["sequence"], made["action"], made["resourceId"]) == (1, "user.created", bob)
    assert changed["actor"] == {"id": encode("user", admin.user_id)} if admin.user_id else None
    assert changed["oldValues"] == {"display_name": "Bob", "roles": ["viewer"]}
    assert changed["newValues"] == {"display_name": "Robert", "roles": ["operator"]}
    assert changed["details"] == {"changed": ["display_name", "roles"]}
    assert changed["resource"] == {"id": bob}
    assert made["oldValues"] is None


async def test_the_log_is_filtered_sorted_and_paged(gateway: Gateway, tenants: Tenants) -> None:
    admin, other = await person(gateway, tenants.mine), await person(gateway, tenants.mine)
    people = [await hire(gateway, who, f"P{number}") for number, who in enumerate([admin, admin, other])]
    await gateway.data(admin, UPDATE, input={"id": people[0], "department": "Sales"})
    assert admin.user_id is not None

    async def sequences(**filter: Any) -> list[int]:
        return [one["sequence"] for one in await entries(gateway, admin, **filter)]

    assert await sequences() == [4, 3, 2, 1]
    assert await sequences(actorId=encode("user", admin.user_id)) == [4, 2, 1]
    assert await sequences(action=["user.updated"]) == [4]
    assert await sequences(action=["user.updated", "nul\x00"]) == [4]
    assert await sequences(action=["nul\x00"]) == []
    assert await sequences(resourceId=people[0]) == [4, 1]
    assert await sequences(subjectId=people[1]) == [2]
    assert await sequences(resourceType=["key"]) == []
    assert await sequences(resourceType=["user"]) == [4, 3, 2, 1]
    assert await sequences(occurredAfter=(utcnow() - timedelta(hours=1)).isoformat()) == [4, 3, 2, 1]
    assert await sequences(occurredBefore=(utcnow() - timedelta(hours=1)).isoformat()) == []
    for nothing in ("nonsense", encode("user", uuid7())):
        assert await sequences(actorId=nothing) == []
    order = {"field": "OCCURRED_AT", "direction": "ASC"}
    first = (await gateway.data(admin, LOG, first=3, order=order))["auditLogs"]
    assert ([one["sequence"] for one in first["nodes"]], first["totalCount"]) == ([1, 2, 3], 4)
    rest = await gateway.data(admin, LOG, first=3, after=first["pageInfo"]["endCursor"], order=order)
    assert [one["sequence"] for one in rest["auditLogs"]["nodes"]] == [4]


@pytest.mark.parametrize("role", [Role.VIEWER, Role.MEMBER, Role.OPERATOR])
async def test_the_logs_are_for_auditors_and_admins(gateway: Gateway, tenants: Tenants, role: Role) -> None:
    admin = await person(gateway, tenants.mine)
    await hire(gateway, admin, "Bob")
    (entry,) = await entries(gateway, admin)
    who = principal(tenants.mine, role, user_id=uuid7())
    for query in (LOG, ACCESSES):
        answer = await gateway.answer(who, query)
        assert [one["extensions"]["code"] for one in answer["errors"]] == ["FORBIDDEN"]
    answer = await gateway.answer(who, "query($id: ID!) { node(id: $id) { id } }", id=entry["id"])
    assert answer["data"] == {"node": None}


async def test_another_tenants_log_is_not_there(gateway: Gateway, tenants: Tenants) -> None:
    admin = await person(gateway, tenants.mine)
    await hire(gateway, admin, "Bob")
    (entry,) = await entries(gateway, admin)
    stranger = await person(gateway, tenants.other)
    assert await entries(gateway, stranger) == []
    for id in (entry["id"], encode("audit", uuid7()), "audit_nonsense"):
        assert await gateway.data(stranger, "query($id: ID!) { node(id: $id) { id } }", id=id) == {"node": None}
    assert await gateway.data(admin, "query($id: ID!) { node(id: $id) { id } }", id=entry["id"]) == {
        "node": {"id": entry["id"]}
    }


async def test_an_access_is_one_row_for_each_subject_and_operation(gateway: Gateway, tenants: Tenants) -> None:
    admin = await person(gateway, tenants.mine)
    call = call_of(gateway.services, admin)
    call.address = "192.0.2.9"
    secret, reader = uuid7(), {"kind": AccessType.USE, "category": DataCategory.SECRET, "purpose": "to sign in"}
    async with call.work() as work:
        for subject in (secret, secret, uuid7()):
            work.note_access(Access(subject=("secret", subject), **reader))  # type: ignore[arg-type]
    found = (await gateway.data(admin, ACCESSES))["dataAccessLogs"]
    assert found["totalCount"] == 2
    assert {one["address"] for one in found["nodes"]} == {"192.0.2.9"}
    (one,) = (await gateway.data(admin, ACCESSES, filter={"subjectId": encode("secret", secret)}))["dataAccessLogs"][
        "nodes"
    ]
    assert (one["dataCategory"], one["accessType"], one["purpose"]) == ("SECRET", "USE", "to sign in")
    assert (await gateway.data(admin, ACCESSES, filter={"accessType": ["EXPORT"]}))["dataAccessLogs"]["nodes"] == []


async def test_a_tenant_keeps_its_log_longer_but_never_shorter(gateway: Gateway, tenants: Tenants) -> None:
    admin = await person(gateway, tenants.mine)
    rules = "query { retentionRules { subject days updatedAt } }"
    default = {"subject": "AUDIT_LOGS", "days": 1096, "updatedAt": None}
    assert (await gateway.data(admin, rules))["retentionRules"] == [default]
    short = (await gateway.data(admin, RETAIN, input={"subject": "AUDIT_LOGS", "days": 1095}))["setRetention"]
    assert short == {"retentionRule": None, "userErrors": [{"code": "INVALID", "field": ["input", "days"]}]}
    for days in (3650, 2000):
        said = (await gateway.data(admin, RETAIN, input={"subject": "AUDIT_LOGS", "days": days}))["setRetention"]
        assert said == {"retentionRule": {"subject": "AUDIT_LOGS", "days": days}, "userErrors": []}
    assert [rule["days"] for rule in (await gateway.data(admin, rules))["retentionRules"]] == [2000]
    newest, oldest = await entries(gateway, admin, action=["tenant.retention_changed"])
    assert (newest["oldValues"], newest["newValues"]) == ({"days": 3650}, {"days": 2000})
    assert oldest["details"] == {"subject": "audit_logs", "days": 3650}
    auditor = principal(tenants.mine, Role.AUDITOR, user_id=uuid7())
    answer = await gateway.answer(auditor, RETAIN, input={"subject": "AUDIT_LOGS", "days": 2000})
    assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"
