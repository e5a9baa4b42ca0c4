"""This module is where the keys that wrap tenants' data keys are held: given as settings, or in a KMS."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from models.envelope import KEY_BYTES, Unreadable, length_prefixed
from resolvers.keyring import KeyContext, KeyNotAtHand, WrappedKey

_NONCE: Final = 12


class LocalKeys:
    """Keys that the settings name; the first wraps, all of them unwrap."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = {_name_of(key): AESGCM(key) for key in keys}
        self.name = _name_of(keys[0])

    async def make(self, context: KeyContext) -> WrappedKey:
        """A new data key, wrapped by the first key."""
        material, nonce = secrets.token_bytes(KEY_BYTES), secrets.token_bytes(_NONCE)
        wrapped = nonce + self._keys[self.name].encrypt(nonce, material, _associated(self.name, context))
        return WrappedKey(wrapped, self.name, material)

    async def unwrap(self, wrapped: bytes, name: str, context: KeyContext) -> bytes:
        """The data key. Raises KeyNotAtHand, Unreadable."""
        key = self._keys.get(name)
        if key is None:
            raise KeyNotAtHand
        try:
            return key.decrypt(wrapped[:_NONCE], wrapped[_NONCE:], _associated(name, context))
        except (InvalidTag, ValueError) as error:
            raise Unreadable from error


def _name_of(key: bytes) -> str:
    """A name that tells keys apart and nothing about them."""
    return f"local:{hmac.digest(key, b'signalbox key name', hashlib.sha256).hex()[:16]}"


def _associated(name: str, context: KeyContext) -> bytes:
    return length_prefixed(b"signalbox data key", name.encode(), context.tenant_id.bytes, context.version.to_bytes(4))
