"""This module is where a tenant says which language models it has, with what keys, and which one is the default.

Security boundary: a key goes in and never comes out; it is opened by what calls the model, inside the gateway.
"""

from __future__ import annotations

from typing import Any, Final, TypedDict, Unpack
from uuid import UUID

from pydantic import Field

from dataloaders.catalog import agent_of_provider, default_provider
from models import LlmProvider, LlmProviderType, SecretOwner
from models.errors import Refusal, RefusalCode
from models.ids import uuid7
from resolvers.call import Call
from resolvers.changing import refuse_cleared
from resolvers.placeholders import refuse_secrets
from resolvers.secrets import Owner, forget_secrets, keep_secret, plaintext_of
from resolvers.shapes import Shape, shaped
from resolvers.uniqueness import flush_unique
from resolvers.unit_of_work import UnitOfWork
from resolvers.validation import document, line, web_address

NAME_LIMIT: Final = 100
CONFIG_LIMIT_BYTES: Final = 16_384
KEY: Final = "API_KEY"
"""Under which of the provider's secrets its key is kept."""

DEFAULTS: Final = {"temperature": 0.3, "max_tokens": 2000}

_TAKEN: Final = {"uq_llm_providers_name": ("name", "There is a model provider of this name already.")}


class ProviderConfig(Shape):
    """How a model is asked."""

    temperature: float = Field(default=0.3, ge=0, le=2)
    max_tokens: int = Field(default=2000, ge=1, le=1_000_000)


class ProviderFields(TypedDict, total=False):
    """What can be said of a provider when it is made and later; absent stays, None clears."""

    api_key: str | None
    is_default: bool
    is_enabled: bool
    api_base_url: str | None
    config: dict[str, Any] | None


class ProviderChanges(ProviderFields, total=False):
    """What an update may say besides."""

    name: str
    provider_type: LlmProviderType
    model_id: str


async def create_llm_provider(
    call: Call, *, name: str, provider_type: LlmProviderType, model_id: str, **fields: Unpack[ProviderFields]
) -> LlmProvider:
    """A new provider; as the default it takes the place of the one before. Raises INVALID, ALREADY_EXISTS. Commits."""
    said = {"config": None, **fields, "name": name, "model_id": model_id}
    columns, key = _cleaned(said)
    provider = LlmProvider(
        **{"id": uuid7(), "is_default": False, "is_enabled": True, "provider_type": provider_type, **columns}
    )
    async with call.work() as work:
        # Before any row is locked: this may ask a KMS.
        data_key = await call.services.keyring.current(work.session) if key is not None else None
        work.tell(provider, "llm_provider.created", None)
        if provider.is_default:
            await _make_room(work)
        if key is not None and data_key is not None:
            owner = Owner(SecretOwner.LLM_PROVIDER, provider.id)
            provider.secret_id = (await keep_secret(call, work, owner, KEY, key, data_key)).id
        work.add(provider)
        await flush_unique(work, _TAKEN)
    return provider


async def update_llm_provider(
    call: Call, *, id: UUID, expected_version: int, **changes: Unpack[ProviderChanges]
) -> LlmProvider:
    """Change a provider; made the default, it takes the place of the one before. Commits.

    Raises INVALID, NOT_FOUND, CONFLICT, ALREADY_EXISTS.
    """
    refuse_cleared(changes, "provider_type", "is_default", "is_enabled")
    columns, key = _cleaned(dict(changes))
    async with call.work() as work:
        data_key = await call.services.keyring.current(work.session) if key is not None else None
        if columns.get("is_default"):
            await _lock_default(work)
        provider = await work.locked(LlmProvider, id, expected_version=expected_version, what="model provider")
        before = provider.facets()
        changed = sorted(name for name, value in columns.items() if getattr(provider, name) != value)
        if "is_default" in changed and columns["is_default"]:
            await _make_room(work)
        if "api_key" in changes:
            owner = Owner(SecretOwner.LLM_PROVIDER, id)
            if key is not None and data_key is not None:
                secret_id = (await keep_secret(call, work, owner, KEY, key, data_key)).id
            else:
                await forget_secrets(work, owner, KEY)
                secret_id = None
            # A key in the place of another changes no column, and is a change all the same.
            provider.secret_id, provider.updated_at = secret_id, work.now
            changed.append("api_key")
        for name in changed:
            if name in columns:
                setattr(provider, name, columns[name])
        if changed:
            await flush_unique(work, _TAKEN)
            told = {"changed": sorted(changed)}
            work.tell(provider, "llm_provider.updated", before, told)
    return provider


async def delete_llm_provider(call: Call, *, id: UUID, expected_version: int | None = None) -> str:
    """Forget a provider and its key; its TypeID. Raises NOT_FOUND, CONFLICT while agents use it. Commits."""
    async with call.work() as work:
        provider = await work.locked(LlmProvider, id, expected_version=expected_version, what="model provider")
        if await agent_of_provider(work.session, id) is not None:
            raise Refusal(RefusalCode.CONFLICT, "Agents use this provider.", field=("input", "id"), current=provider)
        await work.session.delete(provider)
        await work.session.flush()
        work.tell(provider, "llm_provider.deleted", provider.facets(), gone=True)
        await forget_secrets(work, Owner(SecretOwner.LLM_PROVIDER, id))
    return provider.typeid


async def _lock_default(work: UnitOfWork) -> None:
    # Two that become the default at once would each find the same one to replace, and lock it crosswise.
    await work.lock_name("default_provider")


async def _make_room(work: UnitOfWork) -> None:
    """The present default is one no more, with an event of its own."""
    await _lock_default(work)
    present = await default_provider(work.session)
    if present is None:
        return
    before = present.facets()
    present.is_default = False
    await work.session.flush()
    work.tell(present, "llm_provider.updated", before, {"changed": ["is_default"]})


def _cleaned(said: dict[str, Any]) -> tuple[dict[str, Any], bytes | None]:
    cleaned = dict(said)
    key = cleaned.pop("api_key", None)
    for name, field in (("name", "name"), ("model_id", "modelId")):
        if name in cleaned:
            cleaned[name] = line(cleaned[name] or "", NAME_LIMIT, field)
    if cleaned.get("api_base_url") is not None:
        cleaned["api_base_url"] = web_address(cleaned["api_base_url"], "apiBaseUrl")
    if "config" in cleaned:
        value = cleaned["config"]
        config = document({} if value is None else value, CONFIG_LIMIT_BYTES, "config")
        refuse_secrets(shaped(ProviderConfig, config, "config"), "config")
        cleaned["config"] = {**DEFAULTS, **config}
    return cleaned, plaintext_of(key, "apiKey") if key is not None else None
