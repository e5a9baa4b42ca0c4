"""This module is where one process's services are made, started in order, and ended in the reverse."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from dataloaders.base import Asked, rows_of
from gateway.egress import Egress
from gateway.keys import audit_keys, key_provider, refresh_key, token_keys
from gateway.mail import sender_of
from gateway.settings import Settings
from models import utcnow
from models.database import Database
from resolvers.call import Services
from resolvers.credentials import Accounts
from resolvers.heartbeats import HeartbeatIntake
from resolvers.issuer_keys import IssuerKeys
from resolvers.keyring import Keyring
from resolvers.passwords import Passwords
from resolvers.post import Post
from resolvers.tokens import AccessTokens
from resolvers.webhook_rules import WebhookRules
from resolvers.webhook_work import Webhooks
from subscriptions.announcer import Announcer
from subscriptions.bus import Bus
from subscriptions.fanout import Fanout
from subscriptions.heartbeats import HeartbeatBoard
from subscriptions.reply_board import ReplyBoard
from subscriptions.shared_reads import SharedReads
from subscriptions.tail import Tails


@asynccontextmanager
async def running_services(settings: Settings) -> AsyncIterator[Services]:
    """The services of ``settings``, running while the block lasts. Needs database and Redis addresses."""
    assert settings.redis_url is not None
    async with AsyncExitStack() as stack:
        database = Database(settings.database_urls(), settings.pool(), audit_keys(settings))
        stack.push_async_callback(database.close)
        bus = Bus.from_url(settings.redis_url)
        await bus.start()
        stack.push_async_callback(bus.stop)
        announcer = Announcer(bus)
        announcer.start()
        stack.push_async_callback(announcer.stop)
        tails = Tails(database, bus)
        await tails.start()
        stack.push_async_callback(tails.stop)
        live_reads: SharedReads[Asked, Sequence[Any]] = SharedReads(rows_of(database), "rows of live answers")
        stack.push_async_callback(live_reads.stop)
        intake = HeartbeatIntake(database, bus, announcer, utcnow)
        intake.start()
        stack.push_async_callback(intake.stop)
        passwords = _passwords(settings)
        stack.callback(passwords.close)
        send = sender_of(settings)
        accounts = Accounts(
            database,
            announcer,
            passwords,
            AccessTokens(token_keys(settings)),
            refresh_key(settings),
            "demo" if settings.is_demo else "live",
            sends_mail=send is not None,
        )
        stack.push_async_callback(accounts.close)
        egress = Egress(settings.egress_networks())
        stack.push_async_callback(egress.close)
        issuer_keys = IssuerKeys(egress)
        stack.push_async_callback(issuer_keys.close)
        keyring = Keyring(key_provider(settings))
        notices = _notices(settings)
        stack.push_async_callback(notices.close)
        webhooks = Webhooks(database, announcer, utcnow, keyring, notices, tails.epoch, _webhook_rules(settings))
        yield Services(
            database=database,
            announcer=announcer,
            bus=bus,
            tails=tails,
            fanout=Fanout(tails),
            live_reads=live_reads,
            heartbeats=intake,
            board=HeartbeatBoard(bus),
            reply_board=ReplyBoard(bus),
            accounts=accounts,
            issuer_keys=issuer_keys,
            post=Post(database, announcer, utcnow, refresh_key(settings), send) if send is not None else None,
            keyring=keyring,
            webhooks=webhooks,
        )


def _passwords(settings: Settings) -> Passwords:
    return Passwords(
        settings.password_memory_kib,
        settings.password_passes,
        settings.password_parallelism,
        settings.password_threads,
    )


def _webhook_rules(settings: Settings) -> WebhookRules:
    return WebhookRules(
        delays_seconds=settings.webhook_delays(),
        timeout_seconds=settings.webhook_timeout_seconds,
        at_once=settings.webhook_concurrency,
    )


def _notices(settings: Settings) -> Egress:
    # A client of their own: receivers that do not answer must not keep anybody from signing in by an issuer.
    return Egress(
        settings.egress_networks(),
        settings.webhook_timeout_seconds,
        # Twice: those that failed last wait in a line of their own.
        connections=2 * settings.webhook_concurrency,
    )
