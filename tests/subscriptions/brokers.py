"""This module is where tests get brokers that they may kill, hang and cut, and buses to them."""

import asyncio
import contextlib
import itertools
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Protocol

from broadcaster import Event
from redis import Redis

from gateway.embedded import EmbeddedValkey, binaries
from gateway.embedded.process import ServerProcess
from subscriptions.backend import HashScript, SupervisedBackend
from subscriptions.bus import GAP, Bus, Gap, Message
from subscriptions.memory_backend import MemoryBackend, MemoryBroker
from subscriptions.redis_backend import RedisBackend
from tests.patience import DEADLINE

# For tests that wait for a hang to be noticed; the real figures have a test of their own.
IMPATIENT = {"canary_seconds": 0.1, "silence_seconds": 0.4}


def _once(held: dict[bytes, bytes], arguments: Sequence[bytes]) -> list[bytes]:
    if arguments[0] in held:
        return [b"known", arguments[0]]
    held[arguments[0]] = b""
    return [b"ok"]


ONCE = HashScript(
    b"""
if redis.call('HSETNX', KEYS[1], ARGV[1], '') == 1 then return {'ok'} end
return {'known', ARGV[1]}
""",
    _once,
    600,
)
"""Takes each word once."""


class Broker(Protocol):
    """What the contract tests do to a broker."""

    def backend(self) -> SupervisedBackend: ...
    def flood(self, channel: str, count: int) -> None:
        """Publishes 0, 1, 2, … at once, while this event loop stands still."""

    def sever(self) -> None: ...
    def kill(self) -> None: ...
    def restart(self) -> None: ...
    def hang(self) -> None: ...
    def resume(self) -> None: ...
    def close(self) -> None: ...


class Memory:
    """The broker inside the process."""

    def __init__(self) -> None:
        self._broker = MemoryBroker()
        self.sever, self.kill = self._broker.sever, self._broker.stop
        self.restart = self.resume = self._broker.start
        self.hang = self._broker.silence

    def backend(self) -> SupervisedBackend:
        return MemoryBackend(self._broker)

    def flood(self, channel: str, count: int) -> None:
        for number in range(count):
            self._broker.publish(channel, b"%d" % number)

    def close(self) -> None:
        self._broker.stop()


class Valkey:
    """A real server on a unix socket."""

    def __init__(self, folder: Path) -> None:
        self.server = EmbeddedValkey.start(folder)
        self.url = self.server.url

    def backend(self) -> SupervisedBackend:
        return RedisBackend(self.url)

    def flood(self, channel: str, count: int) -> None:
        with Redis.from_url(self.url, socket_timeout=5, protocol=2) as client:
            pipeline = client.pipeline(transaction=False)
            for number in range(count):
                pipeline.publish(channel, b"%d" % number)
            pipeline.execute()

    def sever(self) -> None:
        self.command("CLIENT", "KILL", "TYPE", "pubsub")

    def kill(self) -> None:
        self.server.kill()

    def restart(self) -> None:
        self.server.restart()

    def hang(self) -> None:
        os.kill(self.server.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.server.pid, signal.SIGCONT)

    def close(self) -> None:
        if self.server.is_running:
            self.resume()
        self.server.stop()

    def command(self, *words: str) -> Any:
        with Redis.from_url(self.url, socket_timeout=5, protocol=2) as client:
            return client.execute_command(*words)


class TcpValkey:
    """A real server on a port of 127.0.0.1, with any options."""

    def __init__(self, folder: Path, *options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        listen = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder)]
        keep_nothing = ["--save", "", "--appendonly", "no"]
        self._command: list[str | Path] = [binaries.valkey_program(), *listen, *keep_nothing, *options]
        self._log = folder / "valkey.log"
        self.start()

    def start(self) -> None:
        self.process = ServerProcess("valkey", self._command, log=self._log, death_signal=signal.SIGKILL)
        self.process.wait_until(self._is_listening, DEADLINE)

    def command(self, *words: str | int) -> Any:
        with Redis(port=self.port, socket_timeout=5, protocol=2) as client:
            return client.execute_command(*words)

    def close(self) -> None:
        self.process.kill()

    def _is_listening(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0


class Buses:
    """Makes buses and stops them all in the end."""

    def __init__(self) -> None:
        self._buses: list[Bus] = []

    async def start(self, backend: SupervisedBackend, **options: Any) -> Bus:
        bus = Bus(backend, **options)
        self._buses.append(bus)
        await bus.start()
        return bus

    async def stop(self) -> None:
        for bus in self._buses:
            await bus.stop()


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


async def following(events: AsyncIterator[Message | Gap]) -> Message | Gap:
    """The next item, or a failed test."""
    async with asyncio.timeout(DEADLINE):
        return await anext(events)


async def payloads(events: AsyncIterator[Message | Gap], count: int) -> list[bytes | Gap]:
    """The next items, messages as their data."""
    items = [await following(events) for _ in range(count)]
    return [item if item is GAP else item.data for item in items]


async def heard(events: AsyncIterator[Message | Gap], data: bytes) -> list[bytes | Gap]:
    """Everything up to and including this payload."""
    seen: list[bytes | Gap] = []
    while data not in seen:
        seen += await payloads(events, 1)
    return seen


async def until(condition: Callable[[], bool], seconds: float = DEADLINE) -> None:
    """Returns when the condition holds; fails at the deadline."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - a process's state has no event to wait for
            await asyncio.sleep(0.005)


async def hear_again(bus: Bus, channel: str, events: AsyncIterator[Message | Gap]) -> None:
    """Returns once a message gets through, trying again as the bus's users do; fails at the deadline."""
    async with asyncio.timeout(DEADLINE):
        for attempt in itertools.count():
            if await bus.publish(channel, b"attempt %d" % attempt):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.3):
                        while await anext(events) != Message(channel, b"attempt %d" % attempt):
                            pass
                        return
            else:
                await asyncio.sleep(0.02)


class OnceBroken(MemoryBackend):
    """A backend with a defect: its first message raises something that nobody expects."""

    is_broken = True

    async def next_published(self) -> Event:
        event = await super().next_published()
        if self.is_broken and event.channel == "orders":
            self.is_broken = False
            raise RuntimeError("a defect")
        return event


def bus_tasks() -> Collection[str]:
    """Names of the bus's tasks that run and did not when the test began."""
    return [task.get_name() for task in asyncio.all_tasks() - _before if task.get_name().startswith("bus-")]


_before: set[asyncio.Task[object]] = set()


def remember_tasks() -> None:
    """Whatever runs now is another test's: a session's gateway has a bus, too."""
    _before.clear()
    _before.update(asyncio.all_tasks())
