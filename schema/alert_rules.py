"""This module is where rules for alerts are seen from outside: kept in order, changed, and tried out."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from strawberry import ID

import models
from dataloaders.alert_rules import alert_rules
from models import Scope
from models.errors import Refusal
from resolvers import alert_rules as use_cases
from resolvers.alert_trials import Trial, alert_rule_history, try_alert_rules
from resolvers.call import Call

# From here and not from models: there its values are described, before any type is made of it.
from schema.alert_filters import AlertAction
from schema.commands import Answer, DeletePayload, Reason, UserError, command, payload, user_errors
from schema.common import JSON, Connection, Node, connection, found
from schema.declare import Argument, column, computed, node, part, root_fields, to_one
from schema.inputs import form, given, optional, required
from schema.users import User

if TYPE_CHECKING:
    from schema.alerts import Alert

_PATTERN = (
    "1 to 255 characters; * is any run of characters, ? any one, case does not matter. * alone matches even none."
)


@node(
    models.AlertRule,
    "Lower priority first, then older; the first rule whose patterns all match decides. * is any run, ? one character.",
    scope=Scope.ALERTS_READ,
)
class AlertRule(Node):
    """GraphQL type of models.AlertRule."""

    name: str = column("What people call it.")
    description: str | None = column("What it is for.")
    priority: int = column("Lower is tried first.")
    alert_name_pattern: str = column("What the label alertname must look like.")
    severity_pattern: str = column("What the label severity must look like, as it was sent.")
    instance_pattern: str = column("What the label instance must look like.")
    job_pattern: str = column("What the label job must look like.")
    action: AlertAction = column("What is done with the alerts that it decides about.")
    enabled: bool = column("Whether it is tried at all.")
    created_by: User | None = to_one(models.User, "Who made it.", "created_by")
    version: int = column("Rises with every change; say it back as expectedVersion.")
    created_at: datetime = column("When it was made.")
    updated_at: datetime = column("When it last changed.")


@part("What the rules would do with one alert of a payload.")
class AlertRuleTrial:
    """GraphQL type of resolvers.alert_trials.Trial."""

    fingerprint: str | None = column("The alert's fingerprint; null when it cannot be read.")
    alert_name: str | None = column("The alert's name; null when it cannot be read.")
    action: AlertAction | None = column("What would be done with it.")
    rule: AlertRule | None = column("The rule that decides; null when none matches.")
    user_errors: list[UserError] = column("Why it cannot be read; empty when it can.")


@part("What the rules would do with a payload.")
class AlertRuleTrials:
    """What testAlertRules answers."""

    results: list[AlertRuleTrial] | None = column("One for each alert, in their order.")
    user_errors: list[UserError] = column("Why nothing was tried.")


@part("How many alerts would have met another end.")
class AlertActionChange:
    """GraphQL type of resolvers.alert_trials.ActionChange."""

    action_taken: AlertAction = column("What was done with them.")
    action: AlertAction = column("What would have been done.")
    count: int = column("How many.")


@part("What a rule would have done with alerts that came.")
class AlertRuleHistory:
    """What alertRuleHistory answers."""

    started_after: datetime | None = column("Alerts that started then or later were looked at.")
    examined: int | None = column("How many were, the newest 5,000 at most.")
    is_complete: bool | None = column("Whether these were all.")
    matched: int | None = column("How many its patterns fit.")
    decided: int | None = column("How many it would have decided about, behind the rules that come before it.")
    changes: list[AlertActionChange] | None = column("How many of these would have met another end.")
    alerts: list[Annotated[Alert, strawberry.lazy("schema.alerts")]] | None = column(
        "The newest twenty it would have decided about."
    )
    user_errors: list[UserError] = column("Why nothing was looked at.")


@form("Which rules; fields combine with and, lists mean any of.")
class AlertRuleFilter:
    """Filter of rules."""

    action: list[AlertAction] | None = optional("Doing one of these.")
    enabled: bool | None = optional("Whether they are tried at all.")


@form("A rule to try on alerts that came; what is absent is as for a new rule.")
class AlertRuleHistoryInput:
    """Input of alertRuleHistory."""

    alert_name_pattern: str | None = optional("What alertname must look like; * when absent.")
    severity_pattern: str | None = optional("What severity must look like; * when absent.")
    instance_pattern: str | None = optional("What instance must look like; * when absent.")
    job_pattern: str | None = optional("What job must look like; * when absent.")
    action: AlertAction = required("What it would do.")
    priority: int | None = optional("Where it stands among the others; 100 when absent.")
    instead_of_id: ID | None = optional("The rule whose place it takes, to try a change of one.", of="alert_rule")
    started_after: datetime | None = optional(
        "Look at alerts that started then or later; at most 31 days ago, a week ago when absent."
    )


@form("A new rule for alerts.")
class CreateAlertRuleInput:
    """Input of createAlertRule."""

    name: str = required("One line of at most 255 characters.")
    description: str | None = optional("At most 4,000 characters.")
    priority: int | None = optional("0 to 1,000,000, lower is tried first; 100 when absent.")
    alert_name_pattern: str = required(_PATTERN)
    severity_pattern: str | None = optional("Like alertNamePattern; * when absent.")
    instance_pattern: str | None = optional("Like alertNamePattern; * when absent.")
    job_pattern: str | None = optional("Like alertNamePattern; * when absent.")
    action: AlertAction = required("What is done with the alerts that it decides about.")
    enabled: bool | None = optional("Whether it is tried at all; true when absent.")
    idempotency_key: str | None = optional("Makes a retry safe for 24 hours; at most 255 characters.")


@form("Changes of a rule; absent stays, null clears: a pattern to *.")
class UpdateAlertRuleInput:
    """Input of updateAlertRule."""

    id: ID = required("Which one.", of="alert_rule")
    expected_version: int = required("The version these changes were made from.")
    name: str | None = optional("One line of at most 255 characters.")
    description: str | None = optional("At most 4,000 characters.")
    priority: int | None = optional("0 to 1,000,000, lower is tried first.")
    alert_name_pattern: str | None = optional(_PATTERN)
    severity_pattern: str | None = optional("Like alertNamePattern.")
    instance_pattern: str | None = optional("Like alertNamePattern.")
    job_pattern: str | None = optional("Like alertNamePattern.")
    action: AlertAction | None = optional("What is done with the alerts that it decides about.")
    enabled: bool | None = optional("Whether it is tried at all.")


@form("Which rule goes.")
class DeleteAlertRuleInput:
    """Input of deleteAlertRule."""

    id: ID = required("Which one.", of="alert_rule")
    expected_version: int | None = optional("Refuse when it has changed since this version.")


@form("Which rules are moved, and where to.")
class ReorderAlertRulesInput:
    """Input of reorderAlertRules."""

    ids: list[ID] = required("At most 100 rules, once each, the first to be tried first.", of="alert_rule")
    after_id: ID | None = optional(
        "The rule right behind which they go; before all others when absent.", of="alert_rule"
    )


@payload("A rule after a change.")
class AlertRulePayload:
    """Payload of mutations of rules."""

    alert_rule: AlertRule | None = column("The rule as it is now.")
    user_errors: list[UserError] = user_errors()


@payload("The rules in their order.")
class AlertRulesPayload:
    """Payload of reorderAlertRules."""

    alert_rules: list[AlertRule] | None = column("All of them, the first to be tried first.")
    user_errors: list[UserError] = user_errors()


_HISTORY = ["started_after", "examined", "is_complete", "matched", "decided", "changes", "alerts"]


class _Result:
    """What a trial's fields are read from."""

    def __init__(self, trial: Trial) -> None:
        self.fingerprint, self.alert_name = trial.fingerprint, trial.alert_name
        self.action, self.rule = trial.action, trial.rule
        self.user_errors = [Reason.of(trial.refusal)] if trial.refusal is not None else []


async def _test(_: Any, call: Call, payload: Any) -> Answer:
    try:
        return Answer(["results"], [_Result(one) for one in await try_alert_rules(call, payload)], [])
    except Refusal as refusal:
        return Answer(["results"], None, [refusal])


async def _history(_: Any, call: Call, input: AlertRuleHistoryInput) -> Answer:
    try:
        return Answer(_HISTORY, await alert_rule_history(call, **given(input)), [])
    except Refusal as refusal:
        return Answer(_HISTORY, None, [refusal])


@root_fields
class AlertRuleQueries:
    """Root fields over rules for alerts."""

    alert_rules: Connection[AlertRule] | None = connection(
        alert_rules, "The rules, in the order of evaluation.", filter=AlertRuleFilter
    )
    alert_rule: AlertRule | None = found(models.AlertRule, "One rule.")
    test_alert_rules: AlertRuleTrials | None = computed(
        _test,
        "Dry run: what would the enabled rules do with this payload? Nothing is stored.",
        [
            Argument(
                "payload", JSON, "A webhook's payload with at most 100 alerts, or one alert, as Alertmanager sends it."
            )
        ],
        scope=Scope.ALERTS_READ,
        cost=10,
    )
    alert_rule_history: AlertRuleHistory | None = computed(
        _history,
        "Dry run: what would this rule have done with the alerts of the last days?",
        [Argument("input", AlertRuleHistoryInput, "The rule to try.")],
        scope=Scope.ALERTS_READ,
        cost=50,
    )


@root_fields
class AlertRuleMutations:
    """What can be done to rules for alerts. They are in force from the next delivery on."""

    create_alert_rule: AlertRulePayload | None = command(
        use_cases.create_alert_rule,
        "Makes a rule; a tenant has at most 500.",
        input=CreateAlertRuleInput,
        payload=AlertRulePayload,
        scope=Scope.ALERT_RULES_WRITE,
    )
    update_alert_rule: AlertRulePayload | None = command(
        use_cases.update_alert_rule,
        "Changes a rule, or switches it on or off.",
        input=UpdateAlertRuleInput,
        payload=AlertRulePayload,
        scope=Scope.ALERT_RULES_WRITE,
        keep_null=True,
    )
    delete_alert_rule: DeletePayload | None = command(
        use_cases.delete_alert_rule,
        "Forgets a rule. Alerts that it met keep what it did.",
        input=DeleteAlertRuleInput,
        payload=DeletePayload,
        scope=Scope.ALERT_RULES_WRITE,
    )
    reorder_alert_rules: AlertRulesPayload | None = command(
        use_cases.reorder_alert_rules,
        "Puts rules in this order; the others keep theirs. Priorities become 10, 20, 30 and so on.",
        input=ReorderAlertRulesInput,
        payload=AlertRulesPayload,
        scope=Scope.ALERT_RULES_WRITE,
        cost=20,
    )
