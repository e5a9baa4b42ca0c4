"""This module is where a simulated agent is asked: somebody defines it, begins a conversation, types and speaks.

An agent has one conversation at a time. One that is long enough is archived, and the oldest archived ones are deleted,
so a fleet that talks for weeks fills no database. What other people say to the agent is left alone.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from gateway.simulate.answers import Answer, once
from gateway.simulate.dialogue import MODEL, turns
from gateway.simulate.documents import AGENTS, LEFT_OPEN, MUTATIONS, THREADS
from gateway.simulate.habit import Habit, Worker
from gateway.simulate.public_api import Refused
from gateway.simulate.talking import Talking

_MARK: Final = "simulated"
"""In a conversation's metadata: which run's agents may archive and delete it."""


@dataclass(slots=True)
class _Thread:
    """The conversation that goes on."""

    id: str
    messages: int


class Talks:
    """The habit of being asked and answering."""

    def __init__(self, worker: Worker, talking: Talking) -> None:
        self._worker = worker
        self._talking = talking
        self._turns = turns(worker.run.random_of(worker.number, "talk"))
        self._noise = worker.run.random_of(worker.number, "talk-noise")
        self._agent_id: str | None = None
        self._thread: _Thread | None = None
        self._archived: list[str] = []

    @property
    def period_seconds(self) -> float:
        """The mean rest between two questions."""
        return 60 / self._talking.script.questions_a_minute

    async def practise(self) -> None:
        """One question and its answer."""
        async with self._talking.gate:
            # Whoever waited for a turn begins nothing when the run is over.
            await self._worker.run.rest(0)
            if self._agent_id is None:
                self._agent_id = await self._defined()
            thread = self._thread or await self._continued(self._agent_id)
            self._thread = thread
            turn = next(self._turns)
            await self._ask(thread, turn.question)
            answer = Answer(self._worker, self._talking.script, self._noise, self._agent_id, thread.id, turn)
            await answer.give()
            thread.messages += 1
            if thread.messages >= self._talking.script.messages_of_a_conversation:
                await self._put_away(thread)

    def forget(self) -> None:
        """Look for the agent and its conversation again: somebody may have ended either."""
        self._agent_id = self._thread = None

    async def _defined(self) -> str:
        """The agent that works in the workspace: the one there is, or a new one that the operator approves."""
        worker = self._worker
        found = (await self._asked(AGENTS, workspace=worker.workspace_id))["agents"]["nodes"]
        agent = found[0] if found else await self._made()
        if agent["status"] == "PENDING":
            agent = (await self._does("decideAgent", id=agent["id"], decision="APPROVE"))["agent"]
        if agent["status"] != "ACTIVE":
            raise Refused("ILLEGAL_TRANSITION", f"Its agent is {agent['status']}.")
        return str(agent["id"])

    async def _made(self) -> dict[str, Any]:
        made = await self._does(
            "createAgent",
            name=self._worker.name,
            type="LLM",
            title="Simulated agent",
            domain="support",
            description="Answers what a simulated person asks.",
            model=MODEL,
            instruction="Answer in two sentences.",
            capabilities=["answer", "search"],
            guardrails=["No legal advice."],
            workspaceId=self._worker.workspace_id,
            idempotencyKey=once(),
        )
        agent: dict[str, Any] = made["agent"]
        return agent

    async def _continued(self, agent_id: str) -> _Thread:
        """The conversation that an earlier run left, with its loose ends tied; a new one when there is none."""
        found = (await self._asked(THREADS, agent=agent_id))["agent"]["conversations"]["nodes"]
        mine = [one for one in found if _MARK in one["metadata"]]
        self._archived = [one["id"] for one in mine if one["status"] == "ARCHIVED"]
        for one in mine:
            if one["status"] == "ACTIVE":
                await self._tie_up(one["id"])
                return _Thread(one["id"], one["messageCount"])
        made = await self._does(
            "startConversation",
            kind="CHAT",
            agentId=agent_id,
            title=f"Questions for {self._worker.name}",
            profile="main",
            metadata={_MARK: self._worker.run.seed},
            idempotencyKey=once(),
        )
        self._worker.run.report.conversations += 1
        return _Thread(made["conversation"]["id"], 0)

    async def _tie_up(self, conversation_id: str) -> None:
        """End what a run that was killed left open: nobody else will."""
        left = (await self._asked(LEFT_OPEN, id=conversation_id))["conversation"]
        worker = self._worker
        ends: list[tuple[str, dict[str, Any]]] = [
            ("finishRun", {"id": one["id"], "status": "FAILED"}) for one in left["runs"] if one["status"] == "ACTIVE"
        ] + [
            (
                "appendMessage",
                {
                    "conversationId": conversation_id,
                    "messageId": one["id"],
                    "role": "ASSISTANT",
                    "content": "I was interrupted.",
                },
            )
            for one in left["messages"]["nodes"]
            if one["state"] == "WRITING"
        ]
        for mutation, said in ends:
            with suppress(Refused):
                await worker.insist(
                    lambda mutation=mutation, said=said: worker.api.change(  # type: ignore[misc]
                        worker.credential, MUTATIONS[mutation], mutation, said
                    )
                )

    async def _ask(self, thread: _Thread, question: str) -> None:
        types = await self._worker.insist(lambda: self._talking.operator.is_person(self._worker.api))
        if types:
            await self._does("setTyping", conversationId=thread.id, isTyping=True)
            await self._worker.run.rest(self._noise.uniform(*self._talking.script.thinking_seconds))
        await self._does(
            "appendMessage", conversationId=thread.id, role="USER", content=question, idempotencyKey=once()
        )
        thread.messages += 1
        self._worker.run.report.messages += 1
        if types:
            await self._does("setTyping", conversationId=thread.id, isTyping=False)

    async def _put_away(self, thread: _Thread) -> None:
        self._thread = None
        await self._does("archiveConversation", id=thread.id)
        self._archived.insert(0, thread.id)
        while len(self._archived) > self._talking.script.conversations_kept:
            await self._does("deleteConversation", id=self._archived[-1])
            self._archived.pop()

    async def _asked(self, document: str, **variables: Any) -> dict[str, Any]:
        operator, api = self._talking.operator, self._worker.api
        return await self._worker.insist(lambda: operator.ask(api, document, **variables))

    async def _does(self, mutation: str, **said: Any) -> dict[str, Any]:
        operator, api = self._talking.operator, self._worker.api
        return await self._worker.insist(lambda: operator.change(api, MUTATIONS[mutation], mutation, said))


def talks_of(worker: Worker) -> Habit | None:
    """The habit for an agent of a run in which somebody asks."""
    talking = worker.run.talking
    return Talks(worker, talking) if talking is not None else None
