"""This module is where one pub/sub connection to Redis is spoken over, from its opening to its end."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Collection, Iterator
from typing import Any, Final

from broadcaster import Event
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoPermissionError, RedisClusterException, RedisError

from subscriptions.backend import BrokerError, Confirmed, Delivery, Link, Refused

# TimeoutError is an OSError; RedisClusterException is no RedisError.
_BROKER_ERRORS: Final = (RedisError, RedisClusterException, OSError)
_READ_SECONDS: Final = 1.0  # how often a blocked read looks whether it was closed meanwhile


@contextlib.contextmanager
def broker_errors() -> Iterator[None]:
    """Whatever redis-py or the socket raises becomes BrokerError, and a cancellation stays one.

    redis-py sends under asyncio.wait_for, which before Python 3.12 forgets a cancellation that arrives as the
    send completes (CPython issue 86296); without the second look a stopped task would run on for ever.
    """
    task = asyncio.current_task()
    assert task is not None, "brokers are spoken to from tasks"
    cancellations = task.cancelling()
    try:
        yield
    except _BROKER_ERRORS as error:
        if task.cancelling() > cancellations:
            raise asyncio.CancelledError from error
        raise BrokerError(str(error) or type(error).__name__) from error
    if task.cancelling() > cancellations:
        raise asyncio.CancelledError


class RedisLink(Link):
    """A connection of redis-py used directly, because its PubSub reconnects without telling.

    With `tag`, channels are sharded ones whose names begin with it on the wire.
    """

    def __init__(self, connection: AbstractConnection, tag: str | None = None) -> None:
        self._connection = connection
        self._tag = tag or ""
        self._verbs = ("SSUBSCRIBE", "SUNSUBSCRIBE") if tag else ("SUBSCRIBE", "UNSUBSCRIBE")
        # What was asked and not yet answered: the broker answers in order, and an error names no channel.
        self._asked: deque[tuple[str, str]] = deque()
        self._is_closed = False

    async def open(self) -> None:
        with broker_errors():
            await self._connection.connect()  # type: ignore[no-untyped-call]

    async def subscribe(self, channels: Collection[str]) -> None:
        await self._ask(self._verbs[0], channels)

    async def unsubscribe(self, channels: Collection[str]) -> None:
        await self._ask(self._verbs[1], channels)

    async def read(self) -> Event | None:
        if self._is_closed:
            raise BrokerError("the connection was given up")
        try:
            with broker_errors():
                reply = await self._connection.read_response(timeout=_READ_SECONDS, disconnect_on_error=False)
        except BrokerError as error:
            if isinstance(error.__cause__, NoPermissionError) and self._asked:
                return Refused(self._asked.popleft()[1])
            raise
        return None if reply is None else self._understand(reply)

    async def close(self) -> None:
        self._is_closed = True
        with contextlib.suppress(*_BROKER_ERRORS):
            await self._connection.disconnect(nowait=True)

    async def _ask(self, verb: str, channels: Collection[str]) -> None:
        # One command per channel: one refused channel must not take the others with it.
        commands = self._connection.pack_commands([(verb, self._tag + channel) for channel in channels])
        self._asked.extend((verb.lower(), channel) for channel in channels)
        if self._is_closed or not self._connection.is_connected:
            raise BrokerError("the connection was lost")  # redis-py would open a new one, silently
        try:
            with broker_errors():
                await self._connection.send_packed_command(commands, check_health=False)
        except AttributeError as error:
            # redis-py writes in a task of its own, which finds no writer once the reader has given up.
            raise BrokerError("the connection was lost") from error

    def _understand(self, reply: Any) -> Event | None:
        kind = reply[0].decode()
        channel = reply[1].decode("utf-8", "replace").removeprefix(self._tag)
        if kind in ("message", "smessage"):
            return Delivery(channel, reply[2])
        is_answer = bool(self._asked) and self._asked[0] == (kind, channel)
        if is_answer:
            self._asked.popleft()
        if kind in ("subscribe", "ssubscribe"):
            return Confirmed(channel)
        if not is_answer:
            raise BrokerError("the channels moved to another node of the cluster")
        return None
