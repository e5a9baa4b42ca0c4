"""This module is where following a stream from a terminal is specified: resumed by itself, ended with one line."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from gateway.app import GatewayApp
from gateway.cli import main
from gateway.embedded import EmbeddedValkey
from gateway.transports.close_codes import CloseCode
from gateway.transports.connection import Connection
from gateway.transports.open_connections import OpenConnections
from gateway.watch import STREAMS, Credentials, Follower, KeyCredentials, PasswordCredentials, WatchError, follower
from gateway.watch.streams import printable
from models import Role, Scope, Tenant, User, UserStatus
from models.ids import uuid7
from models.users import email_key
from resolvers.call import Call, Services
from tests.gateway.fleet_gateway import serving, settings_for, until
from tests.patience import DEADLINE
from tests.schema.test_activity import envelope
from tests.world import call_of, make_tenant, principal

PASSWORD = "correct horse battery"


@dataclass(frozen=True, slots=True)
class Served:
    """A running gateway and a tenant of its own."""

    url: str
    services: Services
    tenant_id: UUID
    connections: OpenConnections

    @property
    def admin(self) -> Call:
        """A new operation of the tenant's admin."""
        return call_of(self.services, principal(self.tenant_id, Role.ADMIN))


@pytest.fixture(scope="module")
async def served(
    app_url: str, valkey: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Served]:
    """A gateway on loopback."""
    settings = settings_for(app_url, valkey.url, tmp_path_factory.mktemp("watch"))
    async with serving(settings) as app:
        tenant_id = await make_tenant(app.state.services.database)
        assert isinstance(app, GatewayApp)
        yield Served(settings.url, app.state.services, tenant_id, app.endpoint.connections)


@dataclass(slots=True)
class Terminal:
    """What was shown and said."""

    shown: list[Mapping[str, Any]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    @property
    def kinds(self) -> list[str]:
        """The kinds of the events shown."""
        return [item["event"]["kind"] for item in self.shown]

    def stood(self, times: int = 1) -> bool:
        """Whether the stream has stood so many times."""
        return sum(line.startswith("following") for line in self.said) >= times


async def key_of(served: Served, *scopes: Scope) -> tuple[UUID, KeyCredentials]:
    """A new API key."""
    words = [scope.value for scope in scopes]
    row, secret = await served.services.accounts.create_api_key(served.admin, name="watcher", scopes=words)
    return row.id, KeyCredentials(secret)


def following(
    served: Served, credentials: Credentials, terminal: Terminal, stream: str = "activityFeed", **given: Any
) -> Follower:
    """A follower that writes to ``terminal``."""
    said = {"after": None, "filter": {}} | given
    return Follower(
        served.url,
        credentials,
        STREAMS[stream],
        show=terminal.shown.append,
        say=terminal.said.append,
        **said,
    )


@asynccontextmanager
async def running(one: Follower, terminal: Terminal) -> AsyncIterator[asyncio.Task[None]]:
    """The follower at work, once its stream stands."""
    task = asyncio.create_task(one.run(), name="follower under test")
    try:
        await until(lambda: terminal.stood() or task.done())
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def tell(served: Served, *kinds: str) -> None:
    """Commit events."""
    async with served.admin.work() as work:
        for kind in kinds:
            work.record(envelope(kind))


def cut(served: Served, code: CloseCode) -> None:
    """End every socket of the gateway."""
    for connections in served.connections.by_principal().values():
        for one in connections:
            assert isinstance(one, Connection)
            one.close(code, "for the test")


async def test_a_follower_sees_each_event_once_however_often_it_is_cut_off(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "FIRST_PAUSE_SECONDS", 0.05)
    terminal = Terminal()
    _, key = await key_of(served, Scope.ACTIVITY_READ, Scope.WORKSPACES_READ)
    expected: list[str] = []
    async with running(following(served, key, terminal, filter={"topics": ["REGISTRY"]}), terminal):
        for times, code in enumerate((CloseCode.SERVICE_RESTART, CloseCode.TRY_AGAIN_LATER, CloseCode.INTERNAL_ERROR)):
            await until(lambda times=times: terminal.stood(times + 1))  # type: ignore[misc]
            expected += [f"a.n{times}", f"b.n{times}", f"c.n{times}"]
            await tell(served, f"a.n{times}")
            cut(served, code)
            await tell(served, f"b.n{times}", f"c.n{times}")
        await until(lambda: len(terminal.shown) >= len(expected))
    assert terminal.kinds == expected


async def test_a_follower_goes_on_after_a_cursor_and_says_when_it_cannot(served: Served) -> None:
    _, key = await key_of(served, Scope.ACTIVITY_READ, Scope.WORKSPACES_READ)
    first, second, third = Terminal(), Terminal(), Terminal()
    one = following(served, key, first)
    async with running(one, first):
        pass
    await tell(served, "missed.made")
    async with running(following(served, key, second, after=one.cursor), second):
        await until(lambda: second.kinds == ["missed.made"])
    async with running(following(served, key, third, after="nonsense"), third):
        assert any("not to be had" in line for line in third.said)
        assert third.shown == []


@pytest.mark.parametrize("stream", ["workspaceStatus", "heartbeats"])
async def test_the_other_streams_are_followed_as_well(served: Served, stream: str) -> None:
    terminal = Terminal()
    _, key = await key_of(served, Scope.WORKSPACES_READ)
    async with running(following(served, key, terminal, stream), terminal) as task:
        assert not task.done()


async def _ended(one: Follower) -> str:
    with pytest.raises(WatchError) as ended:
        async with asyncio.timeout(DEADLINE):
            await one.run()
    message = str(ended.value)
    assert "\n" not in message
    return message


async def test_following_ends_with_one_line_where_it_is_of_no_use(served: Served) -> None:
    terminal = Terminal()
    assert "Unauthorized" in await _ended(following(served, KeyCredentials("sbx_nonsense"), terminal))
    _, poor = await key_of(served, Scope.WORKSPACES_READ)
    assert "activity:read" in await _ended(following(served, poor, terminal))
    _, key = await key_of(served, Scope.ACTIVITY_READ)
    assert "refused" in await _ended(following(served, key, terminal, filter={"colour": "red"}))
    nowhere = replace(served, url="http://127.0.0.1:1")
    assert "cannot be followed" in await _ended(following(nowhere, key, terminal))


async def test_a_key_that_is_revoked_ends_the_following(served: Served) -> None:
    terminal = Terminal()
    key_id, key = await key_of(served, Scope.ACTIVITY_READ)
    async with running(following(served, key, terminal), terminal) as task:
        await served.services.accounts.revoke_api_key(served.admin, id=key_id)
        with pytest.raises(WatchError, match="for good"):
            await asyncio.wait_for(task, DEADLINE)


async def signing(served: Served, role: Role, password: str = PASSWORD) -> tuple[User, PasswordCredentials]:
    """Somebody who can sign in."""
    row_id = uuid7()
    email = f"{row_id.hex}@example.org"
    async with served.services.database.session(served.tenant_id) as session:
        tenant = await session.get_one(Tenant, served.tenant_id)
        user = User(
            tenant_id=served.tenant_id,
            id=row_id,
            email=email,
            email_key=email_key(email),
            password_hash=await served.services.accounts.hash_password(PASSWORD),
            roles=[role.value],
            status=UserStatus.ACTIVE,
        )
        session.add(user)
        await session.commit()
    return user, PasswordCredentials(served.url, tenant.slug, email, password)


async def test_a_sign_in_is_renewed_on_the_open_socket(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    nearly_all = timedelta(minutes=9, seconds=58)
    monkeypatch.setattr(follower, "RENEW_BEFORE", nearly_all)
    terminal = Terminal()
    _, credentials = await signing(served, Role.VIEWER)
    one = following(served, credentials, terminal)
    async with running(one, terminal):
        before = one.expires_at
        assert before is not None
        await until(lambda: one.expires_at is not None and one.expires_at > before)
    assert len([line for line in terminal.said if line.startswith("following")]) == 1


async def test_changed_rights_are_followed_with_a_fresh_token(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "FIRST_PAUSE_SECONDS", 0.05)
    terminal = Terminal()
    user, credentials = await signing(served, Role.VIEWER)
    async with running(following(served, credentials, terminal), terminal):
        async with served.services.database.session(served.tenant_id) as session:
            row = await session.get_one(User, (served.tenant_id, user.id))
            row.authorization_version += 1
            await session.commit()
        await until(lambda: terminal.stood(2))


async def test_a_wrong_password_is_one_line(served: Served) -> None:
    _, credentials = await signing(served, Role.VIEWER, "not this one")
    assert "wrong" in await _ended(following(served, credentials, Terminal()))


def test_names_cannot_steer_a_terminal() -> None:
    assert printable("a\x1b[31mb\nc") == "a\N{REPLACEMENT CHARACTER}[31mb\N{REPLACEMENT CHARACTER}c"
    beat = {
        "receivedAt": "now",
        "workspaceId": "workspace_1",
        "status": "ONLINE",
        "activeTasks": 2,
        "errorRate": 0.25,
        "currentTask": "x\r",
    }
    line = STREAMS["heartbeats"].line(beat)
    assert line == "now  workspace_1  ONLINE  tasks 2  errors 25%  x\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "there is no such stream"),
        (["activityFeed", "--filter", "{"], "not JSON"),
        (["activityFeed", "--filter", "[]"], "JSON object"),
        (["heartbeats", "--after", "x"], "has no cursors"),
        (["activityFeed", "--token", "x", "--email", "y"], "not both"),
        (["activityFeed"], "Give --url"),
        (["activityFeed", "--url", "http://127.0.0.1:1"], "Give --token"),
        (["activityFeed", "--url", "http://127.0.0.1:1", "--token", "x"], "cannot be followed"),
        (["activityFeed", "--url", "nonsense", "--token", "x"], "no address"),
    ],
)
def test_what_cannot_be_followed_ends_with_a_line_and_a_failure(
    arguments: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(sys, "argv", ["signalbox", "watch", *arguments, "--data-dir", str(tmp_path)])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code not in (0, None)
    assert said in capsys.readouterr().err
