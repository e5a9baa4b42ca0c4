"""This module is where canaries are let out: what is secret or personal, looked for wherever it must not be."""

from __future__ import annotations

import asyncio
import base64
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from gateway.embedded import EmbeddedPostgres, EmbeddedValkey
from gateway.embedded.binaries import postgres_program
from models import Role, User, UserStatus
from models.database import Database, DatabaseUrls, PoolOptions, role_url
from models.ids import suffix, uuid7
from models.roles import APP
from models.users import email_key
from resolvers.passwords import Passwords
from tests.gateway.demo_house import new_database
from tests.gateway.mail_server import MailServer, mail_server
from tests.gateway.production_gateway import Deployment, gateway_processes
from tests.patience import DEADLINE
from tests.report import record
from tests.world import AUDIT, make_tenant

LOGIN = """mutation($input: LoginInput!) { login(input: $input) {
  accessToken refreshToken userErrors { code message } } }"""
CREATE = "mutation($input: CreateUserInput!) { createUser(input: $input) { user { id } userErrors { code message } } }"
UPDATE = "mutation($input: UpdateUserInput!) { updateUser(input: $input) { user { id } userErrors { code message } } }"
KEY = "mutation($input: CreateApiKeyInput!) { createApiKey(input: $input) { secret userErrors { code message } } }"
SECRET = "mutation($input: SetSecretInput!) { setSecret(input: $input) { userErrors { code message } } }"
SERVER = "mutation($input: CreateServerInput!) { createServer(input: $input) { userErrors { code message } } }"
REFRESH = "mutation($input: RefreshSessionInput!) { refreshSession(input: $input) { refreshToken accessToken } }"
PASSWORD = "mutation($input: ChangePasswordInput!) { changePassword(input: $input) { userErrors { code message } } }"
INVITE = "mutation($input: InviteUserInput!) { inviteUser(input: $input) { user { id } userErrors { code message } } }"
AGAIN = """mutation($input: ResendInvitationInput!) { resendInvitation(input: $input) {
  user { id } userErrors { code message } } }"""
FORGOT = """mutation($input: RequestPasswordResetInput!) { requestPasswordReset(input: $input) {
  userErrors { code message } } }"""
RESET = "mutation($input: ResetPasswordInput!) { resetPassword(input: $input) { userErrors { code message } } }"
PROVE = """mutation { requestEmailVerification(input: {}) { userErrors { code message } } }"""
ERASE = "mutation($input: EraseUserInput!) { eraseUser(input: $input) { user { id } userErrors { code message } } }"


@dataclass(slots=True)
class Canaries:
    """Words that stand nowhere else in the world."""

    secret: list[str] = field(default_factory=list)
    personal: list[str] = field(default_factory=list)

    def hide(self, *words: str) -> str:
        """Count ``words`` as secrets; the first of them."""
        self.secret += words
        return words[0]

    def token(self, word: str) -> str:
        """Count a token as a secret, and the part of it that is one; the token."""
        return self.hide(word, word.rpartition("." if "." in word else "_")[2])

    def name(self, word: str) -> str:
        """Count ``word`` as personal."""
        self.personal.append(word)
        return word


def found(words: list[str], place: bytes | str) -> list[str]:
    """Which of ``words`` stand there: plainly, in hexadecimal, or in base64 at any offset."""
    said = place if isinstance(place, bytes) else place.encode()
    return [word for word in words if any(form in said for form in _forms(word))]


def _forms(word: str) -> list[bytes]:
    plain = word.encode()
    forms = [plain, plain.hex().encode()]
    # Offsets shift the alphabet; what stands at the edges depends on the neighbours and is left out.
    forms += [base64.b64encode(b"\x00" * shift + plain)[4:-4] for shift in range(3)]
    return forms


class Visitor:
    """Somebody with an address, an agent and a token, who remembers every error it is told."""

    def __init__(self, url: str, agent: str) -> None:
        self.url = url
        self._headers = {"user-agent": agent}
        self.errors: list[str] = []
        self.token: str | None = None

    async def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data; errors are kept."""
        headers = self._headers | ({"authorization": f"Bearer {self.token}"} if self.token else {})
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            answer = await client.post(
                f"{self.url}/graphql", json={"query": query, "variables": variables}, headers=headers
            )
        payload: dict[str, Any] = answer.json()
        self.errors.append(str(payload.get("errors")))
        for value in (payload.get("data") or {}).values():
            self.errors.append(str((value or {}).get("userErrors") if isinstance(value, dict) else None))
        return payload.get("data") or {}


async def _admin(database: Database, tenant: Any, email: str, password: str) -> None:
    async with database.session(tenant) as session:
        session.add(
            User(
                tenant_id=tenant,
                id=uuid7(),
                email=email,
                email_key=email_key(email),
                password_hash=await Passwords(memory_kib=8, passes=1).hash(password),
                roles=[Role.ADMIN.value],
                status=UserStatus.ACTIVE,
            )
        )
        await session.commit()


async def _sign_in(visitor: Visitor, canaries: Canaries, slug: str, email: str, password: str) -> str:
    """Let the visitor in; the refresh token."""
    hers = {"tenantSlug": slug, "email": email, "password": password}
    signed = (await visitor.ask(LOGIN, input=hers))["login"]
    visitor.token = canaries.token(signed["accessToken"])
    return canaries.token(signed["refreshToken"])


async def _administer(visitor: Visitor, canaries: Canaries, slug: str, email: str, password: str) -> None:
    """What an administrator does, and does wrong."""
    wrong = canaries.hide(f"wrong-{secrets.token_hex(12)}")
    await visitor.ask(LOGIN, input={"tenantSlug": slug, "email": email, "password": wrong})
    refresh_token = await _sign_in(visitor, canaries, slug, email, password)
    renewed = (await visitor.ask(REFRESH, input={"refreshToken": refresh_token}))["refreshSession"]
    visitor.token = canaries.token(renewed["accessToken"])
    canaries.token(renewed["refreshToken"])
    key = (await visitor.ask(KEY, input={"name": "fleet", "scopes": ["workspaces:read"]}))["createApiKey"]["secret"]
    canaries.hide(key.split("_")[-2])
    await visitor.ask(SECRET, input={"key": "OPENAI_API_KEY", "value": canaries.hide(f"sk-{secrets.token_hex(16)}")})
    await _describe_servers(visitor, canaries)


async def _describe_servers(visitor: Visitor, canaries: Canaries) -> None:
    """One with a key and a password, and one whose fingerprint is none."""
    fingerprint = f"SHA256:{base64.b64encode(secrets.token_bytes(32)).decode().rstrip('=')}"
    for name, known_by in (("db-1", fingerprint), ("db-2", "none")):
        key = canaries.hide(secrets.token_hex(24))
        said = {
            "name": name,
            "hostname": f"{name}.example",
            "username": "ops",
            "authType": "KEY",
            "sshKey": f"-----BEGIN OPENSSH PRIVATE KEY-----\n{key}\n-----END OPENSSH PRIVATE KEY-----",
            "password": canaries.hide(secrets.token_hex(16)),
            "hostKeyFingerprint": known_by,
        }
        await visitor.ask(SERVER, input=said)


def _person(canaries: Canaries, first: str, mark: str) -> dict[str, Any]:
    """Somebody of whom every word is a canary."""
    return {
        "email": canaries.name(f"{first}.{mark}@personal.example"),
        "displayName": canaries.name(f"{first.title()} {mark.upper()}"),
        "username": canaries.name(f"{first}.{mark}x"),
        "department": canaries.name(f"Dept-{first}-{mark}"),
    }


async def _live(visitor: Visitor, canaries: Canaries, slug: str) -> tuple[str, str]:
    """Do what people do, and what they do wrong; the id and address of the person who will be erased."""
    mark = secrets.token_hex(6)
    eve = _person(canaries, "evelyn", mark)
    department, password = eve.pop("department"), canaries.hide(f"eves-{secrets.token_hex(12)}")
    said = eve | {"password": password, "roles": ["MEMBER"]}
    made = (await visitor.ask(CREATE, input=said))["createUser"]["user"]["id"]
    await visitor.ask(CREATE, input=said)  # taken
    picture = canaries.name(f"https://pictures.example/{mark}-face.png")
    await visitor.ask(UPDATE, input={"id": made, "avatarUrl": picture, "department": department})
    herself = Visitor(visitor.url, canaries.name(f"EvesBrowser/{mark}"))
    await _sign_in(herself, canaries, slug, eve["email"], password)
    new = canaries.hide(f"new-{secrets.token_hex(12)}")
    await herself.ask(PASSWORD, input={"currentPassword": password, "newPassword": new})
    # Documents and variables that go wrong, with canaries in them.
    await herself.ask(f'mutation {{ login(input: {{email: "{eve["email"]}", pasword: "{new}"}}) {{ accessToken }} }}')
    await herself.ask(UPDATE, input={"id": made, "displayName": f"{eve['displayName']}\n", "nothing": new})
    await herself.ask(LOGIN, input={"tenantSlug": slug, "email": eve["email"], "password": [new]})
    await herself.ask(f"query {{ {new.replace('-', '_')} }}")
    await herself.ask(PROVE)
    visitor.errors += herself.errors
    return str(made), eve["email"]


class Mailbox:
    """What the mail server took, read as its owners read it."""

    def __init__(self, server: MailServer) -> None:
        self.server = server

    async def letter(self, to: str, subject: str) -> str:
        """The newest letter to somebody about something."""
        await self.until(lambda: self._found(to, subject) is not None)
        return self._found(to, subject) or ""

    async def token(self, canaries: Canaries, to: str, subject: str) -> str:
        """The token in it, counted as a secret."""
        (token,) = re.findall(r"sbo_\w+", await self.letter(to, subject))
        return canaries.token(token)

    async def refused(self, answer: str, ask: Any) -> None:
        """Let the server refuse the mail that ``ask`` brings."""
        tried = self.server.tried
        self.server.answers.append(answer)
        await ask
        await self.until(lambda: self.server.tried > tried)

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not is_so():  # noqa: ASYNC110 - another process sends them
                await asyncio.sleep(0.05)

    def _found(self, to: str, subject: str) -> str | None:
        fitting = [one for one in self.server.taken if to in one["To"] and subject in one["Subject"]]
        return str(fitting[-1].get_content()) if fitting else None


async def _get_in_by_mail(visitor: Visitor, canaries: Canaries, slug: str, mailbox: Mailbox, eves: str) -> str:
    """An invitation that is taken, a password that is forgotten, mails that are refused; the id of who was invited."""
    mark, agent = secrets.token_hex(6), canaries.name(f"IvysBrowser/{secrets.token_hex(6)}")
    ivy, stranger = _person(canaries, "ivy", mark), Visitor(visitor.url, agent)
    email = ivy["email"]
    made = str((await visitor.ask(INVITE, input=ivy | {"roles": ["VIEWER"]}))["inviteUser"]["user"]["id"])
    first = await mailbox.token(canaries, email, "You are invited")
    refusal = f"550 5.1.1 <{email}> is nobody here, {ivy['displayName']} neither"
    await mailbox.refused(refusal, visitor.ask(AGAIN, input={"id": made}))
    wrong = canaries.token(first[:-1] + ("A" if first[-1] != "A" else "B"))
    password, other = canaries.hide(f"ivys-{secrets.token_hex(12)}"), canaries.hide(f"other-{secrets.token_hex(12)}")
    for token, said in ((first, "short"), (wrong, other), (first, password), (first, other)):
        await stranger.ask(RESET, input={"token": token, "newPassword": said})
    await _sign_in(stranger, canaries, slug, email, password)
    await stranger.ask(FORGOT, input={"tenantSlug": slug, "email": eves})
    token = await mailbox.token(canaries, eves, "Set a new password")
    forgotten = canaries.hide(f"remembered-{secrets.token_hex(12)}")
    await stranger.ask(RESET, input={"token": token, "newPassword": forgotten})
    await mailbox.letter(eves, "Your password was changed")
    nobody = canaries.hide(f"nobody.{mark}@personal.example")
    await stranger.ask(FORGOT, input={"tenantSlug": slug, "email": nobody})
    later = stranger.ask(FORGOT, input={"tenantSlug": slug, "email": eves})
    await mailbox.refused(f"450 4.2.1 the mailbox of {eves} is busy", later)
    visitor.errors += stranger.errors
    return made


async def _redis(valkey: EmbeddedValkey) -> bytes:
    """Every key and what it holds, as it is stored."""
    client = Redis.from_url(valkey.url, protocol=2, socket_timeout=10)
    try:
        said = [b""]
        async for key in client.scan_iter(count=1000):
            said += [key, await client.dump(key) or b""]
        return b"\n".join(said)
    finally:
        await client.aclose()


async def _dump(postgres: EmbeddedPostgres, database: str) -> bytes:
    """The whole database as pg_dump writes it."""
    url = make_url(postgres.url).set(drivername="postgresql", database=database)
    process = await asyncio.create_subprocess_exec(
        str(postgres_program("pg_dump")),
        *("--dbname", url.render_as_string(hide_password=False)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, trouble = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, trouble
    assert b"COPY public.users" in said
    return said


async def _tables(superuser: AsyncEngine, *names: str) -> str:
    async with superuser.connect() as connection:
        return "\n".join(
            [str((await connection.execute(text(f"SELECT t::text FROM {name} t"))).scalars().all()) for name in names]
        )


async def test_canaries_are_nowhere_but_where_they_belong(
    postgres: EmbeddedPostgres, valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    url = await new_database(postgres.url, "canaries")
    deployment = Deployment(role_url(url, APP), valkey.url)
    canaries, superuser = Canaries(), create_async_engine(url)
    database = Database(DatabaseUrls.for_roles(url), PoolOptions(size=2), AUDIT)
    tenant = await make_tenant(database)
    password, email = canaries.hide(f"admin-{secrets.token_hex(12)}"), f"admin-{uuid7().hex}@x.example"
    await _admin(database, tenant, email, password)
    async with (
        mail_server() as server,
        gateway_processes(deployment, tmp_path, 1, worker="true", smtp_url=server.url) as (gateway,),
    ):
        visitor, slug = Visitor(gateway, "AdminBrowser/1.0"), f"t-{suffix(tenant)}"
        await _administer(visitor, canaries, slug, email, password)
        eve, address = await _live(visitor, canaries, slug)
        ivy = await _get_in_by_mail(visitor, canaries, slug, Mailbox(server), address)
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            metrics = (await client.get(f"{gateway}/metrics")).text
        cache = await _redis(valkey)
        before = await _dump(postgres, "canaries")
        logged = await _tables(superuser, "events", "audit_logs", "data_access_logs", "structure_events")
        for one in (eve, ivy):
            erased = (await visitor.ask(ERASE, input={"id": one}))["eraseUser"]
            assert erased["userErrors"] == []
    after = await _dump(postgres, "canaries")
    logs = (tmp_path / "gateway-0.log").read_bytes()
    await database.close()
    await superuser.dispose()
    places = {
        "logs": logs,
        "errors": "\n".join(visitor.errors).encode(),
        "metrics": metrics.encode(),
        "Redis": cache,
        "events and audit chain": logged.encode(),
    }
    everything = [*canaries.secret, *canaries.personal]
    assert {place: hits for place, said in places.items() if (hits := found(everything, said))} == {}
    assert found(canaries.secret, before) == []
    # They were there: or looking would prove nothing.
    assert set(found(canaries.personal, before)) == set(canaries.personal)
    # The worker was at work, and told of the mails that were refused.
    assert b"is undeliverable" in logs
    assert b"has to wait" in logs
    assert len(server.taken) >= 4
    assert found(everything, after) == []
    record(
        4,
        "canary secrets, tokens and personal data are nowhere they must not be",
        len(everything),
        f"{len(canaries.secret)} secrets, {len(canaries.personal)} personal; {len(server.taken)} mails; "
        f"{len(places)} places and two dumps of {(len(before) + len(after)) // 1024} KiB",
    )
