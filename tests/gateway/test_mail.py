"""This module is where mails are specified as they arrive: over a real connection to a real server."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select, update
from structlog.testing import capture_logs

from dataloaders.mails import FIRST_RETRY
from gateway.mail import LogSender, SmtpSender, message_of, sender_of, text_of
from gateway.settings import Profile, SettingsError, load
from gateway.worker import Worker
from models import MailKind, OutgoingMail, Role, UserStatus, utcnow
from models.database import Database
from models.ids import uuid7
from resolvers.post import Letter, Post, Postponed, Undeliverable
from resolvers.recovery import invite_user, reset_password
from subscriptions.bus import Bus
from tests.gateway.mail_server import MailServer, mail_server
from tests.gateway.test_worker import Means, until
from tests.resolvers.people import House
from tests.world import principal

FROM = "Signalbox <no-reply@signalbox.example>"
LINK = "https://app.example/{action}#token={token}"
TOKEN = "sbo_" + "0" * 26


def letter(to: str = "ada@example.org", name: str = "Ada", kind: MailKind = MailKind.PASSWORD_RESET) -> Letter:
    has_token = kind is not MailKind.PASSWORD_CHANGED
    ends = datetime(2026, 3, 1, 13, tzinfo=UTC) if has_token else None
    return Letter(uuid7(), kind, to, name, "Acme", TOKEN if has_token else None, ends)


@pytest.fixture
async def server() -> AsyncIterator[MailServer]:
    async with mail_server() as running:
        yield running


async def test_a_letter_arrives_with_its_link(server: MailServer) -> None:
    sent = letter()
    await SmtpSender(server.url, FROM, LINK)(sent)
    (mail,) = server.taken
    assert (mail["From"], mail["To"], mail["Subject"]) == (FROM, "Ada <ada@example.org>", "Set a new password (Acme)")
    assert mail["Message-ID"] == f"<{sent.id}@signalbox.example>"
    assert mail["Auto-Submitted"] == "auto-generated"
    body = mail.get_content().replace("\r\n", "\n")
    assert body.startswith("Hello Ada,\n")
    assert f"https://app.example/password_reset#token={TOKEN}" in body
    assert "until 2026-03-01 13:00 UTC" in body


@pytest.mark.parametrize("kind", list(MailKind))
def test_every_kind_says_what_it_is_about(kind: MailKind) -> None:
    for link in (LINK, None):
        text = text_of(letter(kind=kind), link)
        assert "Acme" in text
        assert "{" not in text
        assert (TOKEN in text) == (kind is not MailKind.PASSWORD_CHANGED)


def test_a_name_in_any_script_is_fine_and_an_address_cannot_bring_headers() -> None:
    assert str(message_of(letter(name="Zoë Ångström"), FROM, None)["To"]).endswith("<ada@example.org>")
    with pytest.raises(ValueError, match="linefeed"):
        message_of(letter(to="ada@example.org\r\nBcc: eve@example.org"), FROM, None)


@pytest.mark.parametrize(
    ("answer", "error"),
    [("550 no such user", Undeliverable), ("450 mailbox busy", Postponed), ("421 closing", Postponed)],
)
async def test_a_refusal_for_good_is_told_from_one_for_now(
    server: MailServer, answer: str, error: type[Exception]
) -> None:
    server.answers.append(answer)
    with pytest.raises(error) as refusal:
        await SmtpSender(server.url, FROM, None)(letter())
    assert "ada" not in str(refusal.value)
    await SmtpSender(server.url, FROM, None)(letter())
    assert len(server.taken) == 1


async def test_a_server_that_is_away_or_wants_no_tls_for_a_password_is_for_later(server: MailServer) -> None:
    for url in ("smtp://127.0.0.1:1", server.url.replace("//", "//user:secret@"), server.url.replace("smtp", "smtps")):
        with pytest.raises(Postponed):
            await SmtpSender(url, FROM, None)(letter())
    assert server.taken == []


async def test_an_address_that_no_mail_can_have_is_for_never(server: MailServer) -> None:
    for address in ("ada@example.org\nBcc: eve@example.org", "ada@exämple.org"):
        with pytest.raises(Undeliverable):
            await SmtpSender(server.url, FROM, None)(letter(to=address))


async def test_the_demo_writes_mails_into_its_log() -> None:
    with capture_logs() as logs:
        await LogSender(None)(letter())
    assert (logs[0]["event"], logs[0]["to"]) == ("mail.written", "ada@example.org")
    assert TOKEN in logs[0]["text"]


def test_production_without_a_mail_server_sends_none_and_writes_none(tmp_path: Path) -> None:
    assert sender_of(load(profile=Profile.PRODUCTION, data_dir=tmp_path)) is None
    assert isinstance(sender_of(load(profile=Profile.DEMO, data_dir=tmp_path)), LogSender)
    assert isinstance(sender_of(load(smtp_url="smtps://mail.example", data_dir=tmp_path)), SmtpSender)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("smtp_url", "mail.example:25"),
        ("smtp_url", "http://mail.example"),
        ("smtp_url", "smtp://mail.example:port"),
        ("account_link", "https://app.example/reset"),
        ("account_link", "https://app.example/{token}/{other}"),
        ("trusted_proxies", "proxy.example"),
    ],
)
def test_a_bad_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"SIGNALBOX_{name.upper()}"):
        load(**{name: value})


async def test_a_worker_brings_an_invitation_however_often_the_server_refuses(
    database: Database, server: MailServer
) -> None:
    house = House(database)
    house.clock.now = utcnow()
    acme = await house.tenant()
    admin = principal(acme.id, Role.ADMIN, user_id=(await house.person(acme.id, Role.ADMIN)).id)
    email = f"nia.{uuid7()}@example.org"
    bus = Bus.from_url("memory://")
    await bus.start()
    post = Post(database, house.announced, house.clock, house.refresh_key, SmtpSender(server.url, FROM, LINK))
    server.answers += ["451 not now"] * 200  # other tests' mails may be due as well
    worker = Worker(Means(database, bus, house.announced, house.clock), post=post, mail_seconds=0.01)
    worker.start()
    try:
        # The mutation is done before anything listens to reason.
        user = await invite_user(house.call(admin), email=email, roles=[Role.VIEWER])
        await until(lambda: _tries(database, acme.id, 1))
        server.answers.clear()
        await _let_time_pass(database, acme.id)
        await until(lambda: _gone(database, acme.id))
        assert worker.states["mail"].failures == 0
    finally:
        await worker.stop()
        await bus.stop()
    (mail,) = [one for one in server.taken if one["To"].endswith(f"<{email}>")]
    found = re.search(r"#token=(\S+)", mail.get_content())
    assert found is not None
    await reset_password(house.call(), token=found[1], new_password="a new password")
    assert (await house.row(user)).status is UserStatus.ACTIVE


async def _let_time_pass(database: Database, tenant_id: UUID) -> None:
    async with database.session(tenant_id) as session:
        await session.execute(update(OutgoingMail).values(due_at=OutgoingMail.due_at - FIRST_RETRY))
        await session.commit()


async def _tries(database: Database, tenant_id: UUID, count: int) -> bool:
    async with database.session(tenant_id) as session:
        return await session.scalar(select(OutgoingMail.attempts)) == count


async def _gone(database: Database, tenant_id: UUID) -> bool:
    async with database.session(tenant_id) as session:
        return await session.scalar(select(OutgoingMail.id)) is None
