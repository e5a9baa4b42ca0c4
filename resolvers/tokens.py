"""This module is where access tokens are signed and verified: JWTs of ten minutes, EdDSA and nothing else.

Security boundary: algorithm, type, audience and issuer are pinned, the key is chosen among ours by its id, and
nothing in a token is believed before its signature is.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from models import utcnow
from models.errors import Unauthenticated
from models.ids import NIL, encode, parse

AUDIENCE: Final = "signalbox"
ISSUER: Final = "signalbox"
LIFETIME: Final = timedelta(minutes=10)
_ALGORITHM: Final = "EdDSA"
_TYPE: Final = "at+jwt"
_MAX_LENGTH: Final = 2048
_CLAIMS: Final = ["sub", "tid", "sid", "av", "exp", "iat", "aud", "iss"]


class TokenExpired(Unauthenticated):
    """The access token has expired; refresh the session."""


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """What a token says, once its signature is believed."""

    tenant_id: UUID
    user_id: UUID
    session_id: UUID
    authorization_version: int
    expires_at: datetime


class AccessTokens:
    """Signs with the first key, accepts any of them, so keys can be rotated without signing anyone out."""

    def __init__(self, keys: Sequence[Ed25519PrivateKey], clock: Callable[[], datetime] = utcnow) -> None:
        if not keys:
            raise ValueError("at least one signing key is needed")
        self._signing = keys[0]
        self._signing_id = key_id(keys[0].public_key())
        self._public = {key_id(key.public_key()): key.public_key() for key in keys}
        self._clock = clock

    def sign(
        self, *, tenant_id: UUID, user_id: UUID, session_id: UUID, authorization_version: int
    ) -> tuple[str, datetime]:
        """A new token and the moment it ends."""
        issued_at = int(self._clock().timestamp())
        expires_at = issued_at + int(LIFETIME.total_seconds())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": encode("user", user_id),
            "tid": encode("tenant", tenant_id),
            "sid": encode("session", session_id),
            "av": authorization_version,
            "iat": issued_at,
            "exp": expires_at,
        }
        headers = {"kid": self._signing_id, "typ": _TYPE}
        token = jwt.encode(claims, self._signing, algorithm=_ALGORITHM, headers=headers)
        return token, datetime.fromtimestamp(expires_at, UTC)

    def verify(self, token: str) -> AccessClaims:
        """What the token says. Raises UNAUTHENTICATED, as TokenExpired when its time is all that is wrong."""
        try:
            claims = self._verified(token)
            said = _claims(claims)
        except (jwt.PyJWTError, ValueError, TypeError, LookupError, AttributeError, OverflowError, OSError) as error:
            raise Unauthenticated("The access token is not valid.") from error
        if said.expires_at <= self._clock():
            raise TokenExpired
        return said

    def _verified(self, token: str) -> dict[str, Any]:
        if len(token) > _MAX_LENGTH:
            raise ValueError("longer than any token of ours")
        header = jwt.get_unverified_header(token)
        if header.get("alg") != _ALGORITHM or header.get("typ") != _TYPE:
            raise ValueError("another algorithm or type")
        return jwt.decode(
            token,
            self._public[header["kid"]],
            algorithms=[_ALGORITHM],
            audience=AUDIENCE,
            issuer=ISSUER,
            # The times are compared here, on our clock; the library would ask the machine's.
            options={"require": _CLAIMS, "verify_exp": False, "verify_iat": False, "strict_aud": True},
        )


def key_id(key: Ed25519PublicKey) -> str:
    """The key's JWK thumbprint (RFC 7638, RFC 8037): the same key has the same id in every process."""
    raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    jwk = {"crv": "Ed25519", "kty": "OKP", "x": _base64url(raw)}
    return _base64url(hashlib.sha256(orjson.dumps(jwk, option=orjson.OPT_SORT_KEYS)).digest())


def _claims(claims: dict[str, Any]) -> AccessClaims:
    version, expires = claims["av"], claims["exp"]
    if type(version) is not int or type(expires) is not int:
        raise TypeError("av and exp are whole numbers")
    ids = parse(claims["tid"], "tenant"), parse(claims["sub"], "user"), parse(claims["sid"], "session")
    if NIL in ids:
        raise ValueError("tid, sub and sid are ids of a tenant, a user and a session")
    return AccessClaims(*ids, version, datetime.fromtimestamp(expires, UTC))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
