"""This module is where one subscription lives on one HTTP response."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from datetime import UTC, datetime

import structlog
from starlette.types import Receive, Scope, Send

from gateway.transports import server_protocols
from gateway.transports.errors import StreamTokenExpired, errors_of
from gateway.transports.framing import Framing
from gateway.transports.open_connections import OpenConnections
from gateway.transports.operations import Subscription
from gateway.transports.options import TransportOptions
from gateway.transports.outbox import Loss, Outbox, OutboxClosed
from gateway.transports.relay import told_where
from gateway.transports.request_ids import HEADER
from gateway.transports.sinks import StreamSink
from gateway.transports.timers import Timer
from models.errors import RequestError, Unauthenticated, Unavailable
from resolvers.principal import Principal
from resolvers.tokens import TokenExpired

log = structlog.get_logger(__name__)


class StreamResponse:
    """An ASGI response that relays a subscription until that ends, the client leaves, or we end it with a last word."""

    def __init__(
        self,
        subscription: Subscription,
        framing: Framing,
        *,
        held: ExitStack,
        principal: Principal,
        options: TransportOptions,
        connections: OpenConnections,
        request_id: str,
    ) -> None:
        """``held`` is what the stream holds for its whole life; it is closed when the response is over."""
        self._subscription = subscription
        self._framing = framing
        self._held = held
        self._principal = principal
        self._options = options
        self._connections = connections
        self._request_id = request_id
        self._relaying = asyncio.timeout(None)
        self._can_be_cut = False
        # What the stream's last item says; None when the source simply ended.
        self._last_word: Exception | None = None
        self._client_left = False
        self._keep_alive = Timer()
        self._expiry = Timer()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._send = send
        outbox = Outbox(self._write, self._on_lost, self._options, self._request_id)
        watcher = asyncio.create_task(self._watch(receive), name=f"stream watch {self._request_id}")
        with self._held:
            self._held.enter_context(self._connections.holding(self, "stream"))
            self._connections.counters.streams_opened += 1
            try:
                await self._relay(outbox)
                await self._end(outbox)
            finally:
                self._keep_alive.stop()
                self._expiry.stop()
                watcher.cancel()
                await asyncio.wait({watcher}, timeout=self._options.cleanup_timeout)
                await outbox.discard()

    @property
    def principal(self) -> Principal:
        return self._principal

    def drain(self) -> None:
        self._cut(Unavailable("The service restarts; subscribe again.", retryable=True))

    def expel(self, failure: Unauthenticated) -> None:
        if isinstance(failure, TokenExpired):
            self._cut(StreamTokenExpired(failure.message, retryable=True))
        else:
            self._cut(Unauthenticated(failure.message, retryable=False))

    def hold_to(self, principal: Principal) -> None:
        failure = self._subscription.refusal(principal)
        if failure is not None:
            self._cut(failure)

    async def _start(self, outbox: Outbox) -> None:
        headers = {
            "content-type": self._framing.content_type,
            "cache-control": "no-cache, no-store",
            "vary": "accept",
            # Proxies of nginx's kind would hold the stream back until a buffer is full.
            "x-accel-buffering": "no",
            HEADER: self._request_id,
        }
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        server_protocols.narrow(self._scope)
        await self._send({"type": "http.response.start", "status": 200, "headers": raw})
        outbox.offer(self._framing.opening)
        self._beat(outbox)
        if self._principal.expires_at is not None:
            left = (self._principal.expires_at - datetime.now(UTC)).total_seconds()
            self._expiry.set(left, lambda: self._cut(StreamTokenExpired(retryable=True)))

    def _beat(self, outbox: Outbox) -> None:
        def on_time() -> None:
            outbox.offer(self._framing.keep_alive)
            self._beat(outbox)

        self._keep_alive.set(self._options.keep_alive_interval, on_time)

    async def _relay(self, outbox: Outbox) -> None:
        try:
            async with self._relaying:
                self._can_be_cut = True
                await self._start(outbox)
                await self._subscription.run(StreamSink(outbox, self._framing))
        except OutboxClosed:
            self._client_left = True
        except Exception as failure:
            # When we cut the stream its reason is set already.
            if not self._relaying.expired():
                self._last_word = failure
        finally:
            self._can_be_cut = False

    async def _end(self, outbox: Outbox) -> None:
        if self._client_left:
            return
        try:
            if isinstance(self._last_word, RequestError):
                self._last_word = told_where(self._last_word, self._subscription.cursor)
            if self._last_word is not None:
                await outbox.put(self._framing.failure(errors_of(self._last_word, self._request_id)))
            await outbox.put(self._framing.ending)
        except OutboxClosed:
            return
        await outbox.flushed()
        try:
            async with asyncio.timeout(self._options.send_deadline):
                await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            self._on_lost(Loss.STUCK)

    def drop(self) -> None:
        server_protocols.abort(self._scope)
        self._leave()

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            continue
        self._leave()

    def _on_lost(self, loss: Loss) -> None:
        if loss is Loss.STUCK:
            self._connections.counters.cut_stuck += 1
            self.drop()
        else:
            self._leave()

    def _leave(self) -> None:
        self._client_left = True
        self._cut(None)

    def _cut(self, last_word: Exception | None) -> None:
        if self._can_be_cut:
            self._can_be_cut = False
            self._last_word = last_word
            self._relaying.reschedule(asyncio.get_running_loop().time())

    async def _write(self, frame: bytes) -> None:
        await self._send({"type": "http.response.body", "body": frame, "more_body": True})
