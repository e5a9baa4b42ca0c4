"""This module is where access tokens are specified, and every way of forging one is tried."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from models.errors import Unauthenticated
from models.ids import encode, uuid7
from resolvers.tokens import AccessTokens, TokenExpired, key_id
from tests.resolvers.people import Clock

KEY = Ed25519PrivateKey.generate()
TENANT, USER, SESSION = uuid7(), uuid7(), uuid7()


def signed(tokens: AccessTokens) -> str:
    return tokens.sign(tenant_id=TENANT, user_id=USER, session_id=SESSION, authorization_version=7)[0]


def claims(clock: Clock, **changes: Any) -> dict[str, Any]:
    now = int(clock().timestamp())
    good = {
        "iss": "signalbox",
        "aud": "signalbox",
        "sub": encode("user", USER),
        "tid": encode("tenant", TENANT),
        "sid": encode("session", SESSION),
        "av": 7,
        "iat": now,
        "exp": now + 600,
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


def forged(clock: Clock, header: dict[str, Any] | None = None, key: Any = KEY, **changes: Any) -> str:
    headers = {"kid": key_id(KEY.public_key()), "typ": "at+jwt"} | (header or {})
    return jwt.encode(claims(clock, **changes), key, algorithm=headers.pop("alg", "EdDSA"), headers=headers)


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(value)).rstrip(b"=").decode()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(clock: Clock) -> AccessTokens:
    return AccessTokens([KEY], clock)


def test_a_token_says_who_and_until_when(tokens: AccessTokens, clock: Clock) -> None:
    said = tokens.verify(signed(tokens))
    assert (said.tenant_id, said.user_id, said.session_id, said.authorization_version) == (TENANT, USER, SESSION, 7)
    assert said.expires_at == clock() + timedelta(minutes=10)


def test_the_header_pins_algorithm_type_and_key(tokens: AccessTokens) -> None:
    assert jwt.get_unverified_header(signed(tokens)) == {
        "alg": "EdDSA",
        "typ": "at+jwt",
        "kid": key_id(KEY.public_key()),
    }


def test_a_token_built_by_hand_as_ours_are_is_good(tokens: AccessTokens, clock: Clock) -> None:
    # Or every refusal below would prove nothing.
    assert tokens.verify(forged(clock)).user_id == USER


def test_a_token_expires_after_ten_minutes_and_says_so(tokens: AccessTokens, clock: Clock) -> None:
    token = signed(tokens)
    clock.advance(timedelta(minutes=10) - timedelta(seconds=1))
    tokens.verify(token)
    clock.advance(timedelta(seconds=1))
    with pytest.raises(TokenExpired) as refusal:
        tokens.verify(token)
    assert refusal.value.code == "UNAUTHENTICATED"
    assert refusal.value.message


def test_every_key_is_accepted_and_the_first_signs(clock: Clock) -> None:
    new = Ed25519PrivateKey.generate()
    old_token = signed(AccessTokens([KEY], clock))
    rotated = AccessTokens([new, KEY], clock)
    assert rotated.verify(old_token)
    assert jwt.get_unverified_header(signed(rotated))["kid"] == key_id(new.public_key())
    with pytest.raises(Unauthenticated):
        AccessTokens([new], clock).verify(old_token)


def test_a_key_has_the_thumbprint_that_rfc_8037_publishes() -> None:
    # RFC 8037, appendices A.1 and A.3.
    key = Ed25519PrivateKey.from_private_bytes(
        bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    )
    assert key_id(key.public_key()) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_without_a_key_nothing_starts(clock: Clock) -> None:
    with pytest.raises(ValueError):
        AccessTokens([], clock)


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "another"},
        {"aud": ["signalbox", "another"]},
        {"aud": None},
        {"iss": "another"},
        {"iss": None},
        {"sub": None},
        {"sub": "user_nonsense"},
        {"sub": encode("tenant", USER)},
        {"tid": None},
        {"tid": 7},
        {"sid": encode("user", SESSION)},
        {"av": None},
        {"av": "7"},
        {"av": True},
        {"exp": None},
        {"exp": 1e400},
        {"exp": 10**30},
        {"exp": "tomorrow"},
        {"iat": None},
    ],
)
def test_a_claim_that_is_wrong_or_missing_is_refused_though_signed(
    tokens: AccessTokens, clock: Clock, changes: dict[str, Any]
) -> None:
    with pytest.raises(Unauthenticated) as refusal:
        tokens.verify(forged(clock, **changes))
    assert not isinstance(refusal.value, TokenExpired)


@pytest.mark.parametrize("header", [{"typ": "JWT"}, {"typ": None}, {"kid": "unknown"}, {"crit": ["exp"]}])
def test_a_header_that_is_not_ours_is_refused(tokens: AccessTokens, clock: Clock, header: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated):
        tokens.verify(forged(clock, header))


def test_another_key_under_our_id_is_refused(tokens: AccessTokens, clock: Clock) -> None:
    with pytest.raises(Unauthenticated):
        tokens.verify(forged(clock, key=Ed25519PrivateKey.generate()))


def test_an_expired_forgery_is_not_told_that_refreshing_helps(tokens: AccessTokens, clock: Clock) -> None:
    with pytest.raises(Unauthenticated) as refusal:
        tokens.verify(forged(clock, key=Ed25519PrivateKey.generate(), exp=1))
    assert not isinstance(refusal.value, TokenExpired)


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE"])
def test_no_algorithm_is_refused(tokens: AccessTokens, clock: Clock, algorithm: str) -> None:
    header = {"alg": algorithm, "typ": "at+jwt", "kid": key_id(KEY.public_key())}
    with pytest.raises(Unauthenticated):
        tokens.verify(f"{part(header)}.{part(claims(clock))}.")


def test_our_public_key_is_no_secret_for_hmac(tokens: AccessTokens, clock: Clock) -> None:
    raw = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    with pytest.raises(Unauthenticated):
        tokens.verify(forged(clock, {"alg": "HS256"}, key=raw))


@pytest.mark.parametrize("text", ["", ".", "..", "a.b.c", "é.é.é", "\ud800", "x" * 100_000])
def test_what_is_no_token_is_refused(tokens: AccessTokens, text: str) -> None:
    with pytest.raises(Unauthenticated):
        tokens.verify(text)


def test_any_changed_character_of_the_signed_part_is_refused(tokens: AccessTokens) -> None:
    token = signed(tokens)
    for place in range(0, token.rindex("."), 7):
        changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        with pytest.raises(Unauthenticated):
            tokens.verify(changed)
