"""This module is where the environment is read, once; everything below is handed values."""

from __future__ import annotations

import os
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from gateway.trusted_documents import TrustedMode
from models.database import DatabaseUrls, PoolOptions, role_url
from models.roles import INGEST, OWNER, PLATFORM, TAIL
from resolvers.webhook_rules import DELAYS_SECONDS

PREFIX = "SIGNALBOX_"
KMS = "kms:"
_NO_WRAPPING_KEY = (
    "SIGNALBOX_SECRETS_KEYS (64 hex digits, as 'openssl rand -hex 32' prints them) or SIGNALBOX_KMS_KEY_ID is needed "
    "in production: it wraps the keys of every secret"
)


class Profile(StrEnum):
    """What is allowed without being asked for."""

    DEMO = "demo"
    PRODUCTION = "production"


class LogFormat(StrEnum):
    """How logs are written."""

    TEXT = "text"
    JSON = "json"


class SettingsError(Exception):
    """A variable has a value that cannot be used; the message names it and what was expected."""


CommaSeparated = Annotated[list[str], NoDecode]


class Settings(BaseSettings):
    """All settings. A variable is SIGNALBOX_ and the field's name; lists are separated by commas."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    profile: Profile = Profile.PRODUCTION
    data_dir: Path = Field(Path(".signalbox"), description="Where embedded servers and demo keys keep their files.")
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    workers: int = Field(1, ge=1, le=64)

    database_url: str | None = Field(None, description="The application's role; embedded when absent.")
    database_owner_url: str | None = Field(None, description="The owner's role; used by migrate only.")
    database_platform_url: str | None = None
    database_ingest_url: str | None = None
    database_tail_url: str | None = None
    database_pool_size: int = Field(10, ge=1, le=200)
    pgbouncer: bool = False
    redis_url: str | None = Field(None, description="redis, rediss, unix, cluster; embedded when absent.")

    allowed_origins: CommaSeparated = Field(default_factory=list)
    allowed_hosts: CommaSeparated = Field(default_factory=list)
    token_keys: CommaSeparated = Field(
        default_factory=list, description="Ed25519 seeds, 64 hex digits each; the first signs."
    )
    refresh_key: str | None = Field(None, description="32 bytes as 64 hex digits; refresh tokens derive from it.")
    secrets_keys: CommaSeparated = Field(
        default_factory=list,
        description="What wraps tenants' data keys: 64 hex digits, or kms: and a key's id. The first wraps.",
    )
    password_memory_kib: int = Field(19456, ge=19456, le=4_194_304, description="Memory of one argon2id evaluation.")
    password_passes: int = Field(2, ge=2, le=64)
    password_parallelism: int = Field(1, ge=1, le=16)
    password_threads: int = Field(2, ge=1, le=64, description="Passwords that are evaluated at once.")
    trusted_proxies: CommaSeparated = Field(
        default_factory=list, description="Addresses and networks whose X-Forwarded-For is believed."
    )
    egress_allow: CommaSeparated = Field(
        default_factory=list, description="Private networks that tenants' addresses may lead to, e.g. 10.1.0.0/16."
    )
    audit_keys: CommaSeparated = Field(
        default_factory=list, description="64 hex digits each; the first chains and seals the audit log."
    )
    audit_anchor: str | None = Field(
        None, description="Where the audit log's signed heads go each minute: a file's path or an https address."
    )
    smtp_url: str | None = Field(
        None, description="Where mails leave: smtp://user:password@host:587 or smtps://; the demo can do without."
    )
    mail_from: str = Field("Signalbox <signalbox@localhost>", description="Who mails are from.")
    account_link: str | None = Field(
        None, description="Where mails lead, e.g. https://app.example/{action}?token={token}; else the token is shown."
    )
    kms_key_id: str | None = Field(None, description="A key in AWS KMS; stands before SECRETS_KEYS.")
    graphiql: bool | None = Field(None, description="Whether GET /graphql shows GraphiQL; yes in the demo.")
    log_format: LogFormat = LogFormat.TEXT
    worker: bool = Field(True, description="Whether serve runs a worker inside.")

    documents: TrustedMode = Field(TrustedMode.OFF, description="off, prefer or only: whether trusted documents run.")
    documents_dir: Path | None = Field(None, description="Where trusted documents stand; needed unless they are off.")
    body_limit_bytes: int = Field(256 * 1024, ge=1024)
    event_retention_days: int = Field(7, ge=1)
    event_retention_count: int = Field(1_000_000, ge=1000)
    activity_retention_days: float = Field(7, ge=1, description="How long it is kept what workspaces did.")
    conversation_retention_days: float = Field(
        90, ge=1, description="After the last word in them conversations are deleted; a tenant's settings can say else."
    )
    tenant_deletion_days: float = Field(30, ge=0, description="How long after its cancellation a tenant is deleted.")
    webhook_retry_seconds: CommaSeparated = Field(
        default_factory=lambda: [f"{one:g}" for one in DELAYS_SECONDS],
        description="Between the attempts of a webhook; one attempt more than there are numbers.",
    )
    webhook_timeout_seconds: float = Field(15, gt=0, le=60, description="How long an endpoint may take to answer.")
    webhook_concurrency: int = Field(32, ge=1, le=1000, description="Webhooks that one process sends at once.")
    sockets_per_user: int = Field(10, ge=1)
    sockets_per_tenant: int = Field(500, ge=1)
    tenant_requests_per_minute: int = Field(600_000, ge=1, description="Where the plan names no limit.")
    user_requests_per_minute: int = Field(12_000, ge=1)
    key_requests_per_minute: int = Field(120_000, ge=1)
    network_requests_per_minute: int = Field(3_000, ge=1, description="Of one network without credentials.")
    network_logins_per_minute: int = Field(60, ge=1, description="Sign-ins and the like of one network.")

    @field_validator(
        "allowed_origins",
        "allowed_hosts",
        "token_keys",
        "secrets_keys",
        "trusted_proxies",
        "egress_allow",
        "audit_keys",
        "webhook_retry_seconds",
        mode="before",
    )
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [one.strip() for one in value.split(",") if one.strip()] if isinstance(value, str) else value

    @field_validator(
        "database_url",
        "database_owner_url",
        "database_platform_url",
        "database_ingest_url",
        "database_tail_url",
        mode="after",
    )
    @classmethod
    def _asyncpg(cls, value: str | None) -> str | None:
        if value is None:
            return None
        scheme, separator, rest = value.partition("://")
        if not separator or scheme not in {"postgresql", "postgres", "postgresql+asyncpg"}:
            raise ValueError("a URL like postgresql://signalbox_app:secret@host/signalbox")
        # Plain postgresql:// would mean another driver.
        return f"postgresql+asyncpg://{rest}"

    @field_validator("redis_url", mode="after")
    @classmethod
    def _redis(cls, value: str | None) -> str | None:
        schemes = {"redis", "rediss", "unix", "memory", "cluster"}
        if value is not None and value.partition("://")[0] not in schemes:
            raise ValueError("a URL like redis://host:6379/0 or unix:///path")
        return value

    @field_validator("audit_anchor", mode="after")
    @classmethod
    def _anchor(cls, value: str | None) -> str | None:
        if value is not None and "://" in value and not value.startswith(("http://", "https://")):
            raise ValueError("a file's path or an address like https://host/path")
        return value

    @field_validator("token_keys", "audit_keys", mode="after")
    @classmethod
    def _seeds(cls, value: list[str]) -> list[str]:
        for one in value:
            _key(one)
        return value

    @field_validator("smtp_url", mode="after")
    @classmethod
    def _smtp(cls, value: str | None) -> str | None:
        try:
            parts = urlsplit(value or "smtp://localhost")
            usable = parts.scheme in {"smtp", "smtps"} and parts.hostname and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise ValueError("a URL like smtp://user:password@mail.example:587 or smtps://mail.example")
        return value

    @field_validator("account_link", mode="after")
    @classmethod
    def _link(cls, value: str | None) -> str | None:
        try:
            fits = value is None or ("{token}" in value and bool(value.format_map({"action": "", "token": ""})))
        except (ValueError, LookupError):
            fits = False
        if not fits:
            raise ValueError("an address with {token} and, if wanted, {action} in it")
        return value

    @field_validator("trusted_proxies", "egress_allow", mode="after")
    @classmethod
    def _networks(cls, value: list[str]) -> list[str]:
        try:
            return [str(ip_network(one)) for one in value]
        except ValueError as error:
            raise ValueError("addresses or networks like 10.0.0.0/8") from error

    @field_validator("secrets_keys", mode="after")
    @classmethod
    def _wrapping(cls, value: list[str]) -> list[str]:
        for one in value:
            if not one.removeprefix(KMS) or not one.startswith(KMS):
                _key(one)
        return value

    @field_validator("webhook_retry_seconds", mode="after")
    @classmethod
    def _delays(cls, value: list[str]) -> list[str]:
        try:
            fits = len(value) <= 20 and all(0 <= float(one) <= 7 * 86_400 for one in value)
        except ValueError:
            fits = False
        if not fits:
            raise ValueError("at most 20 numbers of seconds like 5,300,1800, none over a week")
        return value

    @field_validator("refresh_key", mode="after")
    @classmethod
    def _refresh(cls, value: str | None) -> str | None:
        if value is not None:
            _key(value)
        return value

    @model_validator(mode="after")
    def _production(self) -> Settings:
        if self.profile is Profile.PRODUCTION and self.database_url is not None and not self.token_keys:
            raise ValueError("SIGNALBOX_TOKEN_KEYS is needed in production: 64 hex digits, the first key signs")
        if self.profile is Profile.PRODUCTION and self.database_url is not None and not self.audit_keys:
            # A key in the data directory would be another one on every machine, and the chain broken.
            raise ValueError("SIGNALBOX_AUDIT_KEYS is needed in production: 64 hex digits, the first key chains")
        if self.database_url is not None and self.lacks_wrapping_key:
            raise ValueError(_NO_WRAPPING_KEY)
        return self

    @model_validator(mode="after")
    def _trusted(self) -> Settings:
        if self.documents is not TrustedMode.OFF and self.documents_dir is None:
            raise ValueError("SIGNALBOX_DOCUMENTS_DIR is needed: the directory of the trusted documents")
        return self

    @property
    def wrapping_keys(self) -> list[str]:
        """What wraps tenants' data keys, the first first; empty where the demo makes its own."""
        return ([KMS + self.kms_key_id] if self.kms_key_id else []) + self.secrets_keys

    @property
    def lacks_wrapping_key(self) -> bool:
        """Whether nothing wraps data keys but a file in the data directory, outside the demo."""
        return not self.is_demo and not self.wrapping_keys

    @property
    def is_demo(self) -> bool:
        """Whether this is the demo profile."""
        return self.profile is Profile.DEMO

    @property
    def shows_graphiql(self) -> bool:
        """Whether browsers get GraphiQL."""
        return self.is_demo if self.graphiql is None else self.graphiql

    @property
    def url(self) -> str:
        """Where people reach this gateway from this machine."""
        host = "127.0.0.1" if self.host in {"0.0.0.0", "::"} else self.host  # noqa: S104 - compared, not bound
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def egress_networks(self) -> list[IPv4Network | IPv6Network]:
        """The private networks that the gateway may ask on a tenant's behalf."""
        return [ip_network(one) for one in self.egress_allow]

    def webhook_delays(self) -> tuple[float, ...]:
        """Seconds between the attempts of a webhook."""
        return tuple(float(one) for one in self.webhook_retry_seconds)

    def pool(self) -> PoolOptions:
        """How the serving role's connections are pooled."""
        return PoolOptions(size=self.database_pool_size, pgbouncer=self.pgbouncer)

    def database_urls(self) -> DatabaseUrls:
        """Where each role connects: as set, else the application's host. Needs ``database_url``."""
        assert self.database_url is not None
        return DatabaseUrls(
            app=self.database_url,
            platform=self.database_platform_url or role_url(self.database_url, PLATFORM),
            ingest=self.database_ingest_url or role_url(self.database_url, INGEST),
            tail=self.database_tail_url or role_url(self.database_url, TAIL),
        )

    def owner_url(self) -> str:
        """Where migrations connect. Needs ``database_url``."""
        assert self.database_url is not None
        return self.database_owner_url or role_url(self.database_url, OWNER)


def _key(text: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise ValueError("64 hex digits (32 bytes)")
    return key


def for_serving(**given: Any) -> Settings:
    """The settings of a process that serves. Raises SettingsError, also for production without a wrapping key."""
    settings = load(**given)
    if settings.lacks_wrapping_key:
        raise SettingsError(_NO_WRAPPING_KEY)
    return settings


def hand_down(settings: Settings) -> None:
    """Leave ``settings`` in the environment for processes that this one starts."""
    for name, value in settings.model_dump(mode="json", exclude_none=True).items():
        os.environ[f"{PREFIX}{name}".upper()] = ",".join(value) if isinstance(value, list) else str(value)


def load(**given: Any) -> Settings:
    """The settings, with what the command line says on top. Raises SettingsError with one line per bad variable."""
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise SettingsError("; ".join(_problem(one) for one in error.errors())) from error


def _problem(one: Any) -> str:
    name = f"{PREFIX}{one['loc'][0]}".upper() + ": " if one["loc"] else ""
    return f"{name}{one['msg'].removeprefix('Value error, ')}"
