"""This module is where servers are specified: known by their host key, reached with what never comes out again."""

from __future__ import annotations

from typing import Any, Final

import pytest
from sqlalchemy import select

from models import Role, Scope, Secret, SecretOwner
from models.database import Database
from models.ids import parse
from resolvers.principal import Principal
from resolvers.secrets import use_secret
from tests.conftest import counted
from tests.schema.conftest import Gateway
from tests.schema.staff import answered, done, kinds, mutation, nobody, person, refused
from tests.world import Tenants, call_of

FIELDS: Final = """id name hostname port username authType hasSshKey hasPassword hostKeyFingerprint environment
  version createdBy { id }"""
CREATE: Final = mutation("createServer", "server", FIELDS)
UPDATE: Final = mutation("updateServer", "server", FIELDS)
DELETE: Final = mutation("deleteServer", "deletedId", "")
START: Final = mutation("startTerminalSession", "terminalSession", "id")
END: Final = mutation("endTerminalSession", "terminalSession", "id")
LIST: Final = """query($filter: ServerFilter, $orderBy: ServerOrder) {
  servers(filter: $filter, orderBy: $orderBy) { totalCount nodes { name } } }"""
FINGERPRINT: Final = "SHA256:uNiVztksCsDhcc0u9e8BrcyPUHJDzzdr2fVtBXtmyNM"
OTHER_FINGERPRINT: Final = "SHA256:nThbg6kXUpJWGl7E1IGOCspRomTxdCARLviKw6E5SY8"
KEY: Final = "-----BEGIN OPENSSH PRIVATE KEY-----\nswordfish\n-----END OPENSSH PRIVATE KEY-----\n"
GIVEN: Final[dict[str, Any]] = {
    "name": "db-1",
    "hostname": "db-1.internal.example",
    "username": "ops",
    "authType": "KEY",
    "sshKey": KEY,
    "hostKeyFingerprint": FINGERPRINT,
}


@pytest.fixture
async def admin(gateway: Gateway, tenants: Tenants) -> Principal:
    """Somebody of mine who may everything."""
    return await person(gateway, tenants.mine)


async def server(gateway: Gateway, who: Principal, name: str = "db-1", **said: Any) -> dict[str, Any]:
    """A new server."""
    made: dict[str, Any] = await done(gateway, who, CREATE, **{**GIVEN, "name": name, **said})
    return made


async def _secrets(gateway: Gateway, who: Principal, id: str) -> dict[str, str]:
    """What lies sealed of a server, opened."""
    async with gateway.services.database.session(who.tenant_id) as session:
        rows = list(
            await session.scalars(
                select(Secret).where(
                    Secret.tenant_id == who.tenant_id,
                    Secret.owner_id == parse(id, "server"),
                    Secret.owner_type == SecretOwner.SERVER,
                )
            )
        )
    call = call_of(gateway.services, who)
    return {one.key: await use_secret(call, one.id, "a test") for one in rows}


async def test_a_server_is_described_and_its_key_never_comes_out(gateway: Gateway, admin: Principal) -> None:
    made = await server(gateway, admin)
    assert (made["port"], made["authType"], made["version"]) == (22, "KEY", 1)
    assert (made["hasSshKey"], made["hasPassword"]) == (True, False)
    assert "swordfish" not in str(made)
    assert await _secrets(gateway, admin, made["id"]) == {"SSH_KEY": KEY}
    document = "{ secrets { nodes { key ownerType ownerId owner { id } } } }"
    (found,) = (await gateway.data(admin, document))["secrets"]["nodes"]
    assert found == {"key": "SSH_KEY", "ownerType": "SERVER", "ownerId": made["id"], "owner": {"id": made["id"]}}


async def test_what_one_signs_in_with_is_exchanged_and_forgotten(gateway: Gateway, admin: Principal) -> None:
    made = await server(gateway, admin)
    id = made["id"]
    both = await done(gateway, admin, UPDATE, id=id, expectedVersion=1, password="hunter2", authType="PASSWORD")
    assert (both["authType"], both["hasSshKey"], both["hasPassword"], both["version"]) == ("PASSWORD", True, True, 2)
    assert await _secrets(gateway, admin, id) == {"SSH_KEY": KEY, "PASSWORD": "hunter2"}
    refusal = await refused(gateway, admin, UPDATE, id=id, expectedVersion=2, password=None)
    assert refusal == ("INVALID", ["input", "password"])
    assert "PASSWORD" in await _secrets(gateway, admin, id)
    without = await done(gateway, admin, UPDATE, id=id, expectedVersion=2, sshKey=None)
    assert (without["hasSshKey"], without["hasPassword"]) == (False, True)
    refusal = await refused(gateway, admin, UPDATE, id=id, expectedVersion=3, authType="KEY")
    assert refusal == ("INVALID", ["input", "sshKey"])
    other = await done(gateway, admin, UPDATE, id=id, expectedVersion=3, password="hunter3")
    assert other["version"] == 4
    assert await _secrets(gateway, admin, id) == {"PASSWORD": "hunter3"}
    told = await kinds(gateway, admin, [id])
    assert told == ["server.created", *["server.updated"] * 3]


async def test_a_change_is_told_without_a_word_of_where_it_is(gateway: Gateway, admin: Principal) -> None:
    made = await server(gateway, admin)
    await done(gateway, admin, UPDATE, id=made["id"], expectedVersion=1, hostname="10.0.0.9", environment="staging")
    page = await gateway.data(admin, "{ activity(first: 100) { nodes { topic kind payload } } }")
    told = [one for one in page["activity"]["nodes"] if one["kind"].startswith("server.")]
    assert [one["topic"] for one in told] == ["SECURITY"] * 2
    assert told[0]["payload"] == {"changed": ["environment", "hostname"]}
    assert not any(word in str(page) for word in ("10.0.0.9", "internal.example", "swordfish"))


async def test_nothing_said_is_nothing_changed(gateway: Gateway, admin: Principal) -> None:
    made = await server(gateway, admin)
    same = await done(gateway, admin, UPDATE, id=made["id"], expectedVersion=1, hostname=GIVEN["hostname"].upper())
    assert same["version"] == 1
    assert await kinds(gateway, admin, [made["id"]]) == ["server.created"]


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ({"name": ""}, ["name"]),
        ({"name": "x" * 101}, ["name"]),
        ({"name": "two\nlines"}, ["name"]),
        ({"hostname": ""}, ["hostname"]),
        ({"hostname": "db-1:22"}, ["hostname"]),
        ({"hostname": "ssh://db-1"}, ["hostname"]),
        ({"hostname": "-oProxyCommand=x"}, ["hostname"]),
        ({"hostname": "a" * 64}, ["hostname"]),
        ({"hostname": "a..b"}, ["hostname"]),
        ({"hostname": "a b"}, ["hostname"]),
        ({"port": 0}, ["port"]),
        ({"port": 65_536}, ["port"]),
        ({"username": ""}, ["username"]),
        ({"username": "two words"}, ["username"]),
        ({"username": "me@there"}, ["username"]),
        ({"username": "-l"}, ["username"]),
        ({"environment": "x" * 101}, ["environment"]),
        ({"hostKeyFingerprint": ""}, ["hostKeyFingerprint"]),
        ({"hostKeyFingerprint": FINGERPRINT.removeprefix("SHA256:")}, ["hostKeyFingerprint"]),
        ({"hostKeyFingerprint": FINGERPRINT[:-1]}, ["hostKeyFingerprint"]),
        ({"hostKeyFingerprint": f"{FINGERPRINT}="}, ["hostKeyFingerprint"]),
        ({"hostKeyFingerprint": f"{FINGERPRINT[:-1]}N"}, ["hostKeyFingerprint"]),
        ({"hostKeyFingerprint": "MD5:16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48"}, ["hostKeyFingerprint"]),
        ({"sshKey": "ssh-ed25519 AAAAC3Nza ops@db-1"}, ["sshKey"]),
        ({"sshKey": KEY + "x" * 65_536}, ["sshKey"]),
        ({"password": ""}, ["password"]),
    ],
)
async def test_what_is_not_acceptable_is_refused_by_its_path(
    gateway: Gateway, admin: Principal, said: dict[str, Any], path: list[str]
) -> None:
    assert await refused(gateway, admin, CREATE, **{**GIVEN, **said}) == ("INVALID", ["input", *path])
    made = await server(gateway, admin, "other")
    expected = ("INVALID", ["input", *path])
    assert await refused(gateway, admin, UPDATE, id=made["id"], expectedVersion=1, **said) == expected


@pytest.mark.parametrize(("auth", "path"), [("KEY", "sshKey"), ("PASSWORD", "password")])
async def test_what_one_signs_in_with_is_needed(gateway: Gateway, admin: Principal, auth: str, path: str) -> None:
    given = {name: value for name, value in GIVEN.items() if name != "sshKey"}
    assert await refused(gateway, admin, CREATE, **{**given, "authType": auth}) == ("INVALID", ["input", path])


@pytest.mark.parametrize("field", ["port", "authType", "name", "hostname", "username", "hostKeyFingerprint"])
async def test_what_a_server_cannot_do_without_is_not_cleared(gateway: Gateway, admin: Principal, field: str) -> None:
    made = await server(gateway, admin)
    refusal = await refused(gateway, admin, UPDATE, id=made["id"], expectedVersion=1, **{field: None})
    assert refusal == ("INVALID", ["input", field])


@pytest.mark.parametrize(
    ("given", "kept"), [("10.0.0.7", "10.0.0.7"), ("FE80::0:1", "fe80::1"), ("DB.Example", "db.example")]
)
async def test_addresses_of_both_families_are_hosts_too(
    gateway: Gateway, admin: Principal, given: str, kept: str
) -> None:
    assert (await server(gateway, admin, hostname=given))["hostname"] == kept


async def test_names_are_unique_in_a_tenant(gateway: Gateway, tenants: Tenants, admin: Principal) -> None:
    await server(gateway, admin)
    at = ("ALREADY_EXISTS", ["input", "name"])
    assert await refused(gateway, admin, CREATE, **GIVEN) == at
    other = await server(gateway, admin, "other")
    assert await refused(gateway, admin, UPDATE, id=other["id"], expectedVersion=1, name="db-1") == at
    assert (await server(gateway, await person(gateway, tenants.other)))["name"] == "db-1"
    # What was refused left no secret behind.
    assert (await gateway.data(admin, "{ secrets { totalCount } }"))["secrets"]["totalCount"] == 2


async def test_who_changes_what_has_changed_is_told_how_it_stands(gateway: Gateway, admin: Principal) -> None:
    made = await server(gateway, admin)
    await done(gateway, admin, UPDATE, id=made["id"], expectedVersion=1, environment="staging")
    answer = await answered(gateway, admin, UPDATE, id=made["id"], expectedVersion=1, environment="production")
    assert [one["code"] for one in answer["userErrors"]] == ["CONFLICT"]
    assert (answer["server"]["version"], answer["server"]["environment"]) == (2, "staging")
    assert await refused(gateway, admin, DELETE, id=made["id"], expectedVersion=1) == (
        "CONFLICT",
        ["input", "expectedVersion"],
    )


async def test_a_retry_under_a_key_makes_one_server(gateway: Gateway, admin: Principal) -> None:
    first = await server(gateway, admin, idempotencyKey="once")
    assert (await server(gateway, admin, idempotencyKey="once"))["id"] == first["id"]
    assert (await gateway.data(admin, LIST))["servers"]["totalCount"] == 1


async def test_a_server_goes_with_its_secrets_once_nobody_is_at_it(gateway: Gateway, admin: Principal) -> None:
    made = await server(gateway, admin)
    stay = await done(gateway, admin, START, serverId=made["id"])
    assert await refused(gateway, admin, DELETE, id=made["id"]) == ("CONFLICT", ["input", "id"])
    await done(gateway, admin, END, id=stay["id"])
    assert await done(gateway, admin, DELETE, id=made["id"], expectedVersion=1) == made["id"]
    assert await _secrets(gateway, admin, made["id"]) == {}
    document = "query($id: ID!) { terminalSession(id: $id) { serverName server { id } } }"
    left = (await gateway.data(admin, document, id=stay["id"]))["terminalSession"]
    assert left == {"serverName": "db-1", "server": None}
    assert (await kinds(gateway, admin, [made["id"]]))[-1] == "server.deleted"


async def test_servers_are_filtered_sorted_and_counted(gateway: Gateway, admin: Principal) -> None:
    await server(gateway, admin, "b", environment="production", hostname="b.example")
    await server(gateway, admin, "a", authType="PASSWORD", password="x", sshKey=None)
    by_name = {"field": "NAME", "direction": "ASC"}
    for filter, names in (
        ({}, ["a", "b"]),
        ({"name": "a"}, ["a"]),
        ({"name": "a\x00"}, []),
        ({"hostname": "b.example"}, ["b"]),
        ({"environment": "production"}, ["b"]),
        ({"authType": ["PASSWORD"]}, ["a"]),
        ({"authType": []}, []),
    ):
        found = (await gateway.data(admin, LIST, filter=filter, orderBy=by_name))["servers"]
        assert ([one["name"] for one in found["nodes"]], found["totalCount"]) == (names, len(names)), filter


async def test_a_page_of_servers_with_who_was_there_is_as_many_statements_however_many(
    gateway: Gateway, admin: Principal, database: Database
) -> None:
    document = (
        """{ servers { nodes { id createdBy { id } terminalSessions(first: 3) { totalCount nodes { id } } } } }"""
    )
    made = [await server(gateway, admin, f"s{number}") for number in range(6)]
    for one in made:
        await done(gateway, admin, START, serverId=one["id"])
    with counted(database) as statements:
        nodes = (await gateway.data(admin, document))["servers"]["nodes"]
    assert [one["terminalSessions"]["totalCount"] for one in nodes] == [1] * 6
    assert len(statements) == 4


async def test_another_tenants_server_is_not_there(gateway: Gateway, tenants: Tenants, admin: Principal) -> None:
    made = await server(gateway, admin)
    stranger = await person(gateway, tenants.other)
    for bad in (made["id"], nobody("server"), "nonsense"):
        found = await gateway.data(stranger, "query($id: ID!) { server(id: $id) { id } }", id=bad)
        assert found == {"server": None}
        for document, said in ((UPDATE, {"expectedVersion": 1, "name": "x"}), (DELETE, {})):
            assert await refused(gateway, stranger, document, id=bad, **said) == ("NOT_FOUND", ["input", "id"])
    assert (await gateway.data(stranger, LIST))["servers"] == {"totalCount": 0, "nodes": []}


@pytest.mark.parametrize("role", sorted(set(Role) - {Role.ADMIN}))
async def test_admins_manage_servers_operators_and_auditors_see_them(
    gateway: Gateway, tenants: Tenants, admin: Principal, role: Role
) -> None:
    made = await server(gateway, admin)
    who = await person(gateway, tenants.mine, role)
    for document, said in (
        (CREATE, GIVEN),
        (UPDATE, {"id": made["id"], "expectedVersion": 1}),
        (DELETE, {"id": made["id"]}),
    ):
        answer = await gateway.answer(who, document, input=said)
        assert {one["extensions"]["code"] for one in answer["errors"]} == {"FORBIDDEN"}
    seen = (await gateway.answer(who, LIST))["data"]["servers"]
    assert (seen is not None) == (role in {Role.OPERATOR, Role.AUDITOR})
    assert (Scope.SERVERS_READ in who.scopes) == (seen is not None)
