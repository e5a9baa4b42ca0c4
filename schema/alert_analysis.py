"""This module is where the analysis of alerts is seen from outside: asking for one, and doing it."""

from __future__ import annotations

from datetime import datetime

from strawberry import ID

from models import AlertSeverity, AlertStatus, Scope
from resolvers import alert_analysis as use_cases
from schema.alerts import Alert, AlertPayload
from schema.commands import UserError, command, payload, user_errors
from schema.common import JSON
from schema.declare import column, part, root_fields
from schema.inputs import form, optional, required

_WORKER = "Which of several workers with the same credentials this is; at most 100 characters, and always the same."
_LEASE = "How long the lease lasts from now, 5 to 3,600 seconds; 120 when absent."


@part("What whoever answers in a conversation about an alert has to know of it.")
class AlertContext:
    """GraphQL type of an alert as the context of a conversation."""

    alert_name: str = column("What the alert is called.")
    severity: AlertSeverity = column("How bad it is.")
    status: AlertStatus = column("Where it stands.")
    instance: str | None = column("What it is about.")
    job: str | None = column("What watches that.")
    starts_at: datetime = column("Since when.")
    labels: JSON = column("What the sender told it apart by.")
    annotations: JSON = column("What the sender says about it: summary, description, runbook.")
    analysis: str | None = column("What was found when it was analysed.", "ai_analysis")
    recommendations: list[str] = column("What was recommended then, at most five.")


@form("Whose analysis is asked for.")
class RequestAlertAnalysisInput:
    """Input of requestAlertAnalysis."""

    id: ID = required("Which alert.", of="alert")
    force: bool | None = optional("Analyse it anew although there is an analysis; false when absent.")


@form("Which analysis is taken, and for how long.")
class ClaimAlertAnalysisInput:
    """Input of claimAlertAnalysis."""

    id: ID | None = optional("Which alert's; the one that waits longest when absent.", of="alert")
    lease_seconds: int | None = optional(_LEASE)
    worker: str | None = optional(_WORKER)


@form("How far an analysis is.")
class ReportAlertAnalysisProgressInput:
    """Input of reportAlertAnalysisProgress."""

    id: ID = required("Which alert's.", of="alert")
    percent: int = required("From 0 to 100; it never falls back.")
    lease_seconds: int | None = optional(_LEASE)
    worker: str | None = optional(_WORKER)


@form("What was found.")
class SubmitAlertAnalysisInput:
    """Input of submitAlertAnalysis."""

    id: ID = required("Which alert's.", of="alert")
    analysis: str = required("1 to 65,536 bytes.")
    recommendations: list[str] = required("At most five, of 1 to 4,096 bytes each.")
    worker: str | None = optional(_WORKER)
    idempotency_key: str | None = optional("Makes a retry safe for 24 hours; at most 255 characters.")


@form("Why nothing was found.")
class FailAlertAnalysisInput:
    """Input of failAlertAnalysis."""

    id: ID = required("Which alert's.", of="alert")
    error: str = required("1 to 8,192 bytes.")
    worker: str | None = optional(_WORKER)
    idempotency_key: str | None = optional("Makes a retry safe for 24 hours; at most 255 characters.")


@payload("What a worker has taken.")
class ClaimAlertAnalysisPayload:
    """Payload of claimAlertAnalysis."""

    alert: Alert | None = column("The alert to analyse; null without errors when there is nothing to do.")
    lease_expires_at: datetime | None = column("Until when it is the worker's.")
    user_errors: list[UserError] = user_errors()


@root_fields
class AlertAnalysisMutations:
    """What can be done about analyses."""

    request_alert_analysis: AlertPayload | None = command(
        use_cases.request_analysis,
        "Asks for an alert's analysis: answers with the one that is stored, or puts a new one on its way, with force "
        "also in the place of the one that is stored.",
        input=RequestAlertAnalysisInput,
        payload=AlertPayload,
        scope=Scope.ALERTS_ANALYZE,
    )
    claim_alert_analysis: ClaimAlertAnalysisPayload | None = command(
        use_cases.claim_analysis,
        "Takes a QUEUED analysis, the oldest when id is omitted; calling again renews the lease. A null alert without "
        "errors: nothing to do. FENCED for one that another holds.",
        input=ClaimAlertAnalysisInput,
        payload=ClaimAlertAnalysisPayload,
        scope=Scope.ALERTS_ANALYZE,
    )
    report_alert_analysis_progress: AlertPayload | None = command(
        use_cases.report_progress,
        "Says how far an analysis is, and renews its lease. FENCED when the lease was lost.",
        input=ReportAlertAnalysisProgressInput,
        payload=AlertPayload,
        scope=Scope.ALERTS_ANALYZE,
    )
    submit_alert_analysis: AlertPayload | None = command(
        use_cases.submit_analysis,
        "Keeps what a worker found, in the place of what was found before. FENCED when the lease was lost.",
        input=SubmitAlertAnalysisInput,
        payload=AlertPayload,
        scope=Scope.ALERTS_ANALYZE,
    )
    fail_alert_analysis: AlertPayload | None = command(
        use_cases.fail_analysis,
        "Gives an analysis up; asking for it again queues it anew. FENCED when the lease was lost.",
        input=FailAlertAnalysisInput,
        payload=AlertPayload,
        scope=Scope.ALERTS_ANALYZE,
    )
