"""This module is where signing keys come from: the settings, or in the demo files that it makes itself."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.key_providers import KmsKey, LocalKeys, SeveralKeys
from gateway.settings import KMS, Settings, SettingsError
from models.sealing import AuditKeys
from resolvers.keyring import KeyProvider


def token_keys(settings: Settings) -> list[Ed25519PrivateKey]:
    """The keys of access tokens; the first signs."""
    seeds = [bytes.fromhex(one) for one in settings.token_keys] or [_own(settings, "token.key")]
    return [Ed25519PrivateKey.from_private_bytes(seed) for seed in seeds]


def refresh_key(settings: Settings) -> bytes:
    """The key that refresh tokens' successors derive from."""
    return bytes.fromhex(settings.refresh_key) if settings.refresh_key else _own(settings, "refresh.key")


def key_provider(settings: Settings) -> KeyProvider:
    """What wraps the tenants' data keys. Raises SettingsError when a KMS cannot be used."""
    named = settings.wrapping_keys or [_own(settings, "secrets.key").hex()]
    return SeveralKeys(
        [KmsKey(one.removeprefix(KMS)) if one.startswith(KMS) else LocalKeys([bytes.fromhex(one)]) for one in named]
    )


def audit_keys(settings: Settings) -> AuditKeys:
    """The keys of the audit log; the first chains and seals."""
    return AuditKeys([bytes.fromhex(one) for one in settings.audit_keys] or [_own(settings, "audit.key")])


def _own(settings: Settings, name: str) -> bytes:
    """A key in the data directory, made when first asked for; two processes that start together share it."""
    path = settings.data_dir / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_text(secrets.token_hex(32))
        draft.chmod(0o600)
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
        return _read(path)
    except OSError as error:
        raise SettingsError(f"SIGNALBOX_DATA_DIR: {path.parent} cannot be used: {error.strerror}") from error


def _read(path: Path) -> bytes:
    return bytes.fromhex(path.read_text())
