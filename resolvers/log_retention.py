"""This module is where a tenant says how long its audit log is kept: longer than everybody's, never shorter."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from dataloaders.audit import rules_of
from models import EventTopic, RetentionRule, RetentionSubject, Scope, Tenant
from models.audit import AUDIT_DAYS, AUDIT_DAYS_AT_MOST, facets_of
from resolvers.call import Call
from resolvers.validation import within
from subscriptions.log import Envelope


async def retention_rules(call: Call) -> Sequence[RetentionRule]:
    """How long each log is kept, the tenant's own rules before everybody's. Raises FORBIDDEN."""
    call.require(Scope.AUDIT_READ)
    async with call.services.database.session(call.tenant_id) as session:
        said = {rule.subject: rule for rule in await rules_of(session)}
    return [said.get(subject) or _default(call, subject) for subject in RetentionSubject]


async def set_retention(call: Call, *, subject: RetentionSubject, days: int) -> RetentionRule:
    """Keep a log for ``days``. Raises FORBIDDEN, INVALID for less than three years. Commits.

    What a month holds goes when no tenant keeps it any longer.
    """
    call.require(Scope.RETENTION_WRITE)
    within(days, AUDIT_DAYS, AUDIT_DAYS_AT_MOST, "days")
    async with call.work() as work:
        tenant = work.tenant_id
        key = RetentionRule.tenant_id == tenant, RetentionRule.subject == subject
        before = await work.session.scalar(select(RetentionRule).where(*key).with_for_update())
        after = RetentionRule(tenant_id=tenant, subject=subject, days=days, updated_at=work.now)
        if before is not None and before.days == days:
            return before
        said = {"days": days, "updated_at": work.now}
        await work.session.execute(
            insert(RetentionRule)
            .values(tenant_id=tenant, subject=subject, **said)
            .on_conflict_do_update(index_elements=["tenant_id", "subject"], set_=said)
        )
        work.record(
            Envelope(
                topic=EventTopic.TENANCY,
                kind="tenant.retention_changed",
                entity_type=Tenant.__typeid__,
                entity_id=tenant,
                required_scope=Scope.AUDIT_READ,
                before=facets_of(before) if before is not None else None,
                after=facets_of(after),
                payload=facets_of(after),
            )
        )
    return after


def _default(call: Call, subject: RetentionSubject) -> RetentionRule:
    return RetentionRule(tenant_id=call.tenant_id, subject=subject, days=AUDIT_DAYS)
