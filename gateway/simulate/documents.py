"""This module is where the documents stand with which simulated people and agents talk."""

from __future__ import annotations

from typing import Final

_ERRORS: Final = "userErrors { code message }"


def _mutation(field: str, payload: str) -> str:
    name = f"{field[0].upper()}{field[1:]}Input"
    return f"mutation ($input: {name}!) {{ {field}(input: $input) {{ {payload} {_ERRORS} }} }}"


AGENTS: Final = """
query ($workspace: ID!) { agents(first: 1, filter: {workspaceId: $workspace}) { nodes { id status } } }
"""
CANDIDATES: Final = """
query ($domain: String!) { agents(first: 1, filter: {status: [PENDING], domain: $domain}) { nodes { id status } } }
"""
THREADS: Final = """
query ($agent: ID!) {
  agent(id: $agent) { conversations(first: 50, orderBy: {field: CREATED_AT, direction: DESC},
    filter: {status: [ACTIVE, ARCHIVED]}) { nodes { id status metadata messageCount } } }
}
"""
LEFT_OPEN: Final = """
query ($id: ID!) { conversation(id: $id) {
  runs { id status }
  messages(last: 20) { nodes { id state } }
} }
"""
LAST_SAID: Final = """
query ($id: ID!) { conversation(id: $id) { messages(last: 1) { nodes { id role content } } } }
"""

MUTATIONS: Final = {
    field: _mutation(field, payload)
    for field, payload in {
        "createAgent": "agent { id status }",
        "decideAgent": "agent { id status }",
        "startConversation": "conversation { id }",
        "archiveConversation": "conversation { id }",
        "deleteConversation": "deletedId",
        "appendMessage": "message { id seq }",
        "publishMessageChunk": "messageId",
        "setTyping": "isTyping",
        "startRun": "agentRun { id }",
        "updateRun": "agentRun { id }",
        "finishRun": "agentRun { id }",
        "recordToolExecution": "toolExecution { id }",
        # A fleet's key tells of activity and does not read it.
        "reportActivity": "",
    }.items()
}
"""By the name of their field: one input, one payload."""
