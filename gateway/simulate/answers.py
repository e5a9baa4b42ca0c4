"""This module is where a simulated agent answers: it reads, works with tools, says its reply in pieces, and ends it.

Whatever begins here ends here, also when the run ends meanwhile: the reply is finished with what was said of it, and
the agent's run is closed as CANCELLED.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

from gateway.simulate.dialogue import MODEL, ToolUse, Turn
from gateway.simulate.documents import LAST_SAID, MUTATIONS
from gateway.simulate.habit import Worker
from gateway.simulate.public_api import Refused
from gateway.simulate.run import RunOver
from gateway.simulate.talking import TalkScript
from models.ids import uuid7


def once() -> str:
    """An idempotency key: what is asked again after a lost answer is done once."""
    return f"simulate/{uuid7()}"


@dataclass(slots=True)
class Answer:
    """One answer of an agent in one conversation."""

    worker: Worker
    script: TalkScript
    noise: Random
    agent_id: str
    conversation_id: str
    turn: Turn
    run_id: str = ""
    message_id: str | None = None
    said: list[str] = field(default_factory=list)

    async def give(self) -> None:
        """Answer the question that was asked last. Raises Refused, and RunOver once everything is closed."""
        asked = await self._question()
        self.run_id = (
            await self._do(
                "startRun",
                agentId=self.agent_id,
                conversationId=self.conversation_id,
                state={"about": self.turn.about},
                idempotencyKey=once(),
            )
        )["agentRun"]["id"]
        self.worker.run.report.runs += 1
        try:
            await self._work()
            await self._stream()
        except RunOver:
            await self._close("CANCELLED", asked)
            raise
        except Refused:
            with suppress(Refused):
                await self._finish_run("FAILED")
            raise
        await self._close("COMPLETED" if self.turn.is_completed else "FAILED", asked)
        await self._tell()

    async def _question(self) -> str | None:
        """The message that the agent answers, as it reads it: with its own credential."""
        read = await self.worker.insist(
            lambda: self.worker.api.ask(self.worker.credential, LAST_SAID, id=self.conversation_id)
        )
        if read["conversation"] is None:
            raise Refused("NOT_FOUND", "The conversation is gone.")
        found = read["conversation"]["messages"]["nodes"]
        return found[-1]["id"] if found and found[-1]["role"] == "USER" else None

    async def _work(self) -> None:
        await self._rest(self.script.thinking_seconds)
        for use in self.turn.tools:
            await self.worker.run.rest(min(use.milliseconds / 1000, self.script.longest_tool_seconds))
            await self._record(use)
        if self.turn.tools:
            await self._do("updateRun", id=self.run_id, inputTokens=self.turn.input_tokens)

    async def _record(self, use: ToolUse) -> None:
        await self._do("recordToolExecution", runId=self.run_id, idempotencyKey=once(), **use.said)
        self.worker.run.report.tools[use.status.lower()] += 1

    async def _stream(self) -> None:
        """Say the reply in pieces, each after the answer to the one before."""
        last = len(self.turn.pieces) - 1
        for index, piece in enumerate(self.turn.pieces):
            try:
                await self._publish(index, piece, is_final=index == last)
            except Refused as refusal:
                if refusal.code != "EXPIRED":
                    raise
                # Redis has lost what was said so far; the finished message needs none of it.
                self.said = list(self.turn.pieces)
                return
            self.said.append(piece)
            if index < last:
                await self._rest(self.script.piece_seconds)

    async def _publish(self, index: int, piece: str, *, is_final: bool) -> None:
        self.message_id = (
            await self._do(
                "publishMessageChunk",
                conversationId=self.conversation_id,
                messageId=self.message_id,
                index=index,
                text=piece,
                isFinal=is_final,
            )
        )["messageId"]
        self.worker.run.report.pieces += 1

    async def _close(self, status: str, asked: str | None) -> None:
        if self.message_id is not None:
            await self._do(
                "appendMessage",
                conversationId=self.conversation_id,
                messageId=self.message_id,
                role="ASSISTANT",
                content="".join(self.said),
                sanitizedContent="".join(self.said),
                tokens=self.turn.output_tokens,
                modelUsed=MODEL,
                parentId=asked,
                metadata={"about": self.turn.about},
                idempotencyKey=once(),
            )
            self.worker.run.report.messages += 1
        await self._finish_run(status)

    async def _finish_run(self, status: str) -> None:
        try:
            await self._do(
                "finishRun",
                id=self.run_id,
                status=status,
                inputTokens=self.turn.input_tokens,
                outputTokens=self.turn.output_tokens if self.said else 0,
                totalCostUsd=self.turn.cost_usd,
            )
        except Refused as refusal:
            # Asked again after a lost answer: it is over already.
            if refusal.code != "ILLEGAL_TRANSITION":
                raise

    async def _tell(self) -> None:
        """Leave a line in the workspace's activity."""
        failed = next((use for use in self.turn.tools if use.status != "SUCCESS"), None)
        await self._do(
            "reportActivity",
            workspaceId=self.worker.workspace_id,
            activityType="AGENT_LOG",
            status=failed.status if failed is not None else "OK",
            summary=f"answered a question about {self.turn.about}",
            errorDetail=failed.said["errorMessage"] if failed is not None else None,
            durationMilliseconds=sum(use.milliseconds for use in self.turn.tools),
            idempotencyKey=once(),
        )
        self.worker.run.report.activities += 1

    async def _rest(self, span: tuple[float, float]) -> None:
        await self.worker.run.rest(self.noise.uniform(*span))

    async def _do(self, mutation: str, **said: Any) -> dict[str, Any]:
        worker = self.worker
        return await worker.insist(lambda: worker.api.change(worker.credential, MUTATIONS[mutation], mutation, said))
