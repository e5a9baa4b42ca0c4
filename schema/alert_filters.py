"""This module is where it stands how alerts are called, filtered and sorted, in lists and in feeds."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from dataloaders.pages import Direction
from models import AlertAction, AlertSeverity, AlertStatus, AnalysisStatus
from schema.declare import describe
from schema.inputs import form, optional, required

describe(
    AlertSeverity,
    "How bad an alert is, by its label severity.",
    CRITICAL="Somebody has to act now.",
    ERROR="Something is broken.",
    WARNING="Something will break.",
    INFO="Something to know.",
    UNKNOWN="The label says something else, or nothing; labels show it.",
)
describe(
    AlertStatus,
    "Where an alert stands.",
    FIRING="It goes on, and nobody looks after it.",
    ACKNOWLEDGED="It goes on, and somebody looks after it.",
    RESOLVED="It is over; when it fires again that is another alert.",
)
describe(
    AlertAction,
    "What is done with an alert when it comes.",
    AUTO_ANALYZE="It is queued to be analysed.",
    IGNORE="It is stored, and shown only to whoever asks for ignored ones.",
    MANUAL="It waits for people. So does what no rule matches.",
)
describe(
    AnalysisStatus,
    "Where the analysis of an alert stands.",
    NONE="Nobody asked for one.",
    QUEUED="It waits for a worker.",
    RUNNING="A worker is at it.",
    COMPLETED="It is there.",
    FAILED="It could not be done.",
)


class AlertOrderField(StrEnum):
    """What alerts can be sorted by."""

    STARTS_AT = "starts_at"
    RECEIVED_AT = "received_at"
    SEVERITY = "severity"


describe(
    AlertOrderField,
    "What alerts can be sorted by.",
    STARTS_AT="When it began to fire.",
    RECEIVED_AT="When it was first heard of.",
    SEVERITY="How bad it is; DESC puts the most severe first.",
)


@form(
    "Which alerts; fields combine with and, lists mean any of. Those that a rule ignores are left out unless "
    "includeIgnored is true or actionTaken is said."
)
class AlertFilter:
    """Filter of alerts."""

    status: list[AlertStatus] | None = optional("One of these statuses.")
    severity: list[AlertSeverity] | None = optional("One of these severities.")
    analyzed: bool | None = optional("Whether there is an analysis.")
    analysis_status: list[AnalysisStatus] | None = optional("An analysis that stands in one of these ways.")
    alert_name: str | None = optional("Exactly this name.")
    instance: str | None = optional("Of exactly this instance.")
    job: str | None = optional("Of exactly this job.")
    action_taken: list[AlertAction] | None = optional("Those with which one of these was done, IGNORE included.")
    include_ignored: bool | None = optional("Show those that a rule ignores as well; false when absent.")
    started_after: datetime | None = optional("Started then or later.")
    started_before: datetime | None = optional("Started before then.")
    search: str | None = optional(
        "Words of name, instance and job that start so; case does not matter. All alerts of at most 10,000 different "
        "names, instances and jobs are found."
    )


@form("How alerts are sorted; ties are broken by id.")
class AlertOrder:
    """Order of alerts."""

    field: AlertOrderField = required("What to sort by.")
    direction: Direction = required("Which end comes first.")


__all__ = ["AlertAction", "AlertFilter", "AlertOrder", "AlertOrderField"]
