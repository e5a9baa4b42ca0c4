"""This module is where tenants say who is told of their events over HTTP, and look after what did not arrive.

Security boundary: an endpoint is told of nothing that whoever said where it is may not see, so each change of an
endpoint leaves it with the scopes of its maker; a token of one workspace makes none. Its secret is shown once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypedDict, Unpack
from uuid import UUID

from dataloaders.webhook_queue import MAX_ENDPOINTS
from dataloaders.webhooks import (
    begin_again,
    count_endpoints,
    dead_deliveries,
    endpoint_of,
    log_head,
    log_holds,
    secret_of,
)
from models import (
    Secret,
    SecretOwner,
    WebhookDelivery,
    WebhookDeliveryState,
    WebhookDisabledReason,
    WebhookEndpoint,
)
from models.envelope import DataKey
from models.errors import Forbidden, Refusal, RefusalCode, invalid
from models.ids import uuid7
from models.scopes import GRANTABLE_SCOPES
from models.webhooks import ANY_KIND, PING
from resolvers.call import Call
from resolvers.changing import refuse_cleared, take_over
from resolvers.principal import Principal
from resolvers.secrets import Owner, forget_secrets, keep_secret
from resolvers.unit_of_work import UnitOfWork
from resolvers.validation import prose, web_address, within
from resolvers.webhook_messages import new_signing_secret

DESCRIPTION_LIMIT: Final = 1_000
MOST_KINDS: Final = 50
OVERLAP_SECONDS: Final = 86_400
MAX_OVERLAP_SECONDS: Final = 7 * 86_400
MOST_REDELIVERED: Final = 1_000
"""By one call; whoever has more calls again."""

KEYS: Final = ("SIGNING_KEY", "SIGNING_KEY_2")
"""Under which of the endpoint's secrets they are kept, by turns."""

_KIND: Final = re.compile(r"\*|(?=.{1,100}\Z)[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*(\.\*)?")
_WHAT: Final = "webhook endpoint"


class EndpointFields(TypedDict, total=False):
    """What can be said of an endpoint when it is made and later; absent stays, None clears."""

    description: str | None
    is_enabled: bool


class EndpointChanges(EndpointFields, total=False):
    """What an update may say besides."""

    url: str
    event_kinds: list[str]


@dataclass(frozen=True, slots=True)
class NewSecret:
    """An endpoint with its secret, which is shown once."""

    webhook_endpoint: WebhookEndpoint
    secret: str


@dataclass(frozen=True, slots=True)
class Redelivered:
    """An endpoint whose deliveries are sent again: how many, and whether there are more."""

    webhook_endpoint: WebhookEndpoint
    queued_count: int
    has_more: bool


async def create_webhook_endpoint(
    call: Call, *, url: str, event_kinds: Sequence[str], **said: Unpack[EndpointFields]
) -> NewSecret:
    """An endpoint that is told of what happens from now on. Raises FORBIDDEN, INVALID, LIMIT_EXCEEDED. Commits."""
    _refuse_machines(call.who)
    columns = _cleaned(call, {**said, "url": url, "event_kinds": list(event_kinds)})
    is_enabled = columns.pop("is_enabled", True)
    endpoint = WebhookEndpoint(
        id=uuid7(), created_by=call.who.member_id, scopes=_scopes_of(call.who), is_enabled=True, **columns
    )
    secret = new_signing_secret()
    async with call.work() as work:
        # Before any row is locked: this may ask a KMS.
        data_key = await call.services.keyring.current(work.session)
        await work.lock_name("webhook_endpoints")
        if await count_endpoints(work.session) >= MAX_ENDPOINTS:
            raise Refusal(RefusalCode.LIMIT_EXCEEDED, f"A tenant has at most {MAX_ENDPOINTS} endpoints.")
        if not is_enabled:
            endpoint.disable(WebhookDisabledReason.MANUAL, work.now)
        endpoint.cursor = await log_head(work.session)
        work.tell(endpoint, "webhook.created", None)
        endpoint.secret_id = (await _keep(call, work, endpoint, KEYS[0], secret, data_key)).id
        work.add(endpoint)
        await work.session.flush()
    return NewSecret(endpoint, secret)


async def update_webhook_endpoint(
    call: Call, *, id: UUID, expected_version: int, **changes: Unpack[EndpointChanges]
) -> WebhookEndpoint:
    """Change an endpoint; its scopes become the caller's. Enabled again, it goes on where it stood in the log.

    Raises FORBIDDEN, INVALID, NOT_FOUND, CONFLICT. Commits.
    """
    _refuse_machines(call.who)
    columns = _cleaned(call, dict(changes))
    async with call.work() as work:
        endpoint = await work.locked(WebhookEndpoint, id, expected_version=expected_version, what=_WHAT)
        before = endpoint.facets()
        is_enabled = columns.pop("is_enabled", endpoint.is_enabled)
        columns["scopes"] = _scopes_of(call.who)
        changed = take_over(endpoint, columns)
        if is_enabled != endpoint.is_enabled:
            changed = sorted([*changed, "is_enabled"])
            if is_enabled:
                endpoint.enable()
            else:
                endpoint.disable(WebhookDisabledReason.MANUAL, work.now)
        if changed:
            await work.session.flush()
            work.tell(endpoint, "webhook.updated", before, {"changed": changed})
    return endpoint


async def rotate_webhook_secret(call: Call, *, id: UUID, overlap_seconds: int | None = None) -> NewSecret:
    """A new secret; the old one signs beside it until the overlap is over. One before that signs no more.

    Raises FORBIDDEN, INVALID, NOT_FOUND. Commits.
    """
    _refuse_machines(call.who)
    overlap = OVERLAP_SECONDS if overlap_seconds is None else overlap_seconds
    within(overlap, 0, MAX_OVERLAP_SECONDS, "overlapSeconds")
    secret = new_signing_secret()
    async with call.work() as work:
        data_key = await call.services.keyring.current(work.session)
        endpoint = await work.locked(WebhookEndpoint, id, what=_WHAT)
        before = endpoint.facets()
        old = await secret_of(work.session, endpoint)
        key = KEYS[0] if old is None or old.key != KEYS[0] else KEYS[1]
        endpoint.secret_id = (await _keep(call, work, endpoint, key, secret, data_key)).id
        endpoint.previous_secret_id = old.id if old is not None else None
        endpoint.previous_secret_expires_at = work.now + timedelta(seconds=overlap) if old is not None else None
        if overlap == 0:
            endpoint.previous_secret_id = endpoint.previous_secret_expires_at = None
            await work.session.flush()
            if old is not None:
                await forget_secrets(work, _owner(endpoint), old.key)
        await work.session.flush()
        work.tell(endpoint, "webhook.secret_rotated", before, {"overlapSeconds": overlap})
    return NewSecret(endpoint, secret)


async def delete_webhook_endpoint(call: Call, *, id: UUID, expected_version: int | None = None) -> str:
    """Forget an endpoint with its secrets and deliveries; its TypeID. Raises FORBIDDEN, NOT_FOUND, CONFLICT.

    Commits.
    """
    _refuse_machines(call.who)
    async with call.work() as work:
        endpoint = await work.locked(WebhookEndpoint, id, expected_version=expected_version, what=_WHAT)
        await work.session.delete(endpoint)
        await work.session.flush()
        work.tell(endpoint, "webhook.deleted", endpoint.facets(), gone=True)
        await forget_secrets(work, _owner(endpoint))
    return endpoint.typeid


async def ping_webhook_endpoint(call: Call, *, id: UUID) -> WebhookDelivery:
    """A delivery that says nothing but that it arrives. Raises FORBIDDEN, NOT_FOUND, ILLEGAL_TRANSITION. Commits."""
    _refuse_machines(call.who)
    async with call.work() as work:
        endpoint = await work.locked(WebhookEndpoint, id, what=_WHAT)
        _refuse_disabled(endpoint, None)
        delivery = WebhookDelivery(
            id=uuid7(), endpoint_id=endpoint.id, kind=PING, next_attempt_at=work.now, attempt_count=0
        )
        work.add(delivery)
        await work.session.flush()
        work.tell(endpoint, "webhook.tested", endpoint.facets(), {"deliveryId": delivery.typeid})
    return delivery


async def redeliver_webhook(call: Call, *, id: UUID) -> WebhookDelivery:
    """Send what arrived or was given up once more, from the first attempt on.

    Raises FORBIDDEN, NOT_FOUND, ILLEGAL_TRANSITION for what is on its way or goes to nobody now, EXPIRED for what the
    log does not hold any more. Commits.
    """
    _refuse_machines(call.who)
    async with call.work() as work:
        delivery = await work.locked(WebhookDelivery, id, what="delivery")
        endpoint = await endpoint_of(work.session, delivery)
        if delivery.state is WebhookDeliveryState.PENDING:
            raise _illegal("It is on its way.", delivery)
        _refuse_disabled(endpoint, delivery)
        if delivery.event_id is not None and not await log_holds(work.session, delivery.event_seq or 0):
            raise Refusal(
                RefusalCode.EXPIRED, "The log does not hold this event any more.", field=_ID, current=delivery
            )
        delivery.state, delivery.attempt_count = WebhookDeliveryState.PENDING, 0
        delivery.next_attempt_at, delivery.expires_at, delivery.delivered_at = work.now, None, None
        await work.session.flush()
        told = {"deliveries": 1, "deliveryId": delivery.typeid}
        work.tell(endpoint, "webhook.redelivered", endpoint.facets(), told)
    return delivery


async def redeliver_webhooks(call: Call, *, endpoint_id: UUID) -> Redelivered:
    """Send what was given up of an endpoint once more, oldest first, up to a thousand.

    What the log does not hold any more is told as a gap. Raises FORBIDDEN, NOT_FOUND, ILLEGAL_TRANSITION. Commits.
    """
    _refuse_machines(call.who)
    async with call.work() as work:
        endpoint = await work.locked(WebhookEndpoint, endpoint_id, "input", "endpointId", what=_WHAT)
        _refuse_disabled(endpoint, endpoint, "endpointId")
        dead = await dead_deliveries(work.session, endpoint.id, MOST_REDELIVERED + 1)
        some = dead[:MOST_REDELIVERED]
        await begin_again(work.session, some)
        if some:
            work.tell(endpoint, "webhook.redelivered", endpoint.facets(), {"deliveries": len(some)})
    return Redelivered(endpoint, len(some), len(dead) > len(some))


_ID: Final = ("input", "id")


def _owner(endpoint: WebhookEndpoint) -> Owner:
    return Owner(SecretOwner.WEBHOOK_ENDPOINT, endpoint.id)


async def _keep(
    call: Call, work: UnitOfWork, endpoint: WebhookEndpoint, key: str, secret: str, data_key: DataKey
) -> Secret:
    return await keep_secret(call, work, _owner(endpoint), key, secret.encode(), data_key)


def _refuse_machines(who: Principal) -> None:
    if who.workspace_id is not None:
        raise Forbidden("This token belongs to one workspace; an endpoint is told of all.")


def _scopes_of(who: Principal) -> list[str]:
    # What a key can be given: the platform's own rights are never left with a tenant.
    return sorted(scope.value for scope in who.scopes & GRANTABLE_SCOPES)


def _refuse_disabled(endpoint: WebhookEndpoint, current: object | None, field: str = "id") -> None:
    if not endpoint.is_enabled:
        raise _illegal("The endpoint is disabled.", current, field)


def _illegal(message: str, current: object | None, field: str = "id") -> Refusal:
    return Refusal(RefusalCode.ILLEGAL_TRANSITION, message, field=("input", field), current=current)


def _cleaned(call: Call, said: dict[str, Any]) -> dict[str, Any]:
    refuse_cleared(said, "url", "event_kinds", "is_enabled")
    if "url" in said:
        said["url"] = _address(call, said["url"])
    if said.get("description") is not None:
        said["description"] = prose(said["description"], DESCRIPTION_LIMIT, "description") or None
    if "event_kinds" in said:
        said["event_kinds"] = _kinds(said["event_kinds"])
    return said


def _address(call: Call, value: str) -> str:
    url = web_address(value, "url")
    webhooks = call.services.webhooks
    if webhooks is not None and webhooks.refuses(url):
        raise invalid("This address is not asked.", "input", "url")
    return url


def _kinds(value: Sequence[str]) -> list[str]:
    kinds = list(dict.fromkeys(value))
    if not 1 <= len(kinds) <= MOST_KINDS:
        raise invalid(f"These are 1 to {MOST_KINDS} kinds of events.", "input", "eventKinds")
    for one in kinds:
        if not _KIND.fullmatch(one):
            raise invalid(
                f"A kind reads approval.decided; approval.* is all of a kind, and {ANY_KIND} all there is.",
                "input",
                "eventKinds",
            )
    return kinds
