"""This module is where alerts are seen from outside: what fires, since when, who looks after it, what was found."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from strawberry import ID

import models
from dataloaders.alerts import alerts, board
from dataloaders.conversations import conversations
from models import AlertAction, AlertSeverity, AlertStatus, AnalysisStatus, Scope
from resolvers import alerts as use_cases
from resolvers.call import Call
from schema.alert_filters import AlertFilter, AlertOrder
from schema.alert_rules import AlertRule
from schema.commands import Answer, UserError, command, payload, user_errors
from schema.common import JSON, Connection, Node, connection, found, own_without
from schema.conversation_filters import ConversationFilter, ConversationOrder
from schema.declare import Argument, column, computed, node, part, root_fields, to_one
from schema.inputs import form, optional, required
from schema.users import User

if TYPE_CHECKING:
    from schema.conversations import Conversation


@node(
    models.Alert,
    "One firing of one alert, as its sender tells of it and as people deal with it.",
    scope=Scope.ALERTS_READ,
)
class Alert(Node):
    """GraphQL type of models.Alert."""

    fingerprint: str = column("What the sender calls the alert; every firing of it has the same.")
    starts_at: datetime = column("When it began to fire.")
    received_at: datetime = column("When it was first heard of.")
    ends_at: datetime | None = column("When it ended, as the sender says.")
    alert_name: str = column("The label alertname.")
    severity: AlertSeverity = column("How bad it is, by the label severity.")
    instance: str | None = column("The label instance.")
    job: str | None = column("The label job.")
    status: AlertStatus = column("Where it stands.")
    labels: JSON = column("What the sender tells it apart by.")
    annotations: JSON = column("What the sender says about it: summary, description, runbook.")
    raw_payload: JSON = column("The alert as it was first sent, members that nobody here knows included.")
    matched_rule: AlertRule | None = to_one(
        models.AlertRule, "The rule that decided when it came; null when none did, or it is gone.", "matched_rule_id"
    )
    action_taken: AlertAction = column("What was done when it came.")
    previous_alert: Annotated[Alert, strawberry.lazy("schema.alerts")] | None = to_one(
        models.Alert, "The firing of the same alert before this one.", "previous_alert_id"
    )
    acknowledged_by: User | None = to_one(models.User, "Who looks after it.", "acknowledged_by")
    acknowledged_at: datetime | None = column("Since when somebody looks after it, or did to the end.")
    resolved_by: User | None = to_one(models.User, "Who said that it is over; null when the sender did.", "resolved_by")
    resolved_at: datetime | None = column("When it was over.")
    still_firing: bool = column("Whether the sender says that it goes on although somebody resolved it by hand.")
    silenced_until: datetime | None = column("Until when it is not escalated.")
    escalate_at: datetime | None = column("When it is escalated unless somebody acknowledges it; null for never.")
    escalated_at: datetime | None = column("When it was escalated.")
    analyzed: bool = column("Whether there is an analysis.")
    analysis_status: AnalysisStatus = column("Where the analysis stands.")
    analysis_progress: int = column("How far the analysis is, from 0 to 100.")
    analysis_attempts: int = column("How many workers took the present analysis.")
    analysis_count: int = column("How many times it has been analysed.")
    analyzed_at: datetime | None = column("When it was last analysed.")
    ai_analysis: str | None = column("What was found.")
    recommendations: list[str] = column("What to do about it, at most five.")
    analysis_error: str | None = column("Why the analysis failed.")
    conversations: Connection[Annotated[Conversation, strawberry.lazy("schema.conversations")]] | None = connection(
        conversations,
        "Conversations about it; without conversations:read one's own.",
        filter=ConversationFilter,
        order=ConversationOrder,
        scope=Scope.SIGNED_IN,
        narrow=own_without(Scope.CONVERSATIONS_READ),
        of="alert_id",
    )
    version: int = column("Rises with every change; say it back as expectedVersion.")
    created_at: datetime = column("When it was stored.")
    updated_at: datetime = column("When it last changed.")


@part("How many alerts of one severity stand in one status.")
class AlertBoardCount:
    """GraphQL type of dataloaders.alerts.BoardCount."""

    severity: AlertSeverity = column("Which severity.")
    status: AlertStatus = column("Which status.")
    count: int = column("How many alerts.")


@form("Which alert is acknowledged.")
class AcknowledgeAlertInput:
    """Input of acknowledgeAlert."""

    id: ID = required("Which one.", of="alert")
    expected_version: int | None = optional("Refuse when it has changed since this version.")


@form("Which alerts are acknowledged.")
class AcknowledgeAlertsInput:
    """Input of acknowledgeAlerts."""

    ids: list[ID] = required("Which ones, 1 to 100.", of="alert")


@form("Which alert is nobody's again.")
class UnacknowledgeAlertInput:
    """Input of unacknowledgeAlert."""

    id: ID = required("Which one.", of="alert")
    expected_version: int | None = optional("Refuse when it has changed since this version.")


@form("Which alert is over.")
class ResolveAlertInput:
    """Input of resolveAlert."""

    id: ID = required("Which one.", of="alert")
    expected_version: int | None = optional("Refuse when it has changed since this version.")


@form("Which alert is silenced, and until when.")
class SilenceAlertInput:
    """Input of silenceAlert."""

    id: ID = required("Which one.", of="alert")
    until: datetime | None = optional("Within the next 30 days; absent or null ends the silence.")
    expected_version: int | None = optional("Refuse when it has changed since this version.")


@payload("An alert after a change.")
class AlertPayload:
    """Payload of mutations of alerts."""

    alert: Alert | None = column("The alert as it is now.")
    user_errors: list[UserError] = user_errors()


@payload("Alerts after each was acknowledged, or was not.")
class AcknowledgeAlertsPayload:
    """Payload of acknowledgeAlerts."""

    results: list[AlertPayload] | None = column("One for each id, in their order.")
    user_errors: list[UserError] = user_errors()


async def _acknowledge_all(call: Call, *, ids: list[Any]) -> list[Answer]:
    outcomes = await use_cases.acknowledge_alerts(call, ids=ids)
    return [Answer(["alert"], one.alert, [one.refusal] if one.refusal is not None else []) for one in outcomes]


def _board(_: Any, call: Call, include_ignored: bool = False) -> Any:
    return board(call.services.database, call.tenant_id, include_ignored)


@root_fields
class AlertQueries:
    """Root fields over alerts."""

    alerts: Connection[Alert] | None = connection(
        alerts,
        "The tenant's alerts, those that started last first; ignored ones only when asked for.",
        filter=AlertFilter,
        order=AlertOrder,
    )
    alert: Alert | None = found(models.Alert, "One alert.")
    alert_board: list[AlertBoardCount] | None = computed(
        _board,
        "How many alerts there are of each severity, the worst first, in each status; zeros included. Read it with "
        "eventCursor, then follow alertFeed.",
        [Argument("include_ignored", bool, "Count those that a rule ignores as well.", default=False)],
        scope=Scope.ALERTS_READ,
        cost=2,
        shared=True,
    )


@root_fields
class AlertMutations:
    """What people do with alerts."""

    acknowledge_alert: AlertPayload | None = command(
        use_cases.acknowledge_alert,
        "The caller looks after a firing alert.",
        input=AcknowledgeAlertInput,
        payload=AlertPayload,
        scope=Scope.ALERTS_WRITE,
    )
    acknowledge_alerts: AcknowledgeAlertsPayload | None = command(
        _acknowledge_all,
        "The caller looks after many alerts. Each on its own: one refusal stops none of the others.",
        input=AcknowledgeAlertsInput,
        payload=AcknowledgeAlertsPayload,
        scope=Scope.ALERTS_WRITE,
        cost=50,
    )
    unacknowledge_alert: AlertPayload | None = command(
        use_cases.unacknowledge_alert,
        "Nobody looks after an acknowledged alert any more; its time until escalation begins anew.",
        input=UnacknowledgeAlertInput,
        payload=AlertPayload,
        scope=Scope.ALERTS_WRITE,
    )
    resolve_alert: AlertPayload | None = command(
        use_cases.resolve_alert,
        "An alert is over, whatever its sender says; if that goes on saying that it fires, stillFiring tells it.",
        input=ResolveAlertInput,
        payload=AlertPayload,
        scope=Scope.ALERTS_WRITE,
    )
    silence_alert: AlertPayload | None = command(
        use_cases.silence_alert,
        "Keeps an alert from being escalated for a while, or no longer.",
        input=SilenceAlertInput,
        payload=AlertPayload,
        scope=Scope.ALERTS_WRITE,
    )
