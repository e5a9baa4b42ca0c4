"""This module is where each stream that can be followed has its document, and its items become lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

Item = Mapping[str, Any]

_PLACES: Final = "__typename ... on StreamItem { cursor } ... on StreamReady { recovered }"

_ACTIVITY: Final = f"""
subscription Watch($after: EventCursor, $filter: ActivityFilter) {{
  stream: activityFeed(after: $after, filter: $filter) {{
    {_PLACES}
    ... on ActivityItem {{ event {{ occurredAt topic kind entityId payload actor {{
      __typename ... on User {{ displayName }} ... on ApiKey {{ keyName: name }} ... on Workspace {{ name }}
    }} }} }}
  }}
}}
"""
_WORKSPACES: Final = f"""
subscription Watch($after: EventCursor, $filter: WorkspaceFilter) {{
  stream: workspaceStatus(after: $after, filter: $filter) {{
    {_PLACES}
    ... on WorkspaceItem {{ occurredAt kind entityId matchesFilter workspace {{ name status }} }}
  }}
}}
"""
_APPROVALS: Final = f"""
subscription Watch($after: EventCursor, $filter: ApprovalFilter) {{
  stream: approvalQueue(after: $after, filter: $filter) {{
    {_PLACES}
    ... on ApprovalItem {{
      occurredAt kind entityId matchesFilter
      approval {{ approvalStatus: status approvalKind: kind hitlMode priority slaState agent {{ name }} }}
    }}
  }}
}}
"""
_ALERTS: Final = f"""
subscription Watch($after: EventCursor, $filter: AlertFilter) {{
  stream: alertFeed(after: $after, filter: $filter) {{
    {_PLACES}
    ... on AlertItem {{ occurredAt kind entityId matchesFilter alert {{ alertName severity status instance }} }}
  }}
}}
"""
_HEARTBEATS: Final = """
subscription Watch($workspaceIds: [ID!], $minIntervalMilliseconds: Int! = 1000) {
  stream: heartbeats(workspaceIds: $workspaceIds, minIntervalMilliseconds: $minIntervalMilliseconds) {
    workspaceId status receivedAt errorRate activeTasks currentTask
  }
}
"""
_MESSAGE: Final = "message { seq role contentType state content conversation { id } }"
_CONVERSATION_MESSAGES: Final = f"""
subscription Watch($conversationId: ID!, $after: EventCursor) {{
  stream: conversationMessages(conversationId: $conversationId, after: $after) {{
    {_PLACES} ... on MessageItem {{ occurredAt kind entityId {_MESSAGE} }}
  }}
}}
"""
_AGENT_MESSAGES: Final = f"""
subscription Watch($agentId: ID!, $after: EventCursor) {{
  stream: agentMessages(agentId: $agentId, after: $after) {{
    {_PLACES} ... on MessageItem {{ occurredAt kind entityId {_MESSAGE} }}
  }}
}}
"""
_MESSAGE_CHUNKS: Final = """
subscription Watch($conversationId: ID!) {
  stream: messageChunks(conversationId: $conversationId) { messageId index text isSnapshot isFinal }
}
"""
_TYPING: Final = """
subscription Watch($conversationId: ID!) {
  stream: typing(conversationId: $conversationId) { user { id displayName } isTyping }
}
"""


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream that can be followed: ``durable`` ones go on after a cursor; the others begin anew."""

    name: str
    document: str
    durable: bool
    line: Callable[[Item], str]
    of: str | None = None
    """The argument that names the one thing whose stream it is."""

    @property
    def is_quiet(self) -> bool:
        """Whether it may stand for long without a word: nothing is sent when it begins."""
        return self.of is not None and not self.durable

    def variables(self, after: str | None, filter: Mapping[str, Any]) -> dict[str, Any]:
        """What the document is asked with; the filter of a stream without one names the arguments themselves."""
        place = {"after": after} if self.durable else {}
        return place | dict(filter) if self.of or not self.durable else place | {"filter": filter or None}

    def items(self, answer: Any) -> Iterator[Item]:
        """The items of one answer."""
        yield from answer if isinstance(answer, list) else (answer,)


def printable(text: object) -> str:
    """Text that cannot steer a terminal: names are written by whoever owns the thing."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(text))


def _columns(*values: object) -> str:
    return "  ".join(printable(value) for value in values if value not in (None, ""))


def _actor(actor: Item | None) -> str:
    if actor is None:
        return ""
    name = actor.get("displayName") or actor.get("keyName") or actor.get("name")
    return f"by {name}"


def _activity(item: Item) -> str:
    event = item["event"]
    payload = json.dumps(event["payload"], ensure_ascii=False) if event["payload"] else ""
    return _columns(event["occurredAt"], event["kind"], event["entityId"], _actor(event["actor"]), payload)


def _workspace(item: Item) -> str:
    workspace = item["workspace"] or {}
    left = "" if item["matchesFilter"] else "(left the filter)"
    return _columns(
        item["occurredAt"], item["kind"], item["entityId"], workspace.get("status"), workspace.get("name"), left
    )


def _approval(item: Item) -> str:
    approval = item["approval"] or {}
    left = "" if item["matchesFilter"] else "(left the filter)"
    named = [approval.get(name) for name in ("approvalStatus", "approvalKind", "hitlMode", "priority", "slaState")]
    agent = (approval.get("agent") or {}).get("name")
    return _columns(item["occurredAt"], item["kind"], item["entityId"], *named, agent, left)


def _alert(item: Item) -> str:
    alert = item["alert"] or {}
    left = "" if item["matchesFilter"] else "(left the filter)"
    named = [alert.get(name) for name in ("severity", "status", "alertName", "instance")]
    return _columns(item["occurredAt"], item["kind"], item["entityId"], *named, left)


def _heartbeat(beat: Item) -> str:
    errors = f"errors {beat['errorRate']:.0%}" if beat["errorRate"] else ""
    tasks = f"tasks {beat['activeTasks']}" if beat["activeTasks"] else ""
    return _columns(beat["receivedAt"], beat["workspaceId"], beat["status"], tasks, errors, beat["currentTask"])


def _message(item: Item) -> str:
    message = item["message"]
    if message is None:
        return _columns(item["occurredAt"], item["kind"], item["entityId"], "(gone)")
    said = "(is being written)" if message["state"] == "WRITING" else message["content"] or message["contentType"]
    place = message["conversation"]["id"]
    return _columns(item["occurredAt"], place, item["entityId"], f"#{message['seq']}", message["role"], said)


def _piece(piece: Item) -> str:
    so_far = "(so far)" if piece["isSnapshot"] else ""
    end = "(end)" if piece["isFinal"] else ""
    return _columns(piece["messageId"], piece["index"], so_far, piece["text"], end)


def _typing(sign: Item) -> str:
    person = sign["user"] or {}
    does = "types" if sign["isTyping"] else "has stopped"
    return _columns(person.get("id"), person.get("displayName") or "somebody", does)


STREAMS: Final[Mapping[str, Stream]] = {
    "activityFeed": Stream("activityFeed", _ACTIVITY, True, _activity),
    "workspaceStatus": Stream("workspaceStatus", _WORKSPACES, True, _workspace),
    "approvalQueue": Stream("approvalQueue", _APPROVALS, True, _approval),
    "alertFeed": Stream("alertFeed", _ALERTS, True, _alert),
    "heartbeats": Stream("heartbeats", _HEARTBEATS, False, _heartbeat),
    "conversationMessages": Stream("conversationMessages", _CONVERSATION_MESSAGES, True, _message, of="conversationId"),
    "agentMessages": Stream("agentMessages", _AGENT_MESSAGES, True, _message, of="agentId"),
    "messageChunks": Stream("messageChunks", _MESSAGE_CHUNKS, False, _piece, of="conversationId"),
    "typing": Stream("typing", _TYPING, False, _typing, of="conversationId"),
}
