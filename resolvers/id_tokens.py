"""This module is where an ID token of a tenant's identity provider is believed, or not.

Security boundary: asymmetric algorithms only, the key is the issuer's own, and issuer, audience, nonce and times are
held to what the tenant set and the client said. Nothing of a token is read before its signature is right, but which
key it names.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import jwt

from models import IdentityProvider
from resolvers.issuer_keys import ALGORITHMS, IssuerKeys, Source

MAX_LENGTH: Final = 16_384
NONCE_LENGTHS: Final = range(8, 257)
SKEW: Final = timedelta(seconds=60)
MAX_AGE: Final = timedelta(minutes=10)
"""Since its issue: it is a sign-in's fresh answer, not something to be kept and used later."""

_REQUIRED: Final = ["iss", "sub", "aud", "exp", "iat", "nonce"]
_TOO_MANY_VALUES: Final = 500


class BadIdToken(Exception):
    """The ID token is not believed; ``reason`` is for our own log, never for whoever presented it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class IdToken:
    """What a token says that is believed."""

    subject: str
    claims: dict[str, Any]
    expires_at: datetime
    digest: bytes

    def text(self, name: str) -> str | None:
        """A claim that is a text, trimmed; None when it is none."""
        value = self._claim(name)
        return value.strip() or None if isinstance(value, str) else None

    def is_true(self, name: str) -> bool:
        """Whether a claim says yes; some issuers write it as a text."""
        return self._claim(name) in (True, "true")

    def values(self, name: str) -> list[str]:
        """A claim's texts: of a list, the names of an object, or its words."""
        value = self._claim(name)
        found = value.split() if isinstance(value, str) else list(value) if isinstance(value, list | dict) else []
        return [one for one in found[:_TOO_MANY_VALUES] if isinstance(one, str)]

    def _claim(self, name: str) -> Any:
        if name in self.claims:
            return self.claims[name]
        # Keycloak's realm_access.roles and the like: a path, where no claim has the name itself.
        found: Any = self.claims
        for step in name.split("."):
            found = found.get(step) if isinstance(found, dict) else None
        return found


async def verified(
    token: str, nonce: str, provider: IdentityProvider, keys: IssuerKeys, clock: Callable[[], datetime]
) -> IdToken:
    """The token, believed. Raises BadIdToken, UNAVAILABLE when the issuer's keys cannot be had."""
    key_id, algorithm = _header(token)
    if len(nonce) not in NONCE_LENGTHS:
        raise BadIdToken("nonce")
    key = await keys.find(Source(provider.issuer, provider.jwks_uri), key_id, algorithm)
    if key is None:
        raise BadIdToken("key")
    try:
        claims = jwt.decode(
            token,
            key.key,
            algorithms=[algorithm],
            audience=provider.client_id,
            issuer=provider.issuer,
            # The times are compared here, on our clock; the library would ask the machine's.
            options={"require": _REQUIRED, "verify_exp": False, "verify_iat": False, "verify_nbf": False},
        )
        return _believed(token, claims, nonce, provider, clock())
    except jwt.PyJWTError as error:
        raise BadIdToken(type(error).__name__) from error
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, OSError) as error:
        raise BadIdToken("malformed") from error


def _header(token: str) -> tuple[str | None, str]:
    if len(token) > MAX_LENGTH:
        raise BadIdToken("length")
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise BadIdToken("malformed") from error
    algorithm, key_id = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or not any(algorithm in known for known in ALGORITHMS.values()):
        raise BadIdToken("algorithm")
    if key_id is not None and not isinstance(key_id, str):
        raise BadIdToken("key")
    return key_id, algorithm


def _believed(token: str, claims: dict[str, Any], nonce: str, provider: IdentityProvider, now: datetime) -> IdToken:
    subject, audience, party = claims["sub"], claims["aud"], claims.get("azp")
    expires_at, issued_at = _time(claims["exp"]), _time(claims["iat"])
    if not isinstance(subject, str) or not 1 <= len(subject) <= 255 or "\x00" in subject:
        raise BadIdToken("subject")
    # Given to several, a token says for whom it was made (OpenID Connect Core 3.1.3.7, 4 and 5).
    several = isinstance(audience, list) and len(audience) > 1
    if party != provider.client_id and (several or party is not None):
        raise BadIdToken("authorized party")
    if not isinstance(claims["nonce"], str) or not hmac.compare_digest(claims["nonce"].encode(), nonce.encode()):
        raise BadIdToken("nonce")
    if expires_at + SKEW <= now:
        raise BadIdToken("expired")
    if issued_at > now + SKEW or ("nbf" in claims and _time(claims["nbf"]) > now + SKEW):
        raise BadIdToken("not yet")
    if issued_at + MAX_AGE + SKEW <= now:
        raise BadIdToken("old")
    return IdToken(subject, claims, expires_at, hashlib.sha256(token.encode()).digest())


def _time(value: Any) -> datetime:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("a time is a number")
    return datetime.fromtimestamp(value, UTC)
