"""This module is where consents are seen from outside."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from strawberry import ID

import models
from dataloaders.pages import Direction
from dataloaders.users import consents
from models import Scope
from resolvers import consents as use_cases
from schema.commands import UserError, command, payload, user_errors
from schema.common import Connection, Node, connection, own_without
from schema.declare import column, describe, node, root_fields, to_one
from schema.inputs import form, optional, required
from schema.users import User


class ConsentOrderField(StrEnum):
    """What consents can be sorted by."""

    CREATED_AT = "created_at"


describe(ConsentOrderField, "What consents can be sorted by.", CREATED_AT="When it was given.")


@node(
    models.UserConsent,
    "One consent that a person gave, and whether it still stands.",
    scope=Scope.USERS_READ,
    own=lambda row, call: call.principal is not None and call.principal.member_id == row.user_id,
)
class Consent(Node):
    """GraphQL type of models.UserConsent."""

    user: User | None = to_one(models.User, "Who gave it.", "user_id")
    consent_type: str = column("What it is for, e.g. data_processing.")
    granted: bool = column("Whether it stands.")
    granted_at: datetime | None = column("When it was given.")
    revoked_at: datetime | None = column("When it was withdrawn.")
    created_at: datetime = column("When it was written down.")


@form("Which consents; fields combine with and, lists mean any of.")
class ConsentFilter:
    """Filter of consents."""

    user_id: ID | None = optional("Of this person.", of="user")
    consent_type: list[str] | None = optional("For one of these.")
    granted: bool | None = optional("Whether they stand.")


@form("How consents are sorted; ties are broken by id.")
class ConsentOrder:
    """Order of consents."""

    field: ConsentOrderField = required("What to sort by.")
    direction: Direction = required("Which end comes first.")


@form("What is consented to.")
class GrantConsentInput:
    """Input of grantConsent."""

    consent_type: str = required("What for: up to 64 lower-case letters, digits and underscores.")
    idempotency_key: str | None = optional("Makes a retry safe for 24 hours; at most 255 characters.")


@form("What is not consented to any more.")
class RevokeConsentInput:
    """Input of revokeConsent."""

    consent_type: str = required("What it was for.")


@payload("A consent after a change.")
class ConsentPayload:
    """Payload of grantConsent."""

    consent: Consent | None = column("The consent as it is now.")
    user_errors: list[UserError] = user_errors()


@payload("The consents that stood.")
class RevokeConsentPayload:
    """Payload of revokeConsent."""

    consents: list[Consent] | None = column(
        "Those that were withdrawn, newest first, at most 100; none stood if empty."
    )
    user_errors: list[UserError] = user_errors()


@root_fields
class ConsentQueries:
    """Root fields over consents."""

    consents: Connection[Consent] | None = connection(
        consents,
        "The tenant's consents; without users:read one's own.",
        filter=ConsentFilter,
        order=ConsentOrder,
        scope=Scope.SIGNED_IN,
        narrow=own_without(Scope.USERS_READ),
    )


@root_fields
class ConsentMutations:
    """What can be done with consents."""

    grant_consent: ConsentPayload | None = command(
        use_cases.grant_consent,
        "Consents, for oneself.",
        input=GrantConsentInput,
        payload=ConsentPayload,
        scope=Scope.SIGNED_IN,
    )
    revoke_consent: RevokeConsentPayload | None = command(
        use_cases.revoke_consent,
        "Withdraws every consent of one kind, for oneself.",
        input=RevokeConsentInput,
        payload=RevokeConsentPayload,
        scope=Scope.SIGNED_IN,
    )
