"""This module is where the keys that wrap tenants' data keys are held: given as settings, or in a KMS."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Any, Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.settings import SettingsError
from models.envelope import KEY_BYTES, Unreadable, length_prefixed
from resolvers.keyring import KeyContext, KeyNotAtHand, KeyProvider, WrappedKey

_NONCE: Final = 12
_KMS_SECONDS: Final = 2.0
"""To connect, and to answer; two tries stay below what the database lets a transaction idle."""


class LocalKeys:
    """Keys that the settings name; the first wraps, all of them unwrap."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = {_name_of(key): AESGCM(key) for key in keys}
        self.name = _name_of(keys[0])

    def holds(self, name: str) -> bool:
        """Whether what ``name`` wrapped can be unwrapped here."""
        return name in self._keys

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


class KmsKey:
    """A key in AWS KMS: it wraps there, and its own bytes are nowhere else.

    Region, address and credentials are found as all of AWS's tools find them.
    """

    def __init__(self, key_id: str) -> None:
        """Asks the KMS for the key once. Raises SettingsError when it cannot be used."""
        try:
            import boto3
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError, ClientError
        except ImportError as error:
            raise SettingsError("SIGNALBOX_KMS_KEY_ID: boto3 is not installed; install signalbox[kms]") from error
        self._troubles = (BotoCoreError, ClientError)
        limits = Config(
            connect_timeout=_KMS_SECONDS,
            read_timeout=_KMS_SECONDS,
            retries={"total_max_attempts": 2, "mode": "standard"},
        )
        try:
            # A session of its own: the library's shared one keeps the credentials that it found first.
            self._client: Any = boto3.Session().client("kms", config=limits)
            self._arn: str = self._client.describe_key(KeyId=key_id)["KeyMetadata"]["Arn"]
        except self._troubles as error:
            raise SettingsError(f"SIGNALBOX_KMS_KEY_ID: {key_id} cannot be used: {error}") from error
        # The ARN: an alias may name another key tomorrow.
        self.name = f"kms:{self._arn}"

    def holds(self, name: str) -> bool:
        """Whether what ``name`` wrapped can be unwrapped here: by any key of the KMS that we may use."""
        return name.startswith("kms:")

    async def make(self, context: KeyContext) -> WrappedKey:
        """A new data key, made and wrapped in the KMS. Raises KeyNotAtHand."""
        made = await self._ask(
            self._client.generate_data_key,
            KeyId=self._arn,
            KeySpec="AES_256",
            EncryptionContext=_encryption_context(context),
        )
        return WrappedKey(made["CiphertextBlob"], self.name, made["Plaintext"])

    async def unwrap(self, wrapped: bytes, name: str, context: KeyContext) -> bytes:
        """The data key. Raises KeyNotAtHand, Unreadable."""
        answer = await self._ask(
            self._client.decrypt,
            KeyId=name.removeprefix("kms:"),
            CiphertextBlob=wrapped,
            EncryptionContext=_encryption_context(context),
        )
        material: bytes = answer["Plaintext"]
        return material

    async def _ask(self, action: Any, **said: Any) -> Any:
        try:
            return await asyncio.to_thread(action, **said)
        except self._troubles as error:
            code = getattr(error, "response", {}).get("Error", {}).get("Code")
            raise (Unreadable if code == "InvalidCiphertextException" else KeyNotAtHand) from error


class HoldsKeys(KeyProvider, Protocol):
    """A provider that knows which wrapped keys are its own."""

    def holds(self, name: str) -> bool:
        """Whether what ``name`` wrapped can be unwrapped here."""
        ...


class SeveralKeys:
    """Providers of which the first wraps and each unwraps its own: how one is left for another."""

    def __init__(self, providers: Sequence[HoldsKeys]) -> None:
        self._providers = providers
        self.name = providers[0].name

    async def make(self, context: KeyContext) -> WrappedKey:
        """A new data key of the first provider's. Raises KeyNotAtHand."""
        return await self._providers[0].make(context)

    async def unwrap(self, wrapped: bytes, name: str, context: KeyContext) -> bytes:
        """The data key. Raises KeyNotAtHand, Unreadable."""
        for provider in self._providers:
            if provider.holds(name):
                return await provider.unwrap(wrapped, name, context)
        raise KeyNotAtHand


def _name_of(key: bytes) -> str:
    """A name that tells keys apart and nothing about them."""
    return f"local:{hmac.digest(key, b'signalbox key name', hashlib.sha256).hex()[:16]}"


def _associated(name: str, context: KeyContext) -> bytes:
    return length_prefixed(b"signalbox data key", name.encode(), context.tenant_id.bytes, context.version.to_bytes(4))


def _encryption_context(context: KeyContext) -> dict[str, str]:
    return {"signalbox": "data key", "tenant": str(context.tenant_id), "version": str(context.version)}
