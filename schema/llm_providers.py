"""This module is where model providers are seen from outside: which models there are, and never their keys."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from strawberry import ID

import models
from dataloaders.catalog import llm_providers
from dataloaders.pages import Direction
from models import LlmProviderType, Scope
from resolvers import llm_providers as use_cases
from schema.commands import DeletePayload, UserError, command, payload, user_errors
from schema.common import JSON, Connection, Node, connection, found
from schema.declare import column, describe, node, root_fields
from schema.inputs import form, optional, required

describe(
    LlmProviderType,
    "Whose interface a model provider speaks.",
    ANTHROPIC="Anthropic's.",
    OPENAI="OpenAI's, and whoever speaks the same.",
    GOOGLE="Google's.",
    OLLAMA="Ollama's, for models of one's own.",
)


class LlmProviderOrderField(StrEnum):
    """What providers can be sorted by."""

    CREATED_AT = "created_at"
    NAME = "name"


describe(
    LlmProviderOrderField,
    "What model providers can be sorted by.",
    CREATED_AT="When it was created.",
    NAME="Its name.",
)


@node(
    models.LlmProvider,
    "A language model at a provider. Its key goes in and never comes out.",
    scope=Scope.CATALOG_READ,
)
class LlmProvider(Node):
    """GraphQL type of models.LlmProvider."""

    name: str = column("What people call it; unique in the tenant.")
    provider_type: LlmProviderType = column("Whose interface it speaks.")
    model_id: str = column("The provider's name of the model, e.g. claude-sonnet-4-6.")
    has_key: bool = column("Whether a key is stored.")
    is_default: bool = column("Whether it is asked where nobody says which; at most one of a tenant is.")
    is_enabled: bool = column("Whether it may be asked.")
    api_base_url: str | None = column("Where it is, if not at the provider's own address.")
    config: JSON = column("How it is asked: temperature, max_tokens and what else it knows.")
    version: int = column("Rises with every change; say it back as expectedVersion.")
    created_at: datetime = column("When it was created.")
    updated_at: datetime = column("When it last changed.")


@form("Which model providers; fields combine with and, lists mean any of.")
class LlmProviderFilter:
    """Filter of providers."""

    name: str | None = optional("Exactly this name.")
    provider_type: list[LlmProviderType] | None = optional("Speaking one of these interfaces.")
    is_enabled: bool | None = optional("Whether it may be asked.")


@form("How model providers are sorted; ties are broken by id.")
class LlmProviderOrder:
    """Order of providers."""

    field: LlmProviderOrderField = required("What to sort by.")
    direction: Direction = required("Which end comes first.")


@form("A new model provider.")
class CreateLlmProviderInput:
    """Input of createLlmProvider."""

    name: str = required("One line of at most 100 characters, unique in the tenant.")
    provider_type: LlmProviderType = required("Whose interface it speaks.")
    model_id: str = required("One line of at most 100 characters.")
    api_key: str | None = optional("Its key. Never shown again.", secret=True)
    is_default: bool | None = optional("Whether it takes the place of the default; false when absent.")
    is_enabled: bool | None = optional("Whether it may be asked; true when absent.")
    api_base_url: str | None = optional("An http or https address.")
    config: JSON | None = optional("temperature (0 to 2, 0.3 when absent), max_tokens (2,000) and more; 16 KiB.")
    idempotency_key: str | None = optional("Makes a retry safe for 24 hours; at most 255 characters.")


@form("Changes of a model provider; absent stays, null clears.")
class UpdateLlmProviderInput:
    """Input of updateLlmProvider."""

    id: ID = required("Which one.", of="provider")
    expected_version: int = required("The version these changes were made from.")
    name: str | None = optional("One line of at most 100 characters, unique in the tenant.")
    provider_type: LlmProviderType | None = optional("Whose interface it speaks.")
    model_id: str | None = optional("One line of at most 100 characters.")
    api_key: str | None = optional("In the place of the key before; null forgets it.", secret=True)
    is_default: bool | None = optional("true takes the place of the default.")
    is_enabled: bool | None = optional("Whether it may be asked.")
    api_base_url: str | None = optional("An http or https address.")
    config: JSON | None = optional("The whole of it, in the place of what was there.")


@form("Which model provider goes.")
class DeleteLlmProviderInput:
    """Input of deleteLlmProvider."""

    id: ID = required("Which one.", of="provider")
    expected_version: int | None = optional("Refuse when it has changed since this version.")


@payload("A model provider after a change.")
class LlmProviderPayload:
    """Payload of provider mutations."""

    llm_provider: LlmProvider | None = column("The provider as it is now.")
    user_errors: list[UserError] = user_errors()


@root_fields
class LlmProviderQueries:
    """Root fields over providers."""

    llm_providers: Connection[LlmProvider] | None = connection(
        llm_providers, "The tenant's model providers.", filter=LlmProviderFilter, order=LlmProviderOrder
    )
    llm_provider: LlmProvider | None = found(models.LlmProvider, "One model provider.")


@root_fields
class LlmProviderMutations:
    """What can be done to providers."""

    create_llm_provider: LlmProviderPayload | None = command(
        use_cases.create_llm_provider,
        "Makes a model provider.",
        input=CreateLlmProviderInput,
        payload=LlmProviderPayload,
        scope=Scope.CATALOG_WRITE,
    )
    update_llm_provider: LlmProviderPayload | None = command(
        use_cases.update_llm_provider,
        "Changes a model provider; the default before it is one no more.",
        input=UpdateLlmProviderInput,
        payload=LlmProviderPayload,
        scope=Scope.CATALOG_WRITE,
        keep_null=True,
    )
    delete_llm_provider: DeletePayload | None = command(
        use_cases.delete_llm_provider,
        "Forgets a model provider and its key. CONFLICT while agents use it.",
        input=DeleteLlmProviderInput,
        payload=DeletePayload,
        scope=Scope.CATALOG_WRITE,
    )
