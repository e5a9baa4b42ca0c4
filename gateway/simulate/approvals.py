"""This module is where a simulated agent asks people: it wants to answer or to act, and waits for a while."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any, Final, Protocol

from gateway.simulate.answers import once
from gateway.simulate.dialogue import MODEL
from gateway.simulate.documents import AGENTS, CANDIDATES, MUTATIONS
from gateway.simulate.habit import Habit, Worker
from gateway.simulate.public_api import Refused
from gateway.simulate.talking import Talking

QUESTIONS: Final = (
    ("RESPONSE", "Summarise NDA terms", "Two years, mutual."),
    ("RESPONSE", "Draft a press release on the water main break", "A water main broke this morning."),
    ("ACTION", "Please transfer $12,500 to vendor Apex Paving", None),
    ("AGENT", "May this agent work beside me?", None),
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

    async def __call__(self, document: str, field: str, said: Mapping[str, Any], /) -> dict[str, Any]: ...


@dataclass(slots=True)
class Asking:
    """What one agent asks people, drawn by its own random numbers."""

    change: Change
    candidate: Callable[[], Awaitable[str]]
    """An agent that nobody has decided about. Raises Away, Refused."""
    agent_id: str
    name: str
    rng: Random
    asked: int = 0
    withdrawn: int = 0
    _open: list[str] = field(default_factory=list)
    _numbers: count[int] = field(default_factory=lambda: count(1))

    async def ask(self) -> None:
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
        if kind == "AGENT":
            said["subjectId"] = await self.candidate()
        payload = await self.change(REQUEST, "requestApproval", said)
        self.asked += 1
        if payload["approval"] is not None:
            self._open.append(payload["approval"]["id"])

    async def _withdraw(self, approval: str) -> None:
        try:
            await self.change(CANCEL, "cancelApproval", {"id": approval, "reason": "Asked anew."})
        except Refused as refusal:
            if refusal.code not in OVER:
                raise
            return
        self.withdrawn += 1


class Questions:
    """The habit of asking people, of an agent that somebody has defined and let work."""

    period_seconds = 30.0

    def __init__(self, worker: Worker, talking: Talking) -> None:
        self._worker = worker
        self._talking = talking
        self._asking: Asking | None = None

    async def practise(self) -> None:
        """One question; none as long as nobody has defined the agent."""
        if self._asking is None:
            self._asking = await self._begun()
        if self._asking is not None:
            await self._asking.ask()
            self._worker.run.report.questions += 1

    def forget(self) -> None:
        """Look for the agent again: somebody may have ended it, or decided all that it asked."""
        self._asking = None

    async def _begun(self) -> Asking | None:
        worker, operator = self._worker, self._talking.operator
        found = await worker.insist(lambda: operator.ask(worker.api, AGENTS, workspace=worker.workspace_id))
        agents = [one for one in found["agents"]["nodes"] if one["status"] == "ACTIVE"]
        if not agents:
            return None
        rng = worker.run.random_of(worker.number, "questions")
        return Asking(self._change, self._candidate, agents[0]["id"], worker.name, rng)

    async def _candidate(self) -> str:
        """The agent that waits to work beside this one: the one there is, or a new one once that was decided about."""
        worker, operator = self._worker, self._talking.operator
        domain = f"beside {worker.name}"
        found = await worker.insist(lambda: operator.ask(worker.api, CANDIDATES, domain=domain))
        for one in found["agents"]["nodes"]:
            return str(one["id"])
        # Of no workspace: whoever works there is found by it.
        said = {
            "name": f"{worker.name}-beside",
            "type": "LLM",
            "title": "Simulated candidate",
            "domain": domain,
            "model": MODEL,
            "instruction": "Answer in two sentences.",
            "idempotencyKey": once(),
        }
        made = await worker.insist(lambda: operator.change(worker.api, MUTATIONS["createAgent"], "createAgent", said))
        return str(made["agent"]["id"])

    async def _change(self, document: str, field: str, said: Mapping[str, Any]) -> dict[str, Any]:
        worker = self._worker
        return await worker.insist(lambda: worker.api.change(worker.credential, document, field, said))


def questions_of(worker: Worker) -> Habit | None:
    """The habit of asking people, in a run in which there is somebody to ask."""
    talking = worker.run.talking
    return Questions(worker, talking) if talking is not None else None
