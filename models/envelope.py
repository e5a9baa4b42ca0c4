"""This module is where secrets are sealed: what an envelope looks like, byte by byte, and what keeps it shut.

    magic 4 · suite 1 · key version 4 · message id 32 · commitment 32 · nonce 12 · ciphertext · tag 16

Message key and commitment come by HKDF-SHA-512 from the tenant's data key and the message id; AES-256-GCM encrypts. The
associated data says whose envelope this is, so one that was moved, renamed, or put back after a change stays shut.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MAGIC: Final = b"SBXE"
SUITE: Final = 1
"""HKDF-SHA-512 with commitment, AES-256-GCM."""

KEY_BYTES: Final = 32
_MESSAGE_ID: Final = 32
_COMMITMENT: Final = 32
_NONCE: Final = 12
_TAG: Final = 16
_HEAD: Final = len(MAGIC) + 1 + 4
OVERHEAD: Final = _HEAD + _MESSAGE_ID + _COMMITMENT + _NONCE + _TAG
"""Bytes an envelope is longer than what it holds."""


class Unreadable(Exception):
    """The envelope does not open."""


@dataclass(frozen=True, slots=True)
class DataKey:
    """One version of a tenant's data key, unwrapped; it lives in memory only."""

    id: UUID
    tenant_id: UUID
    version: int
    material: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.material) != KEY_BYTES:
            raise ValueError(f"a data key has {KEY_BYTES} bytes")


@dataclass(frozen=True, slots=True)
class Binding:
    """Whose envelope it is: all of this must be the same again for it to open."""

    secret_id: UUID
    name: str
    version: int
    """Of what is sealed, counted up with each change: an earlier envelope of the same secret does not open."""
    purpose: str


def seal(plaintext: bytes, key: DataKey, binding: Binding) -> bytes:
    """An envelope that only ``key`` and ``binding`` open; no two are alike."""
    message_id, nonce = secrets.token_bytes(_MESSAGE_ID), secrets.token_bytes(_NONCE)
    message_key, commitment = _derived(key, message_id)
    ciphertext = AESGCM(message_key).encrypt(nonce, plaintext, _associated(key.tenant_id, binding))
    head = MAGIC + bytes([SUITE]) + key.version.to_bytes(4)
    return head + message_id + commitment + nonce + ciphertext


def unseal(envelope: bytes, key: DataKey, binding: Binding) -> bytes:
    """What is in the envelope. Raises Unreadable, which never says why."""
    if key_version(envelope) != key.version:
        raise Unreadable
    message_id, rest = envelope[_HEAD : _HEAD + _MESSAGE_ID], envelope[_HEAD + _MESSAGE_ID :]
    commitment, nonce, ciphertext = rest[:_COMMITMENT], rest[_COMMITMENT:][:_NONCE], rest[_COMMITMENT + _NONCE :]
    message_key, expected = _derived(key, message_id)
    # AES-GCM alone does not commit to its key: one ciphertext can be made that opens under two.
    if not hmac.compare_digest(commitment, expected):
        raise Unreadable
    try:
        return AESGCM(message_key).decrypt(nonce, ciphertext, _associated(key.tenant_id, binding))
    except InvalidTag as error:
        raise Unreadable from error


def key_version(envelope: bytes) -> int:
    """Which version of the tenant's data key sealed it. Raises Unreadable for what is no envelope of ours."""
    if len(envelope) < OVERHEAD or envelope[: _HEAD - 4] != MAGIC + bytes([SUITE]):
        raise Unreadable
    return int.from_bytes(envelope[_HEAD - 4 : _HEAD])


def length_prefixed(*parts: bytes) -> bytes:
    """The parts, each after its length: no two lists of parts read the same."""
    return b"".join(len(part).to_bytes(4) + part for part in parts)


def _derived(key: DataKey, message_id: bytes) -> tuple[bytes, bytes]:
    label = length_prefixed(b"signalbox envelope", MAGIC, bytes([SUITE]), key.version.to_bytes(4))
    both = HKDF(SHA512(), KEY_BYTES + _COMMITMENT, salt=message_id, info=label).derive(key.material)
    return both[:KEY_BYTES], both[KEY_BYTES:]


def _associated(tenant_id: UUID, binding: Binding) -> bytes:
    return length_prefixed(
        MAGIC,
        bytes([SUITE]),
        tenant_id.bytes,
        binding.secret_id.bytes,
        binding.name.encode(),
        binding.version.to_bytes(8),
        binding.purpose.encode(),
    )
