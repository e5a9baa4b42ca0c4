"""This module is where signing in by a tenant's identity provider is specified, against an issuer that runs here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import jwt
import pytest
from sqlalchemy import func, select

from gateway.egress import Egress
from models import PLATFORM_TENANT_ID, IdentityProvider, Role, SpentIdToken, Tenant, TenantStatus, User, UserStatus
from models.errors import Forbidden, LimitExceeded, Refusal, RefusalCode, Unauthenticated
from models.ids import NIL, uuid7
from models.scopes import scopes_of
from resolvers.call import Call
from resolvers.credentials import Accounts, Signed
from resolvers.external_sign_in import login_with_id_token
from resolvers.identity_providers import delete_identity_provider, set_identity_provider
from resolvers.issuer_keys import RETRY_SECONDS, IssuerKeys
from resolvers.principal import Principal
from resolvers.users import update_user
from tests.report import record
from tests.resolvers.issuer import CLIENT, NONCE, Issuer, SigningKey, serving
from tests.resolvers.people import PASSWORD, House, email_of


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with serving() as one:
        yield one


@pytest.fixture
async def house(house: House) -> AsyncIterator[House]:
    """The house with keys of issuers, on its own stopwatch."""
    egress = Egress([ip_network("127.0.0.0/8")])
    house.issuer_keys = IssuerKeys(egress, house.clock.timer)
    yield house
    await house.issuer_keys.close()
    await egress.close()


@pytest.fixture
async def boss(house: House, acme: Tenant, accounts: Accounts) -> Call:
    """An operation of acme's admin."""
    return admin_of(house, await house.person(acme.id, Role.ADMIN), accounts)


def admin_of(house: House, user: User, accounts: Accounts | None = None) -> Call:
    roles = frozenset({Role.ADMIN})
    who = Principal(tenant_id=user.tenant_id, user_id=user.id, scopes=scopes_of([Role.ADMIN]), roles=roles)
    return house.call(who, accounts)


async def sign_in(house: House, tenant: Tenant, token: str, nonce: str = NONCE) -> Signed:
    return await login_with_id_token(house.call(), tenant_slug=tenant.slug, id_token=token, nonce=nonce)


async def refused(house: House, tenant: Tenant, token: str, nonce: str = NONCE) -> None:
    with pytest.raises(Refusal) as refusal:
        await sign_in(house, tenant, token, nonce)
    assert refusal.value.code is RefusalCode.INVALID_CREDENTIALS
    assert refusal.value.message == "The tenant or the ID token is wrong."


async def person(house: House, signed: Signed) -> User:
    async with house.database.session(signed.principal.tenant_id) as session:
        return (await session.scalars(select(User).where(User.id == signed.principal.user_id))).one()


async def count(house: House, tenant: Tenant, kind: Any) -> int:
    async with house.database.session(tenant.id) as session:
        return await session.scalar(select(func.count()).select_from(kind)) or 0


async def test_whom_the_issuer_vouches_for_is_made_and_signed_in_and_found_again(
    house: House, accounts: Accounts, acme: Tenant, boss: Call, issuer: Issuer
) -> None:
    await set_identity_provider(boss, issuer=issuer.url, client_id=CLIENT, default_roles=[Role.VIEWER])
    first = await sign_in(house, acme, issuer.token(house.clock.now))
    user = await person(house, first)
    assert (user.email, user.email_verified, user.display_name) == ("grace@example.org", True, "Grace Hopper")
    assert (user.status, user.roles, user.password_hash) == (UserStatus.ACTIVE, ["viewer"], None)
    assert user.signs_in_elsewhere
    again = await sign_in(house, acme, issuer.token(house.clock.now, jti="another"))
    assert again.principal.user_id == user.id
    principal = await accounts.authenticate(f"Bearer {again.access_token}")
    assert principal is not None
    assert principal.roles == {Role.VIEWER}
    assert await house.kinds(acme.id) == [
        "identity_provider.set", "user.created", "session.started", "session.started"
    ]  # fmt: skip


@pytest.mark.parametrize("algorithm", ["RS256", "RS512", "PS256", "ES256", "ES384", "ES512", "EdDSA"])
async def test_every_asymmetric_algorithm_of_issuers_is_understood(
    house: House, acme: Tenant, boss: Call, issuer: Issuer, algorithm: str
) -> None:
    issuer.rotate("key", algorithm)
    await set_identity_provider(boss, issuer=issuer.url, client_id=CLIENT)
    assert await sign_in(house, acme, issuer.token(house.clock.now))


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("another audience", {"aud": "another-client"}),
    ("no audience", {"aud": None}),
    ("several audiences without a party", {"aud": [CLIENT, "another"]}),
    ("another party", {"aud": [CLIENT, "another"], "azp": "another"}),
    ("another issuer", {"iss": "https://accounts.example"}),
    ("an issuer that looks alike", {"iss": "SLASH"}),
    ("expired", {"exp": -120}),
    ("no expiry", {"exp": None}),
    ("an expiry that is a text", {"exp": "tomorrow"}),
    ("an expiry beyond the calendar", {"exp": 10**18}),
    ("from the future", {"iat": 120}),
    ("not yet", {"nbf": 120}),
    ("kept for long", {"iat": -3600}),
    ("no issue", {"iat": None}),
    ("another nonce", {"nonce": "another-nonce"}),
    ("no nonce", {"nonce": None}),
    ("a nonce that is a number", {"nonce": 5}),
    ("no subject", {"sub": None}),
    ("an empty subject", {"sub": ""}),
    ("a subject that is none", {"sub": "nul\x00"}),
    ("a long subject", {"sub": "x" * 256}),
]


@pytest.mark.parametrize("given", [given for _, given in WRONG], ids=[what for what, _ in WRONG])
async def test_a_token_that_says_anything_else_signs_nobody_in(
    house: House, acme: Tenant, boss: Call, issuer: Issuer, given: dict[str, Any]
) -> None:
    await set_identity_provider(boss, issuer=issuer.url, client_id=CLIENT)
    now = int(house.clock.now.timestamp())
    for name in ("exp", "iat", "nbf"):
        if isinstance(given.get(name), int) and abs(given[name]) < 10**6:
            given = {**given, name: now + given[name]}
    if given.get("iss") == "SLASH":
        given = {"iss": f"{issuer.url}/"}
    people = await count(house, acme, User)
    await refused(house, acme, issuer.token(house.clock.now, **given))
    assert await count(house, acme, User) == people


async def test_a_token_that_another_signed_signs_nobody_in(
    house: House, acme: Tenant, boss: Call, issuer: Issuer
) -> None:
    await set_identity_provider(boss, issuer=issuer.url, client_id=CLIENT)
    now = house.clock.now
    claims = issuer.claims(now)
    public = issuer.keys[0].jwk()["n"]
    forged = {
        "by nobody": jwt.encode(claims, "", algorithm="none", headers={"kid": "first"}),
        "with a secret": jwt.encode(claims, public, algorithm="HS256", headers={"kid": "first"}),
        "by a foreign key of the same name": issuer.token(now, key=SigningKey("first")),
        "by a foreign key of another name": issuer.token(now, key=SigningKey("foreign")),
        "by a foreign key without a name": issuer.token(now, key=SigningKey("foreign"), kid=None),
        "by a key of another kind": issuer.token(now, key=SigningKey("first", "ES256")),
        "with its signature cut": issuer.token(now).rpartition(".")[0] + ".",
        "malformed": "a.b.c",
        "empty": "",
        "of a megabyte": "a" * 1_000_000,
    }
    for token in forged.values():
        await refused(house, acme, token)
    record(4, "ID tokens that are wrong or forged are refused", n=len(WRONG) + len(forged), figure="one answer to all")


async def test_a_foreign_key_in_the_token_itself_is_not_looked_at(
    house: House, acme: Tenant, boss: Call, issuer: Issuer
) -> None:
    await set_identity_provider(boss, issuer=issuer.url, client_id=CLIENT)
    with serving() as foreign:
        asked = dict(foreign.asked)
        key = SigningKey("first")
        headers = {"kid": "first", "jwk": key.jwk(), "jku": f"{foreign.url}/keys", "x5u": f"{foreign.url}/keys"}
        token = jwt.encode(issuer.claims(house.clock.now), key.private, algorithm="RS256", headers=headers)
        await refused(house, acme, token)
        assert dict(foreign.asked) == asked


async def test_the_nonce_is_the_clients_own(house: House, acme: Tenant, boss: Call, issuer: Issuer) -> None:
    await set_identity_provider(boss, issuer=issuer.url, client_id=CLIENT)
    for nonce in ("", "short", "another-nonce", NONCE + "\x00", "x" * 300):
        await refused(house, acme, issuer.token(house.clock.now), nonce)
    await refused(house, acme, issuer.token(house.clock.now, nonce=""), "")


async def test_a_rotated_key_signs_in_and_the_old_one_does_not(
    house: House, acme: Tenant, boss: Call, issuer: Issuer
) -> None:
    await set_identity_provider(boss, issuer=issuer.url, client_id=CLIENT)
    old = issuer.keys[0]
    assert await sign_in(house, acme, issuer.token(house.clock.now))
    issuer.rotate("second")
    house.clock.advance(timedelta(seconds=RETRY_SECONDS))
    assert await sign_in(house, acme, issuer.token(house.clock.now))
    await refused(house, acme, issuer.token(house.clock.now, key=old))


async def test_a_token_signs_in_once_even_when_it_is_used_at_once(
    house: House, acme: Tenant, boss: Call, issuer: Issuer
) -> None:
    await set_identity_provider(boss, issuer=issuer.url, client_id=CLIENT)
    token = issuer.token(house.clock.now)
    answers = await asyncio.gather(*(sign_in(house, acme, token) for _ in range(8)), return_exceptions=True)
    assert [isinstance(one, Signed) for one in answers].count(True) == 1
    assert {one.code for one in answers if isinstance(one, Refusal)} == {RefusalCode.INVALID_CREDENTIALS}
    assert (await count(house, acme, SpentIdToken), await count(house, acme, User)) == (1, 2)
    house.clock.advance(timedelta(minutes=7))
    await sign_in(house, acme, issuer.token(house.clock.now))
    assert await count(house, acme, SpentIdToken) == 1


async def test_two_first_sign_ins_at_once_make_one_person(
    house: House, acme: Tenant, boss: Call, issuer: Issuer
) -> None:
    await set_identity_provider(boss, issuer=issuer.url, client_id=CLIENT)
    tokens = [issuer.token(house.clock.now, jti=str(number)) for number in range(4)]
    answers = await asyncio.gather(*(sign_in(house, acme, token) for token in tokens))
    assert len({one.principal.user_id for one in answers}) == 1
    assert await count(house, acme, User) == 2


async def test_roles_follow_the_claim_at_each_sign_in(house: House, acme: Tenant, boss: Call, issuer: Issuer) -> None:
    await set_identity_provider(
        boss,
        issuer=issuer.url,
        client_id=CLIENT,
        roles_claim="realm_access.roles",
        role_mapping=[
            {"claim_value": "ops", "roles": [Role.OPERATOR, Role.MEMBER]},
            {"claim_value": "root", "roles": [Role.ADMIN]},
        ],
    )
    first = await sign_in(house, acme, issuer.token(house.clock.now, realm_access={"roles": ["ops", "unknown"]}))
    assert first.principal.roles == {Role.OPERATOR, Role.MEMBER}
    second = await sign_in(house, acme, issuer.token(house.clock.now, realm_access={"roles": ["root"]}))
    assert second.principal.roles == {Role.ADMIN}
    with pytest.raises(Unauthenticated):
        await house.accounts().authenticate(f"Bearer {first.access_token}")
    without: tuple[Any, ...] = (None, {}, {"roles": []}, {"roles": ["unknown"]}, {"roles": 5}, 5)
    for nothing in without:
        await refused(house, acme, issuer.token(house.clock.now, realm_access=nothing))


async def test_the_claim_does_not_take_the_last_admin_away(house: House, issuer: Issuer) -> None:
    tenant = await house.tenant()
    admin = await house.person(tenant.id, Role.ADMIN)
    await set_identity_provider(
        admin_of(house, admin),
        issuer=issuer.url,
        client_id=CLIENT,
        links_by_email=True,
        roles_claim="groups",
        role_mapping=[{"claim_value": "staff", "roles": [Role.VIEWER]}],
    )
    token = issuer.token(house.clock.now, email=email_of(admin), groups=["staff"])
    assert (await sign_in(house, tenant, token)).principal.roles == {Role.ADMIN}


async def test_an_object_and_words_are_roles_too(house: House, acme: Tenant, boss: Call, issuer: Issuer) -> None:
    claim = "urn:zitadel:iam:org:project:roles"
    mapping: Any = [{"claim_value": "ops", "roles": [Role.OPERATOR]}]
    await set_identity_provider(boss, issuer=issuer.url, client_id=CLIENT, roles_claim=claim, role_mapping=mapping)
    values: tuple[Any, ...] = ({"ops": {"1": "acme"}}, "staff ops", ["ops"])
    for value in values:
        said: dict[str, Any] = {"jti": str(value), claim: value}
        signed = await sign_in(house, acme, issuer.token(house.clock.now, **said))
        assert signed.principal.roles == {Role.OPERATOR}


async def test_whom_an_admin_created_without_a_password_is_found_by_the_proven_address(
    house: House, acme: Tenant, boss: Call, issuer: Issuer, ada: User
) -> None:
    await house.set_user(ada, password_hash=None, status=UserStatus.PENDING)
    await set_identity_provider(boss, issuer=issuer.url, client_id=CLIENT, creates_users=False)
    email = email_of(ada).upper()
    await refused(house, acme, issuer.token(house.clock.now, email=email, email_verified=False))
    await refused(house, acme, issuer.token(house.clock.now, email=email, email_verified=None))
    signed = await sign_in(house, acme, issuer.token(house.clock.now, email=email))
    assert signed.principal.user_id == ada.id
    assert signed.principal.roles == {Role.OPERATOR}
    row = await house.row(ada)
    assert (row.status, row.email_verified, row.external_subject) == (UserStatus.ACTIVE, True, "248289761001")
    await refused(house, acme, issuer.token(house.clock.now, email=email, sub="somebody else"))


async def test_an_account_with_a_password_is_taken_over_only_where_the_tenant_says_so(
    house: House, accounts: Accounts, acme: Tenant, boss: Call, issuer: Issuer, ada: User
) -> None:
    signed = await house.signed_in(accounts, acme, ada)
    await set_identity_provider(boss, issuer=issuer.url, client_id=CLIENT)
    await refused(house, acme, issuer.token(house.clock.now, email=email_of(ada)))
    assert (await house.row(ada)).password_hash is not None
    await set_identity_provider(boss, issuer=issuer.url, client_id=CLIENT, links_by_email=True)
    linked = await sign_in(house, acme, issuer.token(house.clock.now, email=email_of(ada)))
    assert linked.principal.user_id == ada.id
    assert (await house.row(ada)).password_hash is None
    with pytest.raises(Refusal):
        await house.signed_in(accounts, acme, ada)
    with pytest.raises(Unauthenticated):
        await house.accounts().authenticate(f"Bearer {signed.access_token}")


async def test_an_address_that_is_not_proven_is_not_taken(
    house: House, acme: Tenant, boss: Call, issuer: Issuer
) -> None:
    await set_identity_provider(boss, issuer=issuer.url, client_id=CLIENT)
    user = await person(house, await sign_in(house, acme, issuer.token(house.clock.now, email_verified=False)))
    assert (user.email, user.email_verified) == (None, False)
    await set_identity_provider(boss, issuer=issuer.url, client_id=CLIENT, trusts_emails=True, email_claim="upn")
    token = issuer.token(house.clock.now, sub="another", email=None, email_verified=None, upn="lin@example.org")
    assert (await person(house, await sign_in(house, acme, token))).email == "lin@example.org"


@pytest.mark.parametrize("status", [UserStatus.SUSPENDED, UserStatus.DELETED])
async def test_who_was_suspended_or_deleted_does_not_come_back_by_signing_in(
    house: House, acme: Tenant, boss: Call, issuer: Issuer, status: UserStatus
) -> None:
    await set_identity_provider(boss, issuer=issuer.url, client_id=CLIENT)
    user = await person(house, await sign_in(house, acme, issuer.token(house.clock.now)))
    await update_user(boss, id=user.id, status=status)
    await refused(house, acme, issuer.token(house.clock.now, jti="again"))
    assert await count(house, acme, User) == 2


async def test_a_tenant_without_one_and_one_that_is_not_served_refuse_alike(
    house: House, acme: Tenant, boss: Call, issuer: Issuer
) -> None:
    token = issuer.token(house.clock.now)
    await refused(house, acme, token)
    await set_identity_provider(boss, issuer=issuer.url, client_id=CLIENT, is_enabled=False)
    await refused(house, acme, token)
    await set_identity_provider(boss, issuer=issuer.url, client_id=CLIENT)
    await house.set_tenant_status(acme.id, TenantStatus.SUSPENDED)
    await refused(house, acme, token)
    for slug in ("nobody", "platform", "", "nul\x00"):
        with pytest.raises(Refusal) as refusal:
            await login_with_id_token(house.call(), tenant_slug=slug, id_token=token, nonce=NONCE)
        assert refusal.value.code is RefusalCode.INVALID_CREDENTIALS


async def test_another_tenants_issuer_signs_nobody_in_here(
    house: House, acme: Tenant, boss: Call, issuer: Issuer
) -> None:
    await set_identity_provider(boss, issuer=issuer.url, client_id=CLIENT)
    other = await house.tenant()
    with serving() as theirs:
        admin = admin_of(house, await house.person(other.id, Role.ADMIN))
        await set_identity_provider(admin, issuer=theirs.url, client_id=CLIENT)
        await refused(house, acme, theirs.token(house.clock.now))
        await refused(house, other, issuer.token(house.clock.now))
        assert await sign_in(house, other, theirs.token(house.clock.now))


async def test_one_operation_signs_in_once(house: House, acme: Tenant, boss: Call, issuer: Issuer) -> None:
    await set_identity_provider(boss, issuer=issuer.url, client_id=CLIENT)
    call = house.call()
    token = issuer.token(house.clock.now)
    assert await login_with_id_token(call, tenant_slug=acme.slug, id_token=token, nonce=NONCE)
    with pytest.raises(LimitExceeded):
        await login_with_id_token(call, tenant_slug=acme.slug, id_token=token, nonce=NONCE)


async def test_another_issuer_is_another_provider_and_signs_the_old_ones_people_out(
    house: House, accounts: Accounts, acme: Tenant, boss: Call, issuer: Issuer
) -> None:
    first = await set_identity_provider(boss, issuer=issuer.url, client_id=CLIENT)
    same = await set_identity_provider(boss, issuer=issuer.url, client_id=CLIENT, default_roles=[Role.VIEWER])
    assert same.id == first.id
    signed = await sign_in(house, acme, issuer.token(house.clock.now))
    with serving() as foreign:
        other = await set_identity_provider(boss, issuer=foreign.url, client_id=CLIENT)
        assert other.id != first.id
        with pytest.raises(Unauthenticated):
            await accounts.authenticate(f"Bearer {signed.access_token}")
        await refused(house, acme, issuer.token(house.clock.now, jti="again"))
        token = foreign.token(house.clock.now, email="another@example.org")
        assert (await sign_in(house, acme, token)).principal.user_id != signed.principal.user_id
        # The proven address is what the two have in common.
        token = foreign.token(house.clock.now, sub="grace there")
        assert (await sign_in(house, acme, token)).principal.user_id == signed.principal.user_id
    assert await count(house, acme, IdentityProvider) == 1


async def test_without_a_provider_its_people_are_out(house: House, acme: Tenant, boss: Call, issuer: Issuer) -> None:
    provider = await set_identity_provider(boss, issuer=issuer.url, client_id=CLIENT)
    signed = await sign_in(house, acme, issuer.token(house.clock.now))
    assert await delete_identity_provider(boss, id=provider.id) == provider.typeid
    with pytest.raises(Unauthenticated):
        await house.accounts().authenticate(f"Bearer {signed.access_token}")
    await refused(house, acme, issuer.token(house.clock.now, jti="again"))
    other = admin_of(house, await house.person((await house.tenant()).id, Role.ADMIN))
    for call, id in ((boss, provider.id), (boss, NIL), (other, provider.id)):
        with pytest.raises(Refusal) as refusal:
            await delete_identity_provider(call, id=id)
        assert (refusal.value.code, refusal.value.message) == (
            RefusalCode.NOT_FOUND,
            "There is no such identity provider.",
        )


async def test_a_provider_that_goes_while_its_token_is_looked_at_signs_nobody_in(
    house: House, acme: Tenant, boss: Call, issuer: Issuer
) -> None:
    provider = await set_identity_provider(boss, issuer=issuer.url, client_id=CLIENT)
    issuer.rotate("second")
    house.clock.advance(timedelta(seconds=RETRY_SECONDS))
    token = issuer.token(house.clock.now)
    issuer.door.clear()
    issuer.knocked.clear()
    try:
        signing_in = asyncio.create_task(refused(house, acme, token), name="sign in")
        # Now its keys are being fetched; the provider was read before.
        assert await asyncio.to_thread(issuer.knocked.wait, 10)
        await delete_identity_provider(boss, id=provider.id)
    finally:
        issuer.door.set()
    await signing_in
    assert await count(house, acme, User) == 1


async def test_only_an_admin_in_person_sets_one(house: House, acme: Tenant, issuer: Issuer) -> None:
    scopes = scopes_of([Role.ADMIN])
    key = Principal(tenant_id=acme.id, api_key_id=uuid7(), scopes=scopes, roles=frozenset({Role.API_CLIENT}))
    operator = Principal(tenant_id=acme.id, user_id=uuid7(), scopes=scopes_of([Role.OPERATOR]))
    for who in (key, operator):
        with pytest.raises(Forbidden):
            await set_identity_provider(house.call(who), issuer=issuer.url, client_id=CLIENT)
        with pytest.raises(Forbidden):
            await delete_identity_provider(house.call(who), id=NIL)
    chief = Principal(tenant_id=PLATFORM_TENANT_ID, user_id=uuid7(), scopes=scopes, is_platform_admin=True)
    with pytest.raises(Refusal) as refusal:
        await set_identity_provider(house.call(chief), issuer=issuer.url, client_id=CLIENT)
    assert refusal.value.code is RefusalCode.IMMUTABLE
    assert issuer.asked == {}


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("issuer", {"issuer": "accounts.example"}),
        ("issuer", {"issuer": "https://accounts.example/?tenant=1"}),
        ("clientId", {"client_id": ""}),
        ("jwksUri", {"jwks_uri": "file:///etc/passwd"}),
        ("emailClaim", {"email_claim": ""}),
        ("rolesClaim", {"roles_claim": "a\nb"}),
        ("roleMapping", {"role_mapping": [{"claim_value": "x", "roles": [Role.API_CLIENT]}]}),
        ("roleMapping", {"role_mapping": [{"claim_value": "x", "roles": []}] * 2}),
        ("roleMapping", {"role_mapping": [{"claim_value": f"{one}", "roles": []} for one in range(101)]}),
        ("defaultRoles", {"default_roles": [Role.API_CLIENT]}),
    ],
)
async def test_what_cannot_be_one_is_invalid(
    house: House, acme: Tenant, boss: Call, issuer: Issuer, field: str, given: dict[str, Any]
) -> None:
    with pytest.raises(Refusal) as refusal:
        await set_identity_provider(boss, **{"issuer": issuer.url, "client_id": CLIENT, **given})
    assert (refusal.value.code, refusal.value.field) == (RefusalCode.INVALID, ("input", field))
    assert (await count(house, acme, IdentityProvider), issuer.asked) == (0, {})


async def test_a_server_without_keys_is_refused_in_one_sentence_whatever_it_is(
    house: House, acme: Tenant, boss: Call, issuer: Issuer
) -> None:
    issuer.answers["/elsewhere"] = (200, {}, b'{"keys": []}')
    messages = set()
    places: tuple[dict[str, Any], ...] = (
        {"issuer": f"{issuer.url}/nothing"},
        {"issuer": "http://169.254.169.254"},
        {"issuer": "http://10.0.0.1"},
        {"issuer": "https://nowhere.invalid"},
        {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/elsewhere"},
    )
    for given in places:
        with pytest.raises(Refusal) as refusal:
            await set_identity_provider(boss, client_id=CLIENT, **given)
        messages.add((refusal.value.code, refusal.value.message))
    assert messages == {(RefusalCode.INVALID, "No signing keys can be read there.")}
    assert await count(house, acme, IdentityProvider) == 0


async def test_nobody_gives_a_password_to_whom_the_issuer_signs_in(
    house: House, accounts: Accounts, acme: Tenant, boss: Call, issuer: Issuer
) -> None:
    await set_identity_provider(boss, issuer=issuer.url, client_id=CLIENT)
    signed = await sign_in(house, acme, issuer.token(house.clock.now))
    call = house.call(signed.principal, accounts)
    with pytest.raises(Refusal):
        await accounts.change_password(call, current_password=PASSWORD, new_password=PASSWORD)
