"""This module is where the bus meets Redis or Valkey: one server, a unix socket or a cluster."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Final

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.connection import SSLConnection
from redis.exceptions import ResponseError

from subscriptions.backend import BrokerError, HashScript, Link, SupervisedBackend
from subscriptions.redis_address import PUBLISH_SECONDS, RedisAddress
from subscriptions.redis_link import RedisLink, broker_errors

# In a cluster all channels share one slot: one link hears them all, and its canary speaks for all.
_CLUSTER_TAG: Final = "{signalbox}:"
_PUBLISHER_CONNECTIONS: Final = 8
# A message that is refused is one that got lost: what the script has done stands.
_TELLING: Final = b"""
local function work()
%s
end
local answer = work()
if answer[1] == 'ok' then redis.pcall('PUBLISH', ARGV[#ARGV - 1], ARGV[#ARGV]) end
return answer
"""
_log = structlog.get_logger(__name__)


class RedisBackend(SupervisedBackend):
    """Subscribes over one link of its own and publishes over a small pool, which fails fast."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._is_closed = False
        self._address = RedisAddress.parse(url)
        settings = self._address.publishing
        self._cluster = _cluster_client(settings) if self._address.is_cluster else None
        self._client: Redis | RedisCluster = self._cluster or Redis.from_pool(
            BlockingConnectionPool(max_connections=_PUBLISHER_CONNECTIONS, timeout=PUBLISH_SECONDS, **settings)
        )

    async def open_link(self) -> Link:
        if self._cluster is None:
            link = RedisLink(self._address.connection())
        else:
            link = RedisLink(self._address.connection(*await self._owner(self._cluster)), _CLUSTER_TAG)
        try:
            await link.open()
        except BaseException:
            await link.close()
            raise
        return link

    async def publish(self, channel: str, message: bytes) -> None:
        async with self._deadline():
            if self._cluster is None:
                await self._client.publish(channel, message)
            else:
                await self._cluster.spublish(_CLUSTER_TAG + channel, message)

    async def refresh_keys(self, keys: Mapping[str, int]) -> None:
        await self._send_all(("SET", key, b"1", "EX", seconds) for key, seconds in keys.items())

    async def delete_keys(self, keys: Iterable[str]) -> None:
        await self._send_all(("UNLINK", key) for key in keys)

    @property
    def expiry_channel(self) -> str:
        return f"__keyevent@{self._address.database}__:expired"

    async def announce_expiry(self) -> bool:
        if self._cluster is not None:
            return False  # each node would tell only those connected to it
        async with self._deadline():
            try:
                await self._add_expiry_events()
            except ResponseError as error:
                _log.warning("bus.expiry_hints_off", reason=str(error))
                return False
        return True

    async def close_clients(self) -> None:
        with contextlib.suppress(BrokerError):
            async with self._deadline():
                self._is_closed = True
                await self._client.aclose()

    async def run_script(self, script: bytes, calls: Sequence[tuple[str, Sequence[int]]]) -> list[bytes]:
        # The whole text each time: brokers keep it by its hash, and none of them can have forgotten it.
        return await self._send_all(("EVAL", script, 1, key, *arguments) for key, arguments in calls)

    async def run_on_hash(self, script: HashScript, key: str, arguments: Sequence[bytes]) -> list[bytes]:
        return await self._evaluate(script.lua, key, arguments)

    async def tell_on_hash(
        self, script: HashScript, key: str, arguments: Sequence[bytes], channel: str, message: bytes
    ) -> list[bytes]:
        if self._cluster is None:
            return await self._evaluate(_TELLING % script.lua, key, (*arguments, channel.encode(), message))
        # Its channels are in a slot of their own, which no script over another slot's key may speak to.
        answer = await self._evaluate(script.lua, key, arguments)
        if answer[:1] == [b"ok"]:
            with contextlib.suppress(BrokerError):
                await self.publish(channel, message)
        return answer

    async def _evaluate(self, lua: bytes, key: str, arguments: Sequence[bytes]) -> list[bytes]:
        async with self._deadline():
            answer: list[bytes] = await self._client.execute_command("EVAL", lua, 1, key, *arguments)
            return answer

    async def _send_all(self, commands: Iterable[tuple[str | bytes | int, ...]]) -> list[Any]:
        async with self._deadline():
            pipeline = self._client.pipeline(transaction=False)
            for command in commands:
                # By name: the cluster's pipeline has methods that run nothing (its unlink is a coroutine).
                pipeline.execute_command(*command)
            answers: list[Any] = await pipeline.execute()
            return answers

    async def _add_expiry_events(self) -> None:
        setting = "notify-keyspace-events"
        current = (await self._client.config_get(setting))[setting] or ""
        missing = "".join(flag for flag in "Ex" if flag not in current and not (flag == "x" and "A" in current))
        if missing:
            await self._client.config_set(setting, current + missing)

    @contextlib.asynccontextmanager
    async def _deadline(self) -> AsyncIterator[None]:
        if self._is_closed:
            raise BrokerError("the bus was stopped")  # redis-py would open a connection that nobody closes
        with broker_errors():
            async with asyncio.timeout(PUBLISH_SECONDS):
                yield

    async def _owner(self, cluster: RedisCluster) -> tuple[str, int]:
        """The node that holds our slot now: publishing to it corrects what the client believes."""
        async with self._deadline():
            await cluster.spublish(_CLUSTER_TAG, b"")
            node = cluster.get_node_from_key(_CLUSTER_TAG)
        if node is None:
            raise BrokerError("no node of the cluster holds our slot")
        return node.host, int(node.port)


def _cluster_client(settings: dict[str, Any]) -> RedisCluster:
    settings = dict(settings)
    if settings.pop("connection_class", None) is SSLConnection:
        settings["ssl"] = True
    return RedisCluster(**settings)
