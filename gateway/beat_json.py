"""This module is where a beat's JSON is read: the fields of HeartbeatInput, for agents that speak no GraphQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

from models import RuntimeState, WorkspaceStatus
from models.errors import Refusal, RefusalCode, RequestError, invalid
from models.ids import NIL, parse
from resolvers.heartbeats import Beat, BeatAnswer, Outcome
from resolvers.principal import Principal

_STATES: Final = {state.name: state for state in RuntimeState}
_STATUS_NAMES: Final = {status: status.name for status in WorkspaceStatus}


def read_beat(value: Any, principal: Principal) -> Beat | Refusal:
    """The beat that ``value`` holds, in the caller's tenant, or why it is none.

    A workspace's token speaks for its own workspace only: any other id becomes one that never was, like a
    malformed one, so all of them get the same answer in the same time.
    """
    if not isinstance(value, dict):
        return invalid("A beat is a JSON object.")
    try:
        fields = {_NAMES[name][0]: _NAMES[name][1](name, said) for name, said in value.items() if said is not None}
    except KeyError as error:
        return invalid(f"A beat has no field {str(error.args[0])[:100]!r}.")
    except Refusal as refusal:
        return refusal
    workspace_id: UUID | None = fields.pop("workspace_id", None)
    if workspace_id is None:
        return invalid("A beat names its workspace.", "input", "workspaceId")
    if principal.workspace_id not in (None, workspace_id):
        workspace_id = NIL
    return Beat(tenant_id=principal.tenant_id, workspace_id=workspace_id, **fields)


def show_outcome(said: Any, outcome: Outcome) -> dict[str, Any]:
    """One entry of ``results`` for the beat that was sent as ``said``."""
    workspace_id = said.get("workspaceId") if isinstance(said, dict) else None
    if isinstance(outcome, BeatAnswer):
        return {
            "workspaceId": workspace_id,
            "status": _STATUS_NAMES[outcome.status],
            "leaseEpoch": outcome.lease_epoch,
        }
    return {"workspaceId": workspace_id, "error": _error(outcome)}


def _error(failure: Refusal | RequestError) -> dict[str, Any]:
    if not isinstance(failure, Refusal):
        return {"code": failure.code, "message": failure.message, "field": None}
    # "input" is GraphQL's argument; here the beat itself is the input.
    path = [name for name in failure.field or () if name != "input"]
    return {"code": RefusalCode(failure.code).name, "message": failure.message, "field": ".".join(path) or None}


def _id(_: str, value: Any) -> UUID:
    return parse(value, "workspace") if isinstance(value, str) else NIL


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise invalid("This is a number.", "input", name)
    return float(value)


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise invalid("This is a whole number.", "input", name)
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise invalid("This is a text.", "input", name)
    return value


def _state(name: str, value: Any) -> RuntimeState:
    if not isinstance(value, str) or value not in _STATES:
        raise invalid(f"This is one of {', '.join(_STATES)}.", "input", name)
    return _STATES[value]


_NAMES: Final[dict[str, tuple[str, Callable[[str, Any], Any]]]] = {
    "workspaceId": ("workspace_id", _id),
    "leaseEpoch": ("lease_epoch", _whole),
    "runtimeState": ("runtime_state", _state),
    "errorRate": ("error_rate", _number),
    "activeTasks": ("active_tasks", _whole),
    "uptimeSeconds": ("uptime_seconds", _whole),
    "currentTask": ("current_task", _text),
    "sampleError": ("sample_error", _text),
}
