"""This module is where asking other servers is specified: which addresses, how long, how much."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

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


def certificate(folder: Path, name: str) -> ssl.SSLContext:
    """A server's context whose certificate, its own authority, is for ``name``; its files are in ``folder``."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate").write_bytes(made.public_bytes(Encoding.PEM))
    (folder / "key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate", folder / "key")
    return context


@pytest.mark.parametrize("name", ["issuer.example", "other.example"])
async def test_the_certificate_must_be_the_names_although_the_address_is_asked(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str | None] = []
    context = certificate(tmp_path, name)
    context.sni_callback = lambda _, said, __: heard.append(said)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"host: issuer.example" in head.lower()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
        await writer.drain()
        writer.close()

    async def here(_: str, port: int, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", here)
    egress = Egress([LOOPBACK], trust=ssl.create_default_context(cafile=str(tmp_path / "certificate")))
    asked = egress.get(f"https://issuer.example:{port}/", limit_bytes=10)
    if name == "issuer.example":
        assert await asked == b"{}"
    else:
        with pytest.raises(FetchFailed):
            await asked
    assert heard == ["issuer.example"]
    await egress.close()
    server.close()
