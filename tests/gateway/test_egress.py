"""This module is where asking other servers is specified: which addresses, how long, how much."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from gateway.egress import Egress
from gateway.settings import SettingsError, load
from resolvers.fetching import FetchFailed
from tests.resolvers.issuer import Issuer, serving

LOOPBACK = ip_network("127.0.0.0/8")


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with serving() as one:
        yield one


@pytest.fixture
async def egress() -> AsyncIterator[Egress]:
    made = Egress([LOOPBACK])
    yield made
    await made.close()


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a00:1",
        "2002:7f00:1::",
        "2001:0:7f00:1::1",
    ],
)
def test_what_is_not_on_the_public_internet_is_refused(address: str) -> None:
    assert not Egress().admits(ip_address(address))


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
def test_what_is_on_the_public_internet_is_asked_over_tls_alone(address: str) -> None:
    assert Egress().admits(ip_address(address))
    assert not Egress().admits(ip_address(address), is_plain=True)


def test_a_named_network_is_admitted_and_metadata_never() -> None:
    everything = Egress([ip_network("0.0.0.0/0"), ip_network("::/0")])
    assert everything.admits(ip_address("10.0.0.1"), is_plain=True)
    assert everything.admits(ip_address("::1"), is_plain=True)
    for address in ("169.254.169.254", "::ffff:169.254.169.254", "100.100.100.200", "fd00:ec2::254", "fe80::1"):
        assert not everything.admits(ip_address(address))
    assert not Egress([LOOPBACK]).admits(ip_address("10.0.0.1"))


async def test_the_answer_of_an_admitted_server_is_read(egress: Egress, issuer: Issuer) -> None:
    assert b"jwks_uri" in await egress.get(f"{issuer.url}/.well-known/openid-configuration", limit_bytes=1000)


async def test_a_server_on_this_machine_is_refused_unless_it_is_named(issuer: Issuer) -> None:
    bare = Egress()
    with pytest.raises(FetchFailed, match="no address"):
        await bare.get(f"{issuer.url}/keys", limit_bytes=1000)
    await bare.close()
    assert issuer.asked == {}


async def test_a_redirect_is_not_followed(egress: Egress, issuer: Issuer) -> None:
    issuer.answers["/keys"] = (302, {"location": f"{issuer.url}/elsewhere"}, b"")
    with pytest.raises(FetchFailed, match="302"):
        await egress.get(f"{issuer.url}/keys", limit_bytes=1000)
    assert issuer.asked == {"/keys": 1}


async def test_a_large_answer_is_cut_off(egress: Egress, issuer: Issuer) -> None:
    issuer.answers["/keys"] = (200, {}, b"x" * 5_000_000)
    with pytest.raises(FetchFailed, match="more than 1000 bytes"):
        await egress.get(f"{issuer.url}/keys", limit_bytes=1000)


async def test_a_server_that_says_nothing_is_given_up(issuer: Issuer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        patient = Egress([LOOPBACK], timeout_seconds=0.2)
        with pytest.raises(FetchFailed, match="did not answer"):
            await asyncio.wait_for(
                patient.get(f"http://127.0.0.1:{silent.getsockname()[1]}/", limit_bytes=10), timeout=10
            )
        await patient.close()


async def test_the_connection_goes_to_the_address_that_was_checked(
    egress: Egress, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    loop = asyncio.get_running_loop()

    async def rebinding(host: str, port: int, **_: Any) -> list[Any]:
        # The first answer is harmless; whoever looks the name up again gets another.
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "169.254.169.254"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(loop, "getaddrinfo", rebinding)
    port = issuer.url.rpartition(":")[2]
    assert await egress.get(f"http://rebinding.example:{port}/keys", limit_bytes=10_000)
    with pytest.raises(FetchFailed, match="no address"):
        await egress.get(f"http://rebinding.example:{port}/keys", limit_bytes=10_000)
    assert asked == ["rebinding.example"] * 2


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "gopher://x/", "https://", "https://me:secret@x/", "http://[::1"]
)
async def test_what_is_no_web_address_is_refused_without_its_secrets(egress: Egress, url: str) -> None:
    with pytest.raises(FetchFailed) as failed:
        await egress.get(url, limit_bytes=10)
    assert "secret" not in str(failed.value)


def test_a_network_that_is_none_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNALBOX_EGRESS_ALLOW", "10.0.0.0/8, fd12::/48")
    assert load(profile="demo").egress_networks() == [ip_network("10.0.0.0/8"), ip_network("fd12::/48")]
    monkeypatch.setenv("SIGNALBOX_EGRESS_ALLOW", "intranet")
    with pytest.raises(SettingsError, match="SIGNALBOX_EGRESS_ALLOW"):
        load(profile="demo")
