"""This module is where a stream's payloads are framed for one subscriber and handed on, or refused for want of room."""

from __future__ import annotations

from typing import cast

from gateway.transports import messages
from gateway.transports.framing import Framing
from gateway.transports.outbox import Outbox
from gateway.transports.server_protocols import text_frame_head
from subscriptions.fanout import Batch


class SocketSink:
    """One operation of one socket: ``next`` messages that differ from other subscribers' only in their id."""

    __slots__ = ("_direct", "_outbox", "_size", "_tail")

    def __init__(self, outbox: Outbox, operation_id: str) -> None:
        self._outbox = outbox
        self._tail = messages.id_tail(operation_id)
        self._size = len(self._tail)
        self._direct = outbox.direct

    def deliver(self, batch: Batch) -> bool:
        """All of the batch in one write, or nothing."""
        direct = self._direct
        if direct is None:
            return self._queue(batch)
        # Frame heads hold the length, which is the same for all ids of one length.
        heads = batch.framed.get(self._size) or self._heads(batch)
        # Every frame ends with the same tail: it follows the only head, or one join puts it behind each.
        tail = self._tail
        return direct.write(heads + tail if heads.__class__ is bytes else tail.join(heads) + tail)  # type: ignore[arg-type]

    async def room(self) -> None:
        """Wait until a batch can be taken. Raises OutboxClosed."""
        await self._outbox.idle()

    def _heads(self, batch: Batch) -> bytes | list[bytes]:
        heads = [messages.next_head(payload) for payload in batch.payloads]
        framed = [text_frame_head(len(head) + self._size) + head for head in heads]
        made = batch.framed[self._size] = framed[0] if len(framed) == 1 else framed
        return made

    def _queue(self, batch: Batch) -> bool:
        # Another server: through ASGI, one message each, queued only while nothing waits.
        if self._outbox.is_busy:
            return False
        for payload in batch.payloads:
            self._outbox.take(messages.next_head(payload) + self._tail)
        return True


class StreamSink:
    """One HTTP response: every item in the response's own framing."""

    def __init__(self, outbox: Outbox, framing: Framing) -> None:
        self._outbox = outbox
        self._framing = framing

    def deliver(self, batch: Batch) -> bool:
        """All of the batch in one write, or nothing."""
        if self._outbox.is_busy or self._outbox.closed:
            return False
        key = self._framing.content_type
        data = batch.framed.get(key)
        if data is None:
            data = batch.framed[key] = b"".join(self._framing.item(payload) for payload in batch.payloads)
        if data:
            self._outbox.take(cast("bytes", data))
        return True

    async def room(self) -> None:
        """Wait until a batch can be taken. Raises OutboxClosed."""
        await self._outbox.idle()
