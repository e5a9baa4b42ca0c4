"""This module is where opaque credentials are written and read: API keys, refresh tokens and one-time tokens.

Security boundary: a credential's text names its tenant and its row, which only binds the look-up; the hash of the
whole text decides. The checksum tells a typo from a wrong key without asking the database, and lets scanners find
leaked keys without false alarms; it protects nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import zlib
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from models.ids import InvalidId, from_suffix, suffix

SECRET_BYTES: Final = 32
_SECRET_LENGTH: Final = 43  # 62**43 is the first power above 2**256
_CHECKSUM_LENGTH: Final = 6  # 62**6 is the first power above 2**32
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ENVIRONMENT: Final = re.compile(r"[a-z0-9]{1,16}")
_API_KEY: Final = re.compile(
    r"(sbx_([a-z0-9]{1,16})_([0-9a-z]{26})_([0-9a-z]{26})_[0-9A-Za-z]{43})_([0-9A-Za-z]{6})", re.ASCII
)
_ONE_TIME_TOKEN: Final = re.compile(r"sbo_([0-9a-z]{26})_([0-9a-z]{26})_[0-9A-Za-z]{43}", re.ASCII)
_REFRESH_TOKEN: Final = re.compile(r"sbr_([0-9a-z]{26})_([0-9a-z]{26})_[0-9A-Za-z]{43}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Bearer:
    """A well-formed credential: whose it says it is, and the hash that has to prove it."""

    tenant_id: UUID
    row_id: UUID
    hash: bytes

    def proves(self, stored_hash: bytes) -> bool:
        """Whether this is the credential ``stored_hash`` was made of; takes the same time either way."""
        return hmac.compare_digest(self.hash, stored_hash)


def new_api_key(environment: str, tenant_id: UUID, key_id: UUID) -> str:
    """A new key's text, shown once: ``sbx_<env>_<tenant>_<id>_<secret>_<checksum>``."""
    if not _ENVIRONMENT.fullmatch(environment):
        raise ValueError("an environment is named by 1 to 16 of a-z and 0-9")
    body = f"{key_prefix(environment, tenant_id, key_id)}_{_new_secret()}"
    return f"{body}_{_checksum(body)}"


def key_prefix(environment: str, tenant_id: UUID, key_id: UUID) -> str:
    """The part of a key's text that is no secret: enough to find its row, or its place in a configuration."""
    return f"sbx_{environment}_{suffix(tenant_id)}_{suffix(key_id)}"


def read_api_key(text: str, environment: str) -> Bearer | None:
    """The key that ``text`` claims to be; None for a typo, another environment's key, or anything else."""
    match = _API_KEY.fullmatch(text)
    if match is None or match[2] != environment or match[5] != _checksum(match[1]):
        return None
    return _bearer(text, match[3], match[4])


def new_refresh_token(tenant_id: UUID, family_id: UUID) -> str:
    """A new family's first refresh token: ``sbr_<tenant>_<family>_<secret>``."""
    return _refresh_token(tenant_id, family_id, _new_secret())


def successor_of(token: str, bearer: Bearer, refresh_key: bytes) -> str:
    """The refresh token that replaces ``token``: derived, not drawn, so a retry gets the same one again."""
    derived = hmac.digest(refresh_key, bearer.row_id.bytes + token.encode(), "sha256")
    return _refresh_token(bearer.tenant_id, bearer.row_id, _base62(int.from_bytes(derived), _SECRET_LENGTH))


def read_refresh_token(text: str) -> Bearer | None:
    """The token that ``text`` claims to be (its row is its family's session); None for anything malformed."""
    match = _REFRESH_TOKEN.fullmatch(text)
    return _bearer(text, match[1], match[2]) if match else None


def one_time_token(key: bytes, purpose: str, tenant_id: UUID, token_id: UUID) -> str:
    """The token of a row: ``sbo_<tenant>_<id>_<secret>``.

    Derived, not drawn: a mail that has to be sent again carries the same one, though only its hash is stored.
    """
    derived = hmac.digest(key, b"one-time" + tenant_id.bytes + token_id.bytes + purpose.encode(), "sha256")
    secret = _base62(int.from_bytes(derived), _SECRET_LENGTH)
    return f"sbo_{suffix(tenant_id)}_{suffix(token_id)}_{secret}"


def read_one_time_token(text: str) -> Bearer | None:
    """The token that ``text`` claims to be; None for anything malformed."""
    match = _ONE_TIME_TOKEN.fullmatch(text)
    return _bearer(text, match[1], match[2]) if match else None


def hash_of(text: str) -> bytes:
    """What is stored of a credential. Its secret has 256 random bits, so one plain SHA-256 is enough."""
    return hashlib.sha256(text.encode()).digest()


def _bearer(text: str, tenant: str, row: str) -> Bearer | None:
    try:
        return Bearer(from_suffix(tenant), from_suffix(row), hash_of(text))
    except InvalidId:
        return None


def _refresh_token(tenant_id: UUID, family_id: UUID, secret: str) -> str:
    return f"sbr_{suffix(tenant_id)}_{suffix(family_id)}_{secret}"


def _new_secret() -> str:
    return _base62(int.from_bytes(secrets.token_bytes(SECRET_BYTES)), _SECRET_LENGTH)


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECKSUM_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
