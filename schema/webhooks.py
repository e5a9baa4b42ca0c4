"""This module is where webhooks are seen from outside: who is told of what, and how each telling fared."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from strawberry import ID

import models
from dataloaders.pages import Direction
from dataloaders.webhooks import webhook_deliveries, webhook_endpoints
from models import Scope, WebhookDeliveryState, WebhookDisabledReason, WebhookError
from resolvers import webhooks as use_cases
from schema.commands import DeletePayload, UserError, command, payload, user_errors
from schema.common import Connection, Node, connection, found
from schema.declare import column, describe, node, root_fields, to_one
from schema.inputs import form, optional, required
from schema.users import User

describe(
    WebhookDisabledReason,
    "Why an endpoint is told nothing.",
    MANUAL="Somebody said so.",
    GONE="It answered 410.",
    FAILING="Nothing arrived for days.",
)
describe(
    WebhookDeliveryState,
    "How far a delivery got.",
    PENDING="It is sent as soon as its next attempt is due.",
    DELIVERED="It arrived: the answer was a 2xx.",
    DEAD="It was given up; redeliverWebhook sends it again.",
)
describe(
    WebhookError,
    "Why an attempt failed.",
    ADDRESS_REFUSED="Nobody was asked: the address leads where the gateway does not go, or nowhere.",
    CONNECTION_FAILED="No connection, or one that broke.",
    TIMED_OUT="No answer in time.",
    REFUSED="The answer was none of 2xx; redirects are not followed.",
    SECRET_MISSING="There is nothing to sign with: rotateWebhookSecret makes a new secret.",  # noqa: S106 - a sentence
    OUT_OF_SCOPE="It was planned before the endpoint's scopes became fewer.",
)


class WebhookEndpointOrderField(StrEnum):
    """What endpoints can be sorted by."""

    CREATED_AT = "created_at"


class WebhookDeliveryOrderField(StrEnum):
    """What deliveries can be sorted by."""

    CREATED_AT = "created_at"


describe(WebhookEndpointOrderField, "What endpoints can be sorted by.", CREATED_AT="When it was created.")
describe(WebhookDeliveryOrderField, "What deliveries can be sorted by.", CREATED_AT="When it was planned.")

_KINDS = "Kinds of events, e.g. approval.decided; approval.* is all of a kind, * all there is. 1 to 50."


@node(
    models.WebhookEndpoint,
    "An address that is told of the tenant's events by signed POST requests, at least once each.",
    scope=Scope.WEBHOOKS_MANAGE,
)
class WebhookEndpoint(Node):
    """GraphQL type of models.WebhookEndpoint."""

    url: str = column("Where it is.")
    description: str | None = column("What it is for.")
    event_kinds: list[str] = column(_KINDS)
    scopes: list[str] = column(
        "It is told of events that these scopes may read: those of whoever last changed the endpoint."
    )
    is_enabled: bool = column("Whether it is told anything now.")
    disabled_at: datetime | None = column("Since when it is told nothing.")
    disabled_reason: WebhookDisabledReason | None = column("Why it is told nothing.")
    consecutive_failures: int = column("How many attempts failed since the last that arrived.")
    first_failed_at: datetime | None = column("When the first of them failed.", "failing_since")
    last_delivered_at: datetime | None = column("When something last arrived.")
    previous_secret_expires_at: datetime | None = column("Until when the secret before this one signs, too.")
    created_by: User | None = to_one(models.User, "Who made it; null for machines.", "created_by")
    version: int = column("Rises with every change; say it back as expectedVersion.")
    created_at: datetime = column("When it was created.")
    updated_at: datetime = column("When it last changed.")


@node(models.WebhookDelivery, "One event on its way to one endpoint.", scope=Scope.WEBHOOKS_MANAGE)
class WebhookDelivery(Node):
    """GraphQL type of models.WebhookDelivery."""

    endpoint: WebhookEndpoint | None = to_one(models.WebhookEndpoint, "Where it goes.", "endpoint_id")
    kind: str = column(
        "The event's kind; signalbox.gap tells of events that were deleted before they could be sent, signalbox.ping "
        "of nothing."
    )
    event_id: ID | None = column("The event it tells of, also when the log does not hold it any more.", "event_typeid")
    message_id: str = column("The webhook-id header, by which receivers tell repeats.")
    state: WebhookDeliveryState = column("How far it got.")
    attempt_count: int = column("How many attempts were made, or begun.")
    next_attempt_at: datetime | None = column("When it is tried next, or again if the present attempt gets lost.")
    last_status_code: int | None = column("The HTTP status of the last answer; null without one.")
    last_error: WebhookError | None = column("Why the last attempt failed.")
    last_duration_milliseconds: int | None = column("How long the last attempt took.")
    delivered_at: datetime | None = column("When it arrived.")
    expires_at: datetime | None = column("When it is deleted.")
    created_at: datetime = column("When it was planned.")
    updated_at: datetime = column("When it last changed.")


@form("Which endpoints; fields combine with and.")
class WebhookEndpointFilter:
    """Filter of endpoints."""

    is_enabled: bool | None = optional("Whether it is told anything now.")


@form("How endpoints are sorted; ties are broken by id.")
class WebhookEndpointOrder:
    """Order of endpoints."""

    field: WebhookEndpointOrderField = required("What to sort by.")
    direction: Direction = required("Which end comes first.")


@form("Which deliveries; fields combine with and, lists mean any of.")
class WebhookDeliveryFilter:
    """Filter of deliveries."""

    endpoint_id: ID | None = optional("To this endpoint.", of="webhook")
    state: list[WebhookDeliveryState] | None = optional("That got so far; DEAD is the dead-letter list.")
    kind: list[str] | None = optional("Of exactly these kinds.")


@form("How deliveries are sorted; ties are broken by id.")
class WebhookDeliveryOrder:
    """Order of deliveries."""

    field: WebhookDeliveryOrderField = required("What to sort by.")
    direction: Direction = required("Which end comes first.")


@form("A new endpoint.")
class CreateWebhookEndpointInput:
    """Input of createWebhookEndpoint."""

    url: str = required("An https address; http only in networks that the operator admits. At most 2,048 characters.")
    event_kinds: list[str] = required(_KINDS)
    description: str | None = optional("At most 1,000 characters.")
    is_enabled: bool | None = optional("Whether it is told anything; true when absent.")
    idempotency_key: str | None = optional("Makes a retry safe for 24 hours; at most 255 characters.")


@form("Changes of an endpoint; absent stays, null clears.")
class UpdateWebhookEndpointInput:
    """Input of updateWebhookEndpoint."""

    id: ID = required("Which one.", of="webhook")
    expected_version: int = required("The version these changes were made from.")
    url: str | None = optional("An https address; http only in networks that the operator admits.")
    event_kinds: list[str] | None = optional("All of them, in the place of what was there.")
    description: str | None = optional("At most 1,000 characters.")
    is_enabled: bool | None = optional("false tells it nothing; true goes on where it stood in the log.")


@form("Whose secret is replaced.")
class RotateWebhookSecretInput:
    """Input of rotateWebhookSecret."""

    id: ID = required("Which endpoint.", of="webhook")
    overlap_seconds: int | None = optional(
        "For how long the old secret signs beside the new one: 0 to 604,800, a day when absent."
    )


@form("Which endpoint goes.")
class DeleteWebhookEndpointInput:
    """Input of deleteWebhookEndpoint."""

    id: ID = required("Which one.", of="webhook")
    expected_version: int | None = optional("Refuse when it has changed since this version.")


@form("Which endpoint is tried.")
class TestWebhookEndpointInput:
    """Input of testWebhookEndpoint."""

    id: ID = required("Which one.", of="webhook")


@form("Which delivery is sent again.")
class RedeliverWebhookInput:
    """Input of redeliverWebhook."""

    id: ID = required("Which one.", of="delivery")


@form("Whose dead deliveries are sent again.")
class RedeliverWebhooksInput:
    """Input of redeliverWebhooks."""

    endpoint_id: ID = required("Which endpoint.", of="webhook")


@payload("An endpoint with its secret.")
class WebhookSecretPayload:
    """Payload of createWebhookEndpoint and rotateWebhookSecret."""

    webhook_endpoint: WebhookEndpoint | None = column("The endpoint.")
    secret: str | None = column("What its deliveries are signed with, whsec_ and base64. Shown once, here.")
    user_errors: list[UserError] = user_errors()


@payload("An endpoint after a change.")
class WebhookEndpointPayload:
    """Payload of updateWebhookEndpoint."""

    webhook_endpoint: WebhookEndpoint | None = column("The endpoint as it is now.")
    user_errors: list[UserError] = user_errors()


@payload("A delivery after a change.")
class WebhookDeliveryPayload:
    """Payload of testWebhookEndpoint and redeliverWebhook."""

    webhook_delivery: WebhookDelivery | None = column("The delivery as it is now.")
    user_errors: list[UserError] = user_errors()


@payload("An endpoint whose dead deliveries are sent again.")
class RedeliverWebhooksPayload:
    """Payload of redeliverWebhooks."""

    webhook_endpoint: WebhookEndpoint | None = column("The endpoint.")
    queued_count: int | None = column("How many deliveries are sent again.")
    has_more: bool | None = column("Whether there are more: ask again.")
    user_errors: list[UserError] = user_errors()


@root_fields
class WebhookQueries:
    """Root fields over webhooks."""

    webhook_endpoints: Connection[WebhookEndpoint] | None = connection(
        webhook_endpoints, "The tenant's endpoints.", filter=WebhookEndpointFilter, order=WebhookEndpointOrder
    )
    webhook_endpoint: WebhookEndpoint | None = found(models.WebhookEndpoint, "One endpoint.")
    webhook_deliveries: Connection[WebhookDelivery] | None = connection(
        webhook_deliveries,
        "What was sent, is to be sent, or was given up; kept for a week, given up for a month.",
        filter=WebhookDeliveryFilter,
        order=WebhookDeliveryOrder,
    )


@root_fields
class WebhookMutations:
    """What can be done with webhooks."""

    create_webhook_endpoint: WebhookSecretPayload | None = command(
        use_cases.create_webhook_endpoint,
        "Makes an endpoint, which is told of what happens from now on; its secret is shown once.",
        input=CreateWebhookEndpointInput,
        payload=WebhookSecretPayload,
        scope=Scope.WEBHOOKS_MANAGE,
    )
    update_webhook_endpoint: WebhookEndpointPayload | None = command(
        use_cases.update_webhook_endpoint,
        "Changes an endpoint; from then on it is told of what the caller may read.",
        input=UpdateWebhookEndpointInput,
        payload=WebhookEndpointPayload,
        scope=Scope.WEBHOOKS_MANAGE,
        keep_null=True,
    )
    rotate_webhook_secret: WebhookSecretPayload | None = command(
        use_cases.rotate_webhook_secret,
        "Replaces an endpoint's secret; both sign until the overlap is over. The new one is shown once.",
        input=RotateWebhookSecretInput,
        payload=WebhookSecretPayload,
        scope=Scope.WEBHOOKS_MANAGE,
    )
    delete_webhook_endpoint: DeletePayload | None = command(
        use_cases.delete_webhook_endpoint,
        "Forgets an endpoint, with its secret and its deliveries.",
        input=DeleteWebhookEndpointInput,
        payload=DeletePayload,
        scope=Scope.WEBHOOKS_MANAGE,
    )
    test_webhook_endpoint: WebhookDeliveryPayload | None = command(
        use_cases.ping_webhook_endpoint,
        "Sends an endpoint a signalbox.ping. ILLEGAL_TRANSITION while it is disabled.",
        input=TestWebhookEndpointInput,
        payload=WebhookDeliveryPayload,
        scope=Scope.WEBHOOKS_MANAGE,
    )
    redeliver_webhook: WebhookDeliveryPayload | None = command(
        use_cases.redeliver_webhook,
        "Sends a delivery again that arrived or was given up. EXPIRED when the log does not hold the event any more.",
        input=RedeliverWebhookInput,
        payload=WebhookDeliveryPayload,
        scope=Scope.WEBHOOKS_MANAGE,
    )
    redeliver_webhooks: RedeliverWebhooksPayload | None = command(
        use_cases.redeliver_webhooks,
        "Sends again what was given up of an endpoint, oldest first, at most 1,000 at once.",
        input=RedeliverWebhooksInput,
        payload=RedeliverWebhooksPayload,
        scope=Scope.WEBHOOKS_MANAGE,
    )
