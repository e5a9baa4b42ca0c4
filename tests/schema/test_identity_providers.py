"""This module is where identity providers are specified as callers see them: set by admins, signed in by anyone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from models import Role, Tenant, User, UserStatus, utcnow
from models.ids import encode, uuid7
from resolvers.principal import Principal
from tests.resolvers.issuer import CLIENT, NONCE, Issuer, serving
from tests.schema.conftest import Gateway
from tests.world import Tenants, principal

SET = """mutation($input: SetIdentityProviderInput!) { setIdentityProvider(input: $input) {
  identityProvider { id issuer clientId jwksUri emailClaim rolesClaim roleMapping { claimValue roles } defaultRoles
    createsUsers linksByEmail isEnabled } userErrors { code field } } }"""
LOGIN = """mutation($slug: String!, $token: String!, $nonce: String!) {
  loginWithIdToken(input: {tenantSlug: $slug, idToken: $token, nonce: $nonce}) {
    accessToken refreshToken userErrors { code field }
    viewer { roles user { email displayName signsInElsewhere } } } }"""
MINE = "{ identityProvider { id issuer } }"


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with serving() as one:
        yield one


@pytest.fixture
async def admin(gateway: Gateway, tenants: Tenants) -> Principal:
    """Somebody who may set one."""
    row = User(tenant_id=tenants.mine, id=uuid7(), roles=[Role.ADMIN.value], status=UserStatus.ACTIVE)
    async with gateway.services.database.session(tenants.mine) as session:
        session.add(row)
        await session.commit()
    return principal(tenants.mine, Role.ADMIN, user_id=row.id)


async def slug_of(gateway: Gateway, tenants: Tenants) -> str:
    """What the tenant is called at sign-in."""
    async with gateway.services.database.session(tenants.mine) as session:
        return (await session.get_one(Tenant, tenants.mine)).slug


async def provided(gateway: Gateway, who: Principal, **said: Any) -> dict[str, Any]:
    """The payload of setIdentityProvider."""
    answer: dict[str, Any] = (await gateway.data(who, SET, input=said))["setIdentityProvider"]
    return answer


async def test_an_admin_sets_a_provider_and_anyone_it_vouches_for_signs_in(
    gateway: Gateway, tenants: Tenants, admin: Principal, issuer: Issuer
) -> None:
    answer = await provided(
        gateway,
        admin,
        issuer=issuer.url,
        clientId=CLIENT,
        rolesClaim="groups",
        roleMapping=[{"claimValue": "ops", "roles": ["OPERATOR"]}],
        defaultRoles=["VIEWER"],
    )
    id = answer["identityProvider"].pop("id")
    assert answer == {
        "identityProvider": {
            "issuer": issuer.url,
            "clientId": CLIENT,
            "jwksUri": None,
            "emailClaim": "email",
            "rolesClaim": "groups",
            "roleMapping": [{"claimValue": "ops", "roles": ["OPERATOR"]}],
            "defaultRoles": ["VIEWER"],
            "createsUsers": True,
            "linksByEmail": False,
            "isEnabled": True,
        },
        "userErrors": [],
    }
    assert (await gateway.data(admin, MINE))["identityProvider"] == {"id": id, "issuer": issuer.url}
    said = {"slug": await slug_of(gateway, tenants), "nonce": NONCE}
    token = issuer.token(utcnow(), groups=["ops"])
    signed = (await gateway.data(None, LOGIN, token=token, **said))["loginWithIdToken"]
    assert signed.pop("accessToken")
    assert signed.pop("refreshToken")
    assert signed == {
        "userErrors": [],
        "viewer": {
            "roles": ["OPERATOR", "VIEWER"],
            "user": {"email": "grace@example.org", "displayName": "Grace Hopper", "signsInElsewhere": True},
        },
    }
    spent = (await gateway.data(None, LOGIN, token=token, **said))["loginWithIdToken"]
    assert spent == {
        "accessToken": None,
        "refreshToken": None,
        "userErrors": [{"code": "INVALID_CREDENTIALS", "field": ["input", "idToken"]}],
        "viewer": None,
    }
    gone = "mutation($id: ID!) { deleteIdentityProvider(input: {id: $id}) { deletedId userErrors { code } } }"
    assert (await gateway.data(admin, gone, id=id))["deleteIdentityProvider"] == {"deletedId": id, "userErrors": []}
    assert (await gateway.data(admin, MINE))["identityProvider"] is None


async def test_what_is_wrong_is_named_and_nobody_else_sees_or_sets_one(
    gateway: Gateway, tenants: Tenants, admin: Principal, issuer: Issuer
) -> None:
    answer = await provided(gateway, admin, issuer="nonsense", clientId=CLIENT)
    assert answer == {"identityProvider": None, "userErrors": [{"code": "INVALID", "field": ["input", "issuer"]}]}
    id = (await provided(gateway, admin, issuer=issuer.url, clientId=CLIENT))["identityProvider"]["id"]
    operator = principal(tenants.mine, Role.OPERATOR, user_id=uuid7())
    for document, given in ((MINE, {}), (SET, {"input": {"issuer": issuer.url, "clientId": CLIENT}})):
        (error,) = (await gateway.answer(operator, document, **given))["errors"]
        assert error["extensions"]["code"] == "FORBIDDEN"
    stranger = principal(tenants.other, Role.ADMIN, user_id=uuid7())
    assert (await gateway.data(stranger, MINE))["identityProvider"] is None
    node = "query($id: ID!) { node(id: $id) { id } }"
    foreign, unknown = [await gateway.answer(stranger, node, id=one) for one in (id, encode("issuer", uuid7()))]
    assert foreign == unknown == {"data": {"node": None}}


async def test_one_document_signs_in_once_whatever_its_aliases(
    gateway: Gateway, tenants: Tenants, admin: Principal, issuer: Issuer
) -> None:
    await provided(gateway, admin, issuer=issuer.url, clientId=CLIENT)
    slug = await slug_of(gateway, tenants)
    one = 'loginWithIdToken(input: {tenantSlug: "%s", idToken: "a.b.c", nonce: "12345678"}) { userErrors { code } }'
    answer = await gateway.answer(None, f"mutation {{ a: {one % slug} b: {one % slug} }}")
    assert {error["extensions"]["code"] for error in answer["errors"]} == {"LIMIT_EXCEEDED"}
