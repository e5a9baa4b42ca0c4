"""This module is where a simulated agent asks people: it wants to answer or to act, and waits for a while.

It stands beside the agents' other habits: ``period_seconds``, ``practise`` and ``forget`` are what a habit has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Any, Final, Protocol

from gateway.simulate.public_api import Refused

QUESTIONS: Final = (
    ("RESPONSE", "Summarise NDA terms", "Two years, mutual."),
    ("RESPONSE", "Draft a press release on the water main break", "A water main broke this morning."),
    ("ACTION", "Please transfer $12,500 to vendor Apex Paving", None),
    ("CONNECTOR", "Connect to Socrata Open Data", None),
    ("ONBOARDING", "Deploy the department Parks", None),
    ("POLICY", "Let the permit guide quote fees", None),
)
"""Kind, what was asked, what the agent would answer; each waits for a person under the built-in policies."""

REQUEST: Final = """
mutation ($input: RequestApprovalInput!) {
  requestApproval(input: $input) { decision { hitlMode } approval { id status } userErrors { code message } }
}
"""
CANCEL: Final = """
mutation ($input: CancelApprovalInput!) {
  cancelApproval(input: $input) { approval { id status } userErrors { code message } }
}
"""
OVER: Final = frozenset({"ALREADY_DECIDED", "EXPIRED", "ILLEGAL_TRANSITION", "NOT_FOUND"})
"""What the gateway says of a request that somebody decided meanwhile, which is what it was for."""

MOST_OPEN: Final = 5
"""Of one agent; then it withdraws its oldest before it asks again, so that no queue grows for ever."""


class Change(Protocol):
    """Runs a mutation under the agent's credential; the payload of its one field. Raises Away, Refused."""

    async def __call__(self, document: str, field: str, said: Mapping[str, Any]) -> dict[str, Any]: ...


@dataclass(slots=True)
class Asking:
    """What one agent asks people, drawn by its own random numbers."""

    change: Change
    agent_id: str
    name: str
    rng: Random
    period_seconds: float = 30.0
    asked: int = 0
    withdrawn: int = 0

    def __post_init__(self) -> None:
        self._open: list[str] = []
        self._numbers = count(1)

    async def practise(self) -> None:
        """Ask once; first withdraw the oldest when enough waits already. Raises Away, Refused."""
        if len(self._open) >= MOST_OPEN:
            await self._withdraw(self._open.pop(0))
        kind, query, answer = self.rng.choice(QUESTIONS)
        said = {
            "kind": kind,
            "originalQuery": query,
            "proposedResponse": answer,
            "agentId": self.agent_id,
            "priority": self.rng.choice(("URGENT", "HIGH", "NORMAL", "LOW")),
            "expiresInSeconds": self.rng.choice((60, 600, 3600)),
            "idempotencyKey": f"{self.name}-{self.rng.getrandbits(32):08x}-{next(self._numbers)}",
        }
        payload = await self.change(REQUEST, "requestApproval", said)
        self.asked += 1
        if payload["approval"] is not None:
            self._open.append(payload["approval"]["id"])

    def forget(self) -> None:
        """What was asked may be gone."""
        self._open.clear()

    async def _withdraw(self, approval: str) -> None:
        try:
            await self.change(CANCEL, "cancelApproval", {"id": approval, "reason": "Asked anew."})
        except Refused as refusal:
            if refusal.code not in OVER:
                raise
            return
        self.withdrawn += 1
