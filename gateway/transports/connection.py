"""This module is where one graphql-transport-ws connection lives, from its first message to its close."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import structlog
from starlette.types import Receive, Scope, Send

from gateway.transports import messages, server_protocols
from gateway.transports.close_codes import CloseCode
from gateway.transports.open_connections import OpenConnections
from gateway.transports.operations import Operations
from gateway.transports.options import TransportOptions
from gateway.transports.outbox import Loss, Outbox, OutboxClosed
from gateway.transports.seats import Seats
from gateway.transports.socket_credentials import Refused, SocketCredentials, refusal_of
from gateway.transports.socket_operations import SocketOperations
from gateway.transports.timers import Liveness, Timer
from models.errors import LimitExceeded, Unauthenticated
from resolvers.principal import Principal

log = structlog.get_logger(__name__)


class State(Enum):
    """Where a connection is; it only ever moves down this list."""

    AWAITING_INIT = "awaiting init"
    AUTHENTICATING = "authenticating"
    READY = "ready"
    ENDING = "ending"


class Connection:
    """One accepted socket. ``run`` reads until someone ends it: ``close`` with a frame, ``drop`` without a word."""

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        operations: Operations,
        options: TransportOptions,
        connections: OpenConnections,
        seats: Seats,
        request_id: str,
    ) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._options = options
        self._counters = connections.counters
        self._seats = seats
        self._name = request_id
        self._state = State.AWAITING_INIT
        self._principal: Principal | None = None
        self._goodbye: tuple[CloseCode, str] | None = None
        # What is held for the connection's whole life: its place among the open ones and its principal's seat.
        self._connections = connections
        self._seated: Principal | None = None
        self._reading = asyncio.timeout(None)
        self._authentication: asyncio.Task[None] | None = None
        self._credentials = SocketCredentials(scope, operations, options.authenticate_timeout)
        direct = server_protocols.DirectWriter.of(scope)
        self._outbox = Outbox(self._write, self._on_lost, options, request_id, direct)
        self._running = SocketOperations(operations, self._outbox, options, self._counters, seats, request_id)
        self._liveness = Liveness(
            interval=options.ping_interval,
            patience=options.ping_patience,
            ping=lambda: self._outbox.interject(messages.PING),
            silent=self._on_silence,
        )
        # Until the init arrives this is the init's deadline, afterwards the token's.
        self._deadline = Timer()

    @property
    def state(self) -> State:
        return self._state

    async def run(self) -> None:
        """Returns when the connection is over and everything it owned is gone."""
        with self._connections.holding(self, "socket"):
            try:
                async with self._reading:
                    self._deadline.set(self._options.init_timeout, self._on_init_timeout)
                    await self._read()
            except TimeoutError:
                if not self._reading.expired():
                    raise
            finally:
                try:
                    await self._finish()
                finally:
                    if self._seated is not None:
                        self._seats.give_back(self._seated)

    def close(self, code: CloseCode, reason: str) -> None:
        """Ends the connection with a close frame, after what is already queued. The first call decides the code."""
        if self._state is not State.ENDING:
            self._goodbye = (code, reason)
            self._stop_reading()

    def drain(self) -> None:
        self.close(CloseCode.SERVICE_RESTART, "Service restart")

    @property
    def principal(self) -> Principal | None:
        return self._principal

    def expel(self, failure: Unauthenticated) -> None:
        self._refuse(refusal_of(failure))

    def hold_to(self, principal: Principal) -> None:
        self._adopt(principal)

    # ------------------------------------------------------------------ messages

    async def _read(self) -> None:
        while self._state is not State.ENDING:
            event = await self._receive()
            if event["type"] == "websocket.disconnect":
                return
            self._liveness.heard()
            text = event.get("text")
            if text is not None and len(text) > self._options.message_limit:
                self.close(CloseCode.MESSAGE_TOO_BIG, "The message is too big")
                return
            try:
                await self._on_message(messages.parse(text))
            except messages.BadMessage as error:
                self.close(CloseCode.BAD_MESSAGE, str(error))
            except Refused as refused:
                self._refuse(refused)
            except OutboxClosed:
                return

    async def _on_message(self, message: messages.Message) -> None:
        match message:
            case messages.ConnectionInit():
                self._on_init(message)
            case messages.Ping():
                await self._on_ping(message)
            case messages.Pong():
                pass
            case messages.Subscribe():
                await self._on_subscribe(message)
            case messages.Complete():
                self._running.complete(message.id)

    def _on_init(self, message: messages.ConnectionInit) -> None:
        if self._state is not State.AWAITING_INIT:
            raise Refused(CloseCode.TOO_MANY_INITS, "Too many initialisation requests")
        self._state = State.AUTHENTICATING
        self._deadline.stop()
        # In a task, so that a subscribe sent before the ack is seen as such.
        self._authentication = asyncio.create_task(
            self._authenticate(message.payload), name=f"authentication {self._name}"
        )

    async def _on_subscribe(self, message: messages.Subscribe) -> None:
        if self._state is not State.READY or self._principal is None:
            raise Refused(CloseCode.UNAUTHORIZED, "Unauthorized")
        if message.id in self._running:
            # 123 bytes are what a close frame has room for, and an id may be all of that.
            raise Refused(CloseCode.DUPLICATE_OPERATION, f"Subscriber for {message.id[:32]!a} already exists"[:120])
        client = self._scope.get("client")
        if client:
            message = replace(message, request=replace(message.request, address=client[0]))
        await self._running.start(message, self._principal)

    async def _on_ping(self, message: messages.Ping) -> None:
        if self._principal is None or "authorization" not in message.payload:
            await self._outbox.put(messages.PONG)
            return
        principal = await self._credentials.renew(message.payload, self._principal)
        await self._outbox.put(messages.pong(self._adopt(principal)))

    # ------------------------------------------------------------------ credentials

    async def _authenticate(self, payload: dict[str, Any]) -> None:
        try:
            principal = await self._credentials.admit(payload)
            self._seats.take(principal)
            self._seated = principal
        except Refused as refused:
            self._refuse(refused)
        except messages.BadMessage as error:
            self.close(CloseCode.BAD_MESSAGE, str(error))
        except LimitExceeded as full:
            self._refuse(refusal_of(full))
        except Exception as failure:
            log.error("authentication failed", request_id=self._name, exc_info=failure)
            self.close(CloseCode.INTERNAL_ERROR, "Internal error")
        else:
            if self._state is State.AUTHENTICATING:
                self._state = State.READY
                self._outbox.offer(messages.ack(self._adopt(principal)))
                self._liveness.start()

    def _adopt(self, principal: Principal) -> dict[str, Any]:
        """Makes the principal the connection's, sets the deadline by its expiry, and says what clients learn of it."""
        self._principal = principal
        self._running.hold_to(principal)
        if principal.expires_at is None:
            self._deadline.stop()
        else:
            left = (principal.expires_at - datetime.now(UTC)).total_seconds()
            self._deadline.set(left + self._options.expiry_grace, self._on_expiry)
        return {"accessTokenExpiresAt": principal.expires_at}

    # ------------------------------------------------------------------ ends

    def _on_init_timeout(self) -> None:
        self.close(CloseCode.INIT_TIMEOUT, "Connection initialisation timeout")

    def _on_expiry(self) -> None:
        self.close(CloseCode.FORBIDDEN, "The access token expired")

    def _on_silence(self) -> None:
        self._counters.cut_silent += 1
        self.drop()

    def _on_lost(self, loss: Loss) -> None:
        if loss is Loss.STUCK:
            self._counters.cut_stuck += 1
        self.drop()

    def _refuse(self, refused: Refused) -> None:
        self.close(refused.code, refused.reason)

    def drop(self) -> None:
        # Nobody would read a close frame.
        self._goodbye = None
        server_protocols.abort(self._scope)
        if self._state is not State.ENDING:
            self._stop_reading()

    def _stop_reading(self) -> None:
        self._state = State.ENDING
        self._reading.reschedule(asyncio.get_running_loop().time())

    async def _finish(self) -> None:
        self._state = State.ENDING
        self._deadline.stop()
        self._liveness.stop()
        authentication = self._authentication
        if authentication is not None:
            authentication.cancel()
            await asyncio.wait({authentication}, timeout=self._options.cleanup_timeout)
        if self._goodbye is not None:
            await self._say_goodbye(*self._goodbye)
        await self._outbox.discard()
        await self._running.end_all()

    async def _say_goodbye(self, code: CloseCode, reason: str) -> None:
        if code is CloseCode.SERVICE_RESTART:
            await self._running.answered()
        await self._outbox.flushed()
        if self._goodbye is None:
            return
        self._counters.closes[int(code)] += 1
        try:
            async with asyncio.timeout(self._options.send_deadline):
                await self._send({"type": "websocket.close", "code": int(code), "reason": reason})
        except TimeoutError:
            self._on_lost(Loss.STUCK)
        except Exception as failure:
            log.debug("the peer left before the close frame", exc_info=failure)

    async def _write(self, frame: bytes) -> None:
        await self._send({"type": "websocket.send", "text": frame.decode()})
