"""This module is where the bus runs over a real cluster of two nodes, whose slots move."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.crc import key_slot

from subscriptions.bus import GAP, Bus
from tests.patience import promised
from tests.subscriptions.brokers import ONCE, TcpValkey, following, free_port, hear_again, payloads, until

OUR_SLOT = key_slot(b"{signalbox}:")


class Cluster:
    """Two nodes; the first holds every slot at the start."""

    def __init__(self, folder: Path) -> None:
        self._bus_ports = [free_port(), free_port()]
        self.nodes = [self._node(folder / str(port), port) for port in self._bus_ports]
        self.url = f"cluster://127.0.0.1:{self.nodes[0].port}"

    async def join(self) -> None:
        one, two = self.nodes
        one.command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        two.command("CLUSTER", "MEET", "127.0.0.1", one.port, self._bus_ports[0])
        await until(lambda: all(self._is_settled(node) for node in self.nodes))

    def move_our_slot(self) -> None:
        """From the first node to the second, as an operator does who moves load."""
        one, two = self.nodes
        ids = [node.command("CLUSTER", "MYID") for node in self.nodes]
        two.command("CLUSTER", "SETSLOT", OUR_SLOT, "IMPORTING", ids[0])
        one.command("CLUSTER", "SETSLOT", OUR_SLOT, "MIGRATING", ids[1])
        for node in (two, one):
            node.command("CLUSTER", "SETSLOT", OUR_SLOT, "NODE", ids[1])

    def close(self) -> None:
        for node in self.nodes:
            node.close()

    @staticmethod
    def _node(folder: Path, bus_port: int) -> TcpValkey:
        return TcpValkey(folder, "--cluster-enabled", "yes", "--cluster-port", str(bus_port))

    @staticmethod
    def _is_settled(node: TcpValkey) -> bool:
        information: bytes = node.command("CLUSTER", "INFO")
        return b"cluster_state:ok" in information and b"cluster_known_nodes:2" in information


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    cluster = Cluster(tmp_path)
    await cluster.join()
    yield cluster
    cluster.close()


async def test_a_cluster_carries_messages_on_sharded_channels(cluster: Cluster) -> None:
    here, there = Bus.from_url(cluster.url), Bus.from_url(cluster.url)
    await here.start()
    await there.start()
    assert here.healthy
    async with there.subscribe("signalbox:events:1", "signalbox:beats:2") as events:
        assert cluster.nodes[0].command("PUBSUB", "SHARDCHANNELS"), "plain channels would flood every node"
        assert not cluster.nodes[0].command("PUBSUB", "CHANNELS")
        assert await here.publish("signalbox:events:1", b"one")
        assert await here.publish("signalbox:beats:2", b"two")
        assert await payloads(events, 2) == [b"one", b"two"]
        assert await here.tell_on_hash(ONCE, "elsewhere", b"x", channel="signalbox:beats:2", data=b"three") == [b"ok"]
        assert await here.tell_on_hash(ONCE, "elsewhere", b"x", channel="signalbox:beats:2", data=b"x") == [
            b"known",
            b"x",
        ]
        assert await here.publish("signalbox:beats:2", b"four")
        assert await payloads(events, 2) == [b"three", b"four"]
    assert await here.refresh_keys({f"signalbox:ws:{number}": 5 for number in range(20)})
    assert cluster.nodes[0].command("EXISTS", "signalbox:ws:7")
    assert await here.delete_keys([f"signalbox:ws:{number}" for number in range(20)])
    assert not cluster.nodes[0].command("EXISTS", "signalbox:ws:7")
    assert not await here.announce_expiry()
    await here.stop()
    await there.stop()


async def test_channels_that_move_to_another_node_are_followed_behind_a_gap(cluster: Cluster) -> None:
    bus = Bus.from_url(cluster.url)
    await bus.start()
    async with bus.subscribe("signalbox:events:1") as events:
        cluster.move_our_slot()
        assert await following(events) is GAP
        await hear_again(bus, "signalbox:events:1", events)
        assert cluster.nodes[1].command("PUBSUB", "SHARDCHANNELS")
        await until(lambda: bus.healthy)
    await bus.stop()


async def test_a_cluster_that_is_away_at_the_start_is_found_later(cluster: Cluster) -> None:
    cluster.close()
    bus = Bus.from_url(cluster.url)
    async with asyncio.timeout(promised(5)):
        await bus.start()
    assert not bus.healthy
    assert not await bus.publish("signalbox:events:1", b"lost")
    assert not await bus.refresh_keys({"signalbox:ws:1": 5})
    async with bus.subscribe("signalbox:events:1") as events:
        for node in cluster.nodes:
            node.start()
        assert await following(events) is GAP
        await hear_again(bus, "signalbox:events:1", events)
    await bus.stop()


async def test_scripts_run_on_whichever_node_holds_their_key(cluster: Cluster) -> None:
    bus = Bus.from_url(cluster.url)
    await bus.start()
    try:
        keys = [(f"rate:{number}", (number,)) for number in range(50)]
        script = b"redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])"
        assert await bus.run_script(script, keys) == [str(number).encode() for number in range(50)]
        assert await bus.run_script(b"this is no script", keys[:2]) is None
    finally:
        await bus.stop()
