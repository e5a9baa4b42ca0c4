"""This module is where credentials are forged in every way that libraries have fallen for."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from typing import Any

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from resolvers.tokens import key_id


def forged(good: str, seed: str) -> Iterator[tuple[str, str]]:
    """Tokens that differ from ``good`` in one thing each; ``seed`` is the key that signed it."""
    ours = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed))
    stranger = Ed25519PrivateKey.generate()
    claims: dict[str, Any] = jwt.decode(good, options={"verify_signature": False})
    header = {"kid": key_id(ours.public_key()), "typ": "at+jwt"}

    def signed(key: Ed25519PrivateKey = ours, *, head: dict[str, Any] | None = None, **changed: Any) -> str:
        said = {name: value for name, value in (claims | changed).items() if value is not None}
        return jwt.encode(said, key, algorithm="EdDSA", headers=header | (head or {}))

    yield "alg none", _unsigned(claims, {"alg": "none", "typ": "at+jwt"})
    yield "alg nOnE with our kid", _unsigned(claims, header | {"alg": "nOnE"})
    yield "EdDSA without a signature", _unsigned(claims, header | {"alg": "EdDSA"})
    public = ours.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    yield "HMAC with the public key", jwt.encode(claims, public, algorithm="HS256", headers=header)
    yield "another audience", signed(aud="somebody else")
    yield "our audience among others", signed(aud=["signalbox", "somebody else"])
    yield "no audience", signed(aud=None)
    yield "another issuer", signed(iss="somebody else")
    yield "expired", signed(exp=int(time.time()) - 60)
    yield "no expiry", signed(exp=None)
    yield "an expiry that is a text", signed(exp="tomorrow")
    yield "a stranger's key under our kid", signed(stranger)
    yield "a foreign kid", signed(stranger, head={"kid": key_id(stranger.public_key())})
    yield "a kid that is a path", signed(head={"kid": "../../etc/passwd"})
    yield "a key of its own in the header", signed(stranger, head={"jwk": {"kty": "OKP", "crv": "Ed25519", "x": "AA"}})
    yield "another type", signed(head={"typ": "JWT"})
    yield (
        "another user",
        good.rsplit(".", 2)[0] + "." + _part(claims | {"sub": claims["tid"]}) + "." + good.rsplit(".", 1)[1],
    )
    yield "a user that is none", signed(sub="user_nobody")
    yield "a version that is a truth", signed(av=True)
    yield "too long a token", good + "A" * 5000
    yield "three dots", "..."
    yield "a word", "password"


def _unsigned(claims: dict[str, Any], header: dict[str, Any]) -> str:
    return f"{_part(header)}.{_part(claims)}."


def _part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(value)).rstrip(b"=").decode()
