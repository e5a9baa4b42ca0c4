"""This module is where the audit log's keys work: they chain entries, sign checkpoints and seal personal parts.

Security boundary: the master keys never reach the database. From each derive, for every tenant, one key that chains,
one that signs and one that wraps the keys of people; whoever holds only the database can neither continue a chain
nor open what is sealed.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES: Final = 32
KEY_ID_BYTES: Final = 8
_NONCE_BYTES: Final = 12
_SUITE: Final = b"\x01"

Part = bytes | str | int | UUID | None


class NotOpened(Exception):
    """The text was not sealed with this key for this place, or was changed."""


def framed(*parts: Part) -> bytes:
    """``parts`` as bytes that no other parts give: each with its kind and length."""
    return b"".join(_framed(part) for part in parts)


def _framed(part: Part) -> bytes:
    if part is None:
        return b"n"
    if isinstance(part, UUID):
        kind, body = b"u", part.bytes
    elif isinstance(part, int):
        kind, body = b"i", struct.pack(">q", part)
    elif isinstance(part, str):
        kind, body = b"s", part.encode()
    else:
        kind, body = b"b", part
    return kind + struct.pack(">I", len(body)) + body


@lru_cache(maxsize=4096)
def _derived(master: bytes, purpose: str, tenant_id: UUID | None) -> bytes:
    info = framed("signalbox audit", purpose, tenant_id)
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(master)


class RecentKeys:
    """People's keys of the last minute, for sealing only: what is opened is opened with what the database says now."""

    def __init__(self, seconds: float = 60.0, most: int = 4096) -> None:
        self._seconds = seconds
        self._most = most
        self._keys: dict[tuple[UUID, UUID], tuple[bytes, float]] = {}

    def get(self, whose: tuple[UUID, UUID]) -> bytes | None:
        """The key of a person of a tenant, if it is at hand."""
        key, until = self._keys.get(whose, (None, 0.0))
        return key if time.monotonic() < until else None

    def put(self, whose: tuple[UUID, UUID], key: bytes) -> None:
        """Keep a key that is committed."""
        self._keys.pop(whose, None)
        while len(self._keys) >= self._most:
            del self._keys[next(iter(self._keys))]
        self._keys[whose] = key, time.monotonic() + self._seconds

    def forget(self, whose: tuple[UUID, UUID]) -> None:
        """Seal no more for this person."""
        self._keys.pop(whose, None)


class AuditKeys:
    """The keys of one deployment's logs: the first chains, signs and wraps, each of them verifies and opens."""

    def __init__(self, masters: Sequence[bytes]) -> None:
        if not masters or any(len(one) != KEY_BYTES for one in masters):
            raise ValueError("an audit key has 32 bytes, and there is at least one")
        self._masters = {_derived(one, "id", None)[:KEY_ID_BYTES]: one for one in masters}
        self.key_id: Final = next(iter(self._masters))
        self.recent: Final = RecentKeys()

    def mac(self, tenant_id: UUID, *parts: Part, key_id: bytes | None = None) -> bytes | None:
        """What binds ``parts`` into the tenant's chain; None when ``key_id`` names a key that is not at hand."""
        return self._keyed("chain", tenant_id, key_id, parts)

    def signature(self, tenant_id: UUID, *parts: Part, key_id: bytes | None = None) -> bytes | None:
        """What proves that ``parts`` were said by us; None when ``key_id`` names a key that is not at hand."""
        return self._keyed("sign", tenant_id, key_id, parts)

    def wrap(self, tenant_id: UUID, person_id: UUID, key: bytes) -> bytes:
        """A person's key as the database may keep it."""
        wrapping = _derived(self._masters[self.key_id], "wrap", tenant_id)
        return self.key_id + seal(wrapping, key, tenant_id, person_id)

    def unwrap(self, tenant_id: UUID, person_id: UUID, wrapped: bytes) -> bytes:
        """A person's key again. Raises NotOpened."""
        master = self._masters.get(wrapped[:KEY_ID_BYTES])
        if master is None:
            raise NotOpened("the key that wrapped this is not at hand")
        return unseal(_derived(master, "wrap", tenant_id), wrapped[KEY_ID_BYTES:], tenant_id, person_id)

    def _keyed(self, purpose: str, tenant_id: UUID, key_id: bytes | None, parts: Sequence[Part]) -> bytes | None:
        master = self._masters.get(key_id or self.key_id)
        if master is None:
            return None
        return hmac.digest(_derived(master, purpose, tenant_id), framed(*parts), hashlib.sha256)


def new_key() -> bytes:
    """A random key."""
    return os.urandom(KEY_BYTES)


def seal(key: bytes, content: bytes, *place: Part) -> bytes:
    """``content`` for whoever has ``key``, and only in this ``place``."""
    nonce = os.urandom(_NONCE_BYTES)
    return _SUITE + nonce + AESGCM(key).encrypt(nonce, content, _SUITE + framed(*place))


def unseal(key: bytes, sealed: bytes, *place: Part) -> bytes:
    """The content again. Raises NotOpened for another key, another place, or a change."""
    suite, nonce, rest = sealed[:1], sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
    try:
        if suite != _SUITE:
            raise NotOpened("this is not sealed in a way that is known")
        return AESGCM(key).decrypt(nonce, rest, suite + framed(*place))
    except (InvalidTag, ValueError) as error:
        raise NotOpened("this was not sealed with this key for this place") from error
