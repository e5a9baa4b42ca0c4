"""This module is where the operations of one socket run, each in a task that its socket owns."""

from __future__ import annotations

import asyncio

from gateway.transports import messages
from gateway.transports.errors import encode, errors_of
from gateway.transports.open_connections import TransportCounters
from gateway.transports.operations import OperationKind, OperationRequest, Operations, Outcome, Subscription
from gateway.transports.options import TransportOptions
from gateway.transports.outbox import Outbox, OutboxClosed
from gateway.transports.relay import Relay
from gateway.transports.seats import Seats
from gateway.transports.sinks import SocketSink
from models.errors import LimitExceeded, RequestError
from resolvers.principal import Principal

Task = asyncio.Task[None]


class SocketOperations:
    """At most so many operations at once, each known by the id that its client gave it.

    Ended operations are kept until their clean-up is done, in bounded number, so a client that starts and ends
    streams in a loop cannot pile up tasks.
    """

    def __init__(
        self,
        operations: Operations,
        outbox: Outbox,
        options: TransportOptions,
        counters: TransportCounters,
        seats: Seats,
        request_id: str,
    ) -> None:
        self._operations = operations
        self._outbox = outbox
        self._options = options
        self._counters = counters
        self._seats = seats
        self._request_id = request_id
        self._started = 0
        self._running: dict[str, Task] = {}
        self._ending: set[Task] = set()
        self._mutations: set[Task] = set()
        self._relays: set[Relay] = set()
        self._rights: Principal | None = None

    def __contains__(self, operation_id: str) -> bool:
        return operation_id in self._running

    async def start(self, message: messages.Subscribe, principal: Principal) -> None:
        """Starts the operation, or answers with LIMIT_EXCEEDED; the id must not be running."""
        self._started += 1
        request_id = f"{self._request_id}.{self._started}"
        limit = self._options.operations_per_socket
        if len(self._running) >= limit or len(self._ending) >= 2 * limit:
            refusal = LimitExceeded(f"At most {limit} operations run on one socket.", retryable=True)
            await self._outbox.put(messages.error(message.id, errors_of(refusal, request_id)))
            return
        try:
            kind = self._operations.kind(message.request, principal)
        except RequestError as refusal:
            await self._outbox.put(messages.error(message.id, errors_of(refusal, request_id)))
            return
        self._counters.operations[kind or "unknown"] += 1
        task = asyncio.create_task(
            self._run(message.id, message.request, kind, principal, request_id), name=f"operation {request_id}"
        )
        self._running[message.id] = task
        if kind == "mutation":
            self._mutations.add(task)
            task.add_done_callback(self._mutations.discard)

    def hold_to(self, principal: Principal) -> None:
        """From now on the caller may do no more than this; streams that it does not allow end with an error."""
        self._rights = principal
        for relay in list(self._relays):
            relay.hold_to(principal)

    def complete(self, operation_id: str) -> None:
        """The client wants no more of it; unknown ids are ignored, since both sides may complete at once."""
        task = self._running.pop(operation_id, None)
        if task is not None:
            self._end(task)

    async def answered(self) -> None:
        """Waits for the mutations' answers, at most for the clean-up time."""
        if self._mutations:
            await asyncio.wait(set(self._mutations), timeout=self._options.cleanup_timeout)

    async def end_all(self) -> None:
        """Ends everything and waits until it is gone; a mutation under way may finish, within the clean-up time."""
        for operation_id in list(self._running):
            self.complete(operation_id)
        pending = set(self._ending)
        if pending:
            _, pending = await asyncio.wait(pending, timeout=self._options.cleanup_timeout)
        for task in pending:
            task.cancel()

    def _end(self, task: Task) -> None:
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        # Half a mutation is nobody's wish: it runs on and its answer is dropped.
        if task not in self._mutations:
            task.cancel()

    async def _run(
        self,
        operation_id: str,
        request: OperationRequest,
        kind: OperationKind | None,
        principal: Principal,
        request_id: str,
    ) -> None:
        try:
            if kind == "subscription":
                with self._seats.following(principal):
                    await self._stream(operation_id, await self._operations.subscribe(request, principal, request_id))
            else:
                await self._answer(operation_id, await self._operations.execute(request, principal, request_id))
        except OutboxClosed:
            return
        except Exception as failure:
            await self._last_word(operation_id, messages.error(operation_id, errors_of(failure, request_id)))
        finally:
            if self._is_current(operation_id):
                del self._running[operation_id]

    async def _answer(self, operation_id: str, outcome: Outcome) -> None:
        if not outcome.executed:
            await self._fail(operation_id, outcome)
        elif self._is_current(operation_id):
            await self._outbox.put(messages.next_head(encode(outcome.payload)) + messages.id_tail(operation_id))
            await self._last_word(operation_id, messages.complete(operation_id))

    async def _stream(self, operation_id: str, result: Outcome | Subscription) -> None:
        if isinstance(result, Outcome):
            # A stream that never began is one error message, whatever was executed to find that out.
            await self._fail(operation_id, result)
            return
        relay = Relay(result)
        if self._rights is not None:
            # They may have changed while the stream was being prepared.
            relay.hold_to(self._rights)
        self._relays.add(relay)
        try:
            await relay.run(SocketSink(self._outbox, operation_id))
        finally:
            self._relays.discard(relay)
        await self._last_word(operation_id, messages.complete(operation_id))

    async def _fail(self, operation_id: str, outcome: Outcome) -> None:
        await self._last_word(operation_id, messages.error(operation_id, outcome.payload.get("errors", [])))

    async def _last_word(self, operation_id: str, frame: bytes) -> None:
        if self._is_current(operation_id):
            await self._outbox.put(frame)

    def _is_current(self, operation_id: str) -> bool:
        # After a client's complete the id may already belong to another operation.
        return self._running.get(operation_id) is asyncio.current_task()
