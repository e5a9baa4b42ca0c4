"""This module is where issuers' keys are specified: fetched when needed, not at anybody's will, believed for a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import orjson
import pytest

from gateway.egress import Egress
from models.errors import Unavailable
from resolvers.fetching import FetchFailed
from resolvers.issuer_keys import FRESH_SECONDS, RETRY_SECONDS, STALE_SECONDS, IssuerKeys, Source
from tests.resolvers.issuer import Issuer, SigningKey, serving
from tests.resolvers.people import Clock

DISCOVERY = "/.well-known/openid-configuration"


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with serving() as one:
        yield one


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def keys(clock: Clock) -> AsyncIterator[IssuerKeys]:
    egress = Egress([ip_network("127.0.0.0/8")])
    made = IssuerKeys(egress, clock.timer)
    yield made
    await made.close()
    await egress.close()


async def test_keys_are_discovered_once_and_then_known(keys: IssuerKeys, issuer: Issuer) -> None:
    found = await asyncio.gather(*(keys.find(Source(issuer.url), "first", "RS256") for _ in range(20)))
    assert all(one is not None and one.key_id == "first" for one in found)
    assert issuer.asked == {DISCOVERY: 1, "/keys": 1}


async def test_a_named_address_needs_no_discovery(keys: IssuerKeys, issuer: Issuer) -> None:
    assert await keys.find(Source(issuer.url, f"{issuer.url}/keys"), "first", "RS256")
    assert issuer.asked == {"/keys": 1}


async def test_an_unknown_key_is_looked_up_once_in_a_while_whoever_asks(
    keys: IssuerKeys, issuer: Issuer, clock: Clock
) -> None:
    source = Source(issuer.url)
    assert await keys.find(source, "first", "RS256")
    for number in range(100):
        assert await keys.find(source, f"made up {number}", "RS256") is None
    assert issuer.asked["/keys"] == 1
    clock.advance(timedelta(seconds=RETRY_SECONDS))
    for number in range(100):
        assert await keys.find(source, f"made up {number}", "RS256") is None
    assert issuer.asked["/keys"] == 2


async def test_a_rotated_key_is_found_and_the_old_one_is_forgotten(
    keys: IssuerKeys, issuer: Issuer, clock: Clock
) -> None:
    source = Source(issuer.url)
    assert await keys.find(source, "first", "RS256")
    issuer.rotate("second", "ES256")
    clock.advance(timedelta(seconds=RETRY_SECONDS))
    assert await keys.find(source, "second", "ES256")
    assert await keys.find(source, "first", "RS256") is None


async def test_a_withdrawn_key_is_believed_for_a_quarter_of_an_hour(
    keys: IssuerKeys, issuer: Issuer, clock: Clock
) -> None:
    source = Source(issuer.url)
    assert await keys.find(source, "first", "RS256")
    issuer.rotate("second")
    clock.advance(timedelta(seconds=FRESH_SECONDS - 1))
    assert await keys.find(source, "first", "RS256")
    clock.advance(timedelta(seconds=1))
    assert await keys.find(source, "first", "RS256") is None


async def test_while_the_issuer_is_down_its_keys_are_believed_for_a_day(
    keys: IssuerKeys, issuer: Issuer, clock: Clock
) -> None:
    source = Source(issuer.url)
    assert await keys.find(source, "first", "RS256")
    issuer.answers["/keys"] = (503, {}, b"")
    clock.advance(timedelta(seconds=FRESH_SECONDS))
    assert await keys.find(source, "first", "RS256")
    assert await keys.find(source, "first", "RS256")
    assert issuer.asked["/keys"] == 2
    clock.advance(timedelta(seconds=STALE_SECONDS))
    with pytest.raises(Unavailable):
        await keys.find(source, "first", "RS256")


async def test_an_issuer_that_never_answered_is_unavailable_and_not_asked_all_the_time(
    keys: IssuerKeys, issuer: Issuer, clock: Clock
) -> None:
    issuer.answers[DISCOVERY] = (500, {}, b"")
    for _ in range(5):
        with pytest.raises(Unavailable):
            await keys.find(Source(issuer.url), "first", "RS256")
    assert issuer.asked == {DISCOVERY: 1}
    del issuer.answers[DISCOVERY]
    clock.advance(timedelta(seconds=RETRY_SECONDS))
    assert await keys.find(Source(issuer.url), "first", "RS256")


async def test_without_an_id_the_only_key_that_could_have_signed_is_meant(keys: IssuerKeys, issuer: Issuer) -> None:
    issuer.keys = [SigningKey("rsa"), SigningKey("curve", "ES256"), SigningKey("other curve", "ES384")]
    found = await keys.find(Source(issuer.url), None, "ES256")
    assert found is not None
    assert found.key_id == "curve"


async def test_of_two_that_could_have_signed_neither_is_guessed(keys: IssuerKeys, issuer: Issuer) -> None:
    issuer.keys = [SigningKey("one"), SigningKey("two")]
    assert await keys.find(Source(issuer.url), None, "RS256") is None
    assert await keys.find(Source(issuer.url), "two", "RS256")


@pytest.mark.parametrize(
    ("key", "given"),
    [
        (SigningKey("first", bits=1024), {}),
        (SigningKey("first"), {"use": "enc"}),
        (SigningKey("first"), {"alg": "HS256"}),
        (SigningKey("first"), {"kty": "oct", "k": "c2VjcmV0"}),
        (SigningKey("first"), {"n": "AQAB"}),
        (SigningKey("first"), {"n": 5}),
        (SigningKey("first"), {"e": "A" * 100}),
        (SigningKey("first"), {"kid": 7}),
        (SigningKey("first", "ES256"), {"alg": None, "crv": "P-384"}),
        (SigningKey("first"), {"alg": "PS256"}),
    ],
)
async def test_a_key_that_is_weak_or_meant_for_something_else_signs_nothing(
    keys: IssuerKeys, issuer: Issuer, key: SigningKey, given: dict[str, Any]
) -> None:
    issuer.answers["/keys"] = (200, {}, orjson.dumps({"keys": [key.jwk(**given), None, 5]}))
    for algorithm in ("RS256", "ES256", "ES384", "HS256", "none"):
        assert await keys.find(Source(issuer.url), "first", algorithm) is None


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"keys": 5}', b'{"keys": [' + b"null," * 50 + b"null]}", b"x" * 70_000]
)
async def test_what_is_no_key_set_is_no_answer(keys: IssuerKeys, issuer: Issuer, body: bytes) -> None:
    issuer.answers["/keys"] = (200, {}, body)
    with pytest.raises(FetchFailed):
        await keys.check(Source(issuer.url))


async def test_a_discovery_document_speaks_for_its_own_issuer_alone(keys: IssuerKeys, issuer: Issuer) -> None:
    said = {"issuer": "https://accounts.example", "jwks_uri": f"{issuer.url}/keys"}
    issuer.answers[DISCOVERY] = (200, {}, orjson.dumps(said))
    with pytest.raises(FetchFailed):
        await keys.check(Source(issuer.url))
    assert issuer.asked == {DISCOVERY: 1}
