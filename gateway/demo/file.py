"""This module is where ``demo.json`` is written and read: addresses, logins and keys of the demo's tenants."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from gateway.settings import SettingsError

NAME: Final = "demo.json"


@dataclass(frozen=True, slots=True)
class DemoUser:
    """Who can sign in, and how."""

    email: str
    password: str
    roles: list[str]


@dataclass(frozen=True, slots=True)
class DemoKey:
    """An API key with its text."""

    name: str
    secret: str
    scopes: list[str]


@dataclass(frozen=True, slots=True)
class DemoTenant:
    """One tenant's ways in."""

    slug: str
    users: list[DemoUser]
    api_keys: list[DemoKey]


@dataclass(frozen=True, slots=True)
class DemoFile:
    """What the file holds. ``platform_admin`` signs in without a tenant."""

    url: str
    tenants: list[DemoTenant]
    platform_admin: dict[str, str] = field(default_factory=dict)

    def secret(self, slug: str, key_name: str) -> str | None:
        """The text of a tenant's key; None when the file has none of this name."""
        keys = (key for tenant in self.tenants if tenant.slug == slug for key in tenant.api_keys)
        return next((key.secret for key in keys if key.name == key_name), None)

    def write(self, data_dir: Path) -> Path:
        """Replace the file in one step, readable by its owner only. Raises SettingsError."""
        path = data_dir / NAME
        draft = path.with_suffix(f".{os.getpid()}")
        try:
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft.unlink(missing_ok=True)
            # Made with these rights: between a write and a chmod everybody could read the secrets.
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                json.dump(asdict(self), file, indent=2)
                file.write("\n")
            draft.replace(path)
        except OSError as error:
            raise SettingsError(f"SIGNALBOX_DATA_DIR: {path} cannot be written: {error.strerror}") from error
        return path


def read_demo(data_dir: Path) -> DemoFile | None:
    """What an earlier start wrote; None when there is nothing, or nothing that can be read."""
    try:
        return _demo(json.loads((data_dir / NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _demo(said: dict[str, Any]) -> DemoFile:
    tenants = [
        DemoTenant(
            one["slug"],
            [DemoUser(**user) for user in one["users"]],
            [DemoKey(**key) for key in one["api_keys"]],
        )
        for one in said["tenants"]
    ]
    return DemoFile(str(said["url"]), tenants, dict(said.get("platform_admin", {})))
