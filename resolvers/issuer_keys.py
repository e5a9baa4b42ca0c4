"""This module is where the public keys of tenants' identity providers are kept: fetched when needed, and not too often.

Security boundary: anybody can present a token that names any key, so an unknown one leads to one look-up in thirty
seconds, whoever asks. A key that the issuer withdrew is believed for fifteen minutes at most, while the issuer answers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import jwt
import orjson
import structlog
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from models.errors import Unavailable
from resolvers.fetching import Fetches, FetchFailed

FRESH_SECONDS: Final = 900.0
RETRY_SECONDS: Final = 30.0
STALE_SECONDS: Final = 86_400.0
_ANSWER_BYTES: Final = 65_536
_MOST_KEYS: Final = 50
_MOST_ISSUERS: Final = 1000
_RSA_BITS: Final = range(2048, 8193)
ALGORITHMS: Final = {
    ("RSA", None): frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
    ("EC", "P-256"): frozenset({"ES256"}),
    ("EC", "P-384"): frozenset({"ES384"}),
    ("EC", "P-521"): frozenset({"ES512"}),
    ("OKP", "Ed25519"): frozenset({"EdDSA"}),
}
"""What each kind of key may sign with: asymmetric alone, so that no public key serves as a secret."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Source:
    """Where an issuer's keys are: at ``jwks_uri``, or where its discovery document says."""

    issuer: str
    jwks_uri: str | None = None


@dataclass(frozen=True, slots=True)
class IssuerKey:
    """One public key, and what it may have signed with."""

    key_id: str | None
    algorithms: frozenset[str]
    key: Any


@dataclass(frozen=True, slots=True)
class _Known:
    keys: tuple[IssuerKey, ...]
    fetched_at: float
    tried_at: float


class IssuerKeys:
    """The keys of every issuer that somebody signs in by; close it before what it fetches with."""

    def __init__(self, fetches: Fetches, timer: Callable[[], float] = time.monotonic) -> None:
        self._fetches = fetches
        self._timer = timer
        self._known: dict[Source, _Known] = {}
        self._fetching: dict[Source, asyncio.Task[_Known]] = {}

    async def close(self) -> None:
        """End every fetch that is under way; whoever waits for one is cancelled."""
        tasks = list(self._fetching.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def find(self, source: Source, key_id: str | None, algorithm: str) -> IssuerKey | None:
        """The issuer's key of this id that signs with ``algorithm``; None when it has none. Raises UNAVAILABLE.

        Without an id, the issuer's only key that could have signed.
        """
        known = self._known.get(source)
        key = _pick(known, key_id, algorithm)
        now = self._timer()
        if known is None or now - known.tried_at >= (RETRY_SECONDS if key is None else FRESH_SECONDS):
            known = await self._fetched(source)
            key = _pick(known, key_id, algorithm)
        if now - known.fetched_at > STALE_SECONDS:
            raise Unavailable("The identity provider does not answer.")
        return key

    async def check(self, source: Source) -> int:
        """How many usable keys the issuer has now, asked anew. Raises FetchFailed."""
        known = await self._fetch(source)
        self._keep(source, known)
        return len(known.keys)

    async def _fetched(self, source: Source) -> _Known:
        task = self._fetching.get(source)
        if task is None:
            task = asyncio.create_task(self._renew(source), name="fetch issuer keys")
            self._fetching[source] = task
            task.add_done_callback(lambda _: self._fetching.pop(source, None))
        # Shielded, because others wait for the same answer.
        return await asyncio.shield(task)

    async def _renew(self, source: Source) -> _Known:
        before = self._known.get(source)
        try:
            known = await self._fetch(source)
        except FetchFailed as error:
            _log.warning("issuer_keys.not_fetched", issuer=source.issuer, error=str(error))
            now = self._timer()
            # What is known goes on being believed for a day; an issuer that is down is not asked all the time.
            known = _Known(before.keys, before.fetched_at, now) if before else _Known((), now - 2 * STALE_SECONDS, now)
        self._keep(source, known)
        return known

    async def _fetch(self, source: Source) -> _Known:
        address = source.jwks_uri or await self._discover(source.issuer)
        answer = _object(await self._fetches.get(address, limit_bytes=_ANSWER_BYTES))
        now = self._timer()
        keys = answer.get("keys")
        if not isinstance(keys, list) or len(keys) > _MOST_KEYS:
            raise FetchFailed("the key set holds no list of at most 50 keys")
        return _Known(tuple(key for one in keys if (key := _usable(one)) is not None), now, now)

    async def _discover(self, issuer: str) -> str:
        address = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
        answer = _object(await self._fetches.get(address, limit_bytes=_ANSWER_BYTES))
        # Else one issuer could point at another's keys and sign for it.
        if answer.get("issuer") != issuer or not isinstance(answer.get("jwks_uri"), str):
            raise FetchFailed("the discovery document is another issuer's, or names no keys")
        uri: str = answer["jwks_uri"]
        return uri

    def _keep(self, source: Source, known: _Known) -> None:
        self._known.pop(source, None)
        self._known[source] = known
        while len(self._known) > _MOST_ISSUERS:
            del self._known[next(iter(self._known))]


def _pick(known: _Known | None, key_id: str | None, algorithm: str) -> IssuerKey | None:
    fitting = [
        key
        for key in (known.keys if known is not None else ())
        if algorithm in key.algorithms and (key_id is None or key.key_id == key_id)
    ]
    return fitting[0] if len(fitting) == 1 or (fitting and key_id is not None) else None


def _usable(jwk: Any) -> IssuerKey | None:
    """A key that signs, of a size that is neither weak nor slow; None for any other."""
    if not isinstance(jwk, dict) or jwk.get("use", "sig") != "sig" or not isinstance(jwk.get("kid", ""), str):
        return None
    kind, curve, named = jwk.get("kty"), jwk.get("crv"), jwk.get("alg")
    possible = ALGORITHMS.get((str(kind), None if kind == "RSA" else str(curve)), frozenset())
    algorithms = possible if named is None else possible & {named}
    if not algorithms:
        return None
    try:
        key = jwt.PyJWK(jwk, min(algorithms)).key
    except (jwt.PyJWTError, ValueError, TypeError, LookupError, AttributeError, OverflowError):
        return None
    if isinstance(key, RSAPublicKey):
        # A huge exponent makes every check a long computation.
        is_sound = key.key_size in _RSA_BITS and key.public_numbers().e < 1 << 32
    else:
        is_sound = isinstance(key, EllipticCurvePublicKey | Ed25519PublicKey)
    return IssuerKey(jwk.get("kid"), algorithms, key) if is_sound else None


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise FetchFailed("the answer is no JSON") from error
    if not isinstance(found, dict):
        raise FetchFailed("the answer is no JSON object")
    return found
