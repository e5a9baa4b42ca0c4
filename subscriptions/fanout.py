"""This module is where N subscribers of one question become one execution: groups, and members that join and leave.

A group follows its tenant's tail, renders each batch of events once and hands the same payloads to every member in
one turn of the loop. A member that cannot keep up leaves with nothing but its place in the log, catches up alone,
and joins again without gap or repeat.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar
from uuid import UUID

from models import Event
from models.errors import LimitExceeded, Unavailable
from subscriptions.cursor import Cursor
from subscriptions.payloads import Payloads, Render
from subscriptions.streams import Checkpoint, Delivery, Interest, Place, Ready
from subscriptions.tail import BATCH, LogReplaced, Tail, Tails

CHECKPOINT_SECONDS: Final = 15.0
RETRY_SECONDS: Final = 0.5
_END_SECONDS: Final = 5.0
LARGEST_BATCH: Final = 256 * 1024
"""Bytes that leave in one write; what is larger is handed on in parts, as the reader makes room."""

Result = TypeVar("Result")


class Batch:
    """Payloads that leave together. Transports keep their framing of it in ``framed``, once for all members."""

    __slots__ = ("framed", "payloads", "size")

    def __init__(self, payloads: Sequence[bytes]) -> None:
        """None only for a member that has had all of them; it is handed nothing."""
        self.payloads = payloads
        self.size = sum(map(len, payloads))
        self.framed: dict[Hashable, object] = {}


class Sink(Protocol):
    """Where a subscriber's payloads go."""

    def deliver(self, batch: Batch) -> bool:
        """Take the batch, in full and at once; False, with nothing taken, until there is ``room``."""
        ...

    async def room(self) -> None:
        """Wait until more can be taken; bounded, and raises when nobody reads any more."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a group answers. Subscribers with equal ``key`` get equal bytes, but for what ``chained`` says.

    ``chained``: the document asks for previousCursor, so a member's first item is its own.
    """

    key: Hashable
    tenant_id: UUID
    interest: Interest
    render: Render = field(compare=False)
    chained: bool = True


@dataclass(slots=True, eq=False)
class _Member:
    """A subscriber in a group. While it is in step its place is the group's; its own is written when it leaves."""

    sink: Sink
    seq: int
    previous: str
    left: asyncio.Future[None]


class Fanout:
    """The groups of one process."""

    def __init__(self, tails: Tails, checkpoint_seconds: float = CHECKPOINT_SECONDS) -> None:
        self._tails = tails
        self._checkpoint_seconds = checkpoint_seconds
        self._groups: dict[Hashable, _Group] = {}
        self.delivered = 0

    @property
    def groups(self) -> int:
        """How many questions are being answered."""
        return len(self._groups)

    async def serve(self, question: Question, after: str | None, sink: Sink, place: Place | None = None) -> None:
        """Answer one subscriber until it is cancelled. Raises what ``sink`` raises; with its cursor LIMIT_EXCEEDED when
        it fell too far behind, UNAVAILABLE when the log was replaced.

        The first item is Ready; the rest follow in order, none lost and none twice. ``place`` says where it ended.
        """
        async with self._tails.follow(question.tenant_id) as tail:
            epoch = await self._tails.epoch()
            seq, recovered = await self._tails.start_of(question.tenant_id, after, epoch)
            group = self._group(question, epoch)
            group.users += 1
            subscriber = _Subscriber(self, group, tail, sink, Cursor(epoch, seq))
            try:
                await subscriber.run(recovered)
            except LogReplaced as error:
                message = "The log was replaced; subscribe again."
                raise Unavailable(message, cursor=subscriber.previous, retryable=True) from error
            finally:
                if place is not None:
                    place.cursor = subscriber.previous
                group.users -= 1
                if group.users == 0:
                    del self._groups[question.key, epoch]
                    await group.stop()

    def _group(self, question: Question, epoch: bytes) -> _Group:
        # A group is one log's: a replaced log has groups of its own.
        group = self._groups.get((question.key, epoch))
        if group is None:
            group = self._groups[question.key, epoch] = _Group(self, question, epoch, self._checkpoint_seconds)
        return group

    @property
    def tails(self) -> Tails:
        """The tails that groups read."""
        return self._tails


class _Group:
    """One question, its members, and the task that answers them."""

    def __init__(self, fanout: Fanout, question: Question, epoch: bytes, checkpoint_seconds: float) -> None:
        self.question = question
        self.epoch = epoch
        self.users = 0
        self.seq = -1
        self.previous = ""
        self._fanout = fanout
        self.checkpoint_seconds = checkpoint_seconds
        self.payloads = Payloads(question.render, chained=question.chained)
        # In step: what each is handed on with. Nothing is read or written of a member that goes with the group.
        self._in_step: dict[_Member, Callable[[Batch], bool]] = {}
        self._apart: set[_Member] = set()
        self._task: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()

    def join(self, member: _Member) -> bool:
        """Make the member one of the group; False while it is behind. The first member sets where the group stands."""
        if self._task is None:
            self.seq, self.previous = member.seq, member.previous
            self._task = asyncio.create_task(self._run(), name=f"group {self.question.tenant_id}")
            self._task.add_done_callback(self._on_end)
        if member.seq < self.seq:
            return False
        if (member.seq, member.previous) == (self.seq, self.previous):
            self._in_step[member] = member.sink.deliver
        else:
            self._apart.add(member)
        return True

    def place(self, head: int) -> int:
        """How far a subscriber must have come to join: where the group stands, or else the log's ``head``."""
        return head if self._task is None else self.seq

    def leave(self, member: _Member) -> None:
        """The member goes, with its place; with the last one the group's task ends."""
        self._let_go(member)
        if self._is_empty and self._task is not None:
            task, self._task = self._task, None
            task.remove_done_callback(self._on_end)
            task.cancel()
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def stop(self) -> None:
        """Returns when nothing runs any more. Nobody may be a member."""
        if self._ending:
            await asyncio.wait(set(self._ending), timeout=_END_SECONDS)

    async def _run(self) -> None:
        now = asyncio.get_running_loop().time
        silent_until = now() + self.checkpoint_seconds
        async with self._fanout.tails.follow(self.question.tenant_id) as tail:
            while True:
                try:
                    async with asyncio.timeout_at(silent_until):
                        events = await tail.after(self.seq)
                except TimeoutError:
                    await _patiently(self._checkpoint)
                    silent_until = now() + self.checkpoint_seconds
                except Unavailable:
                    await asyncio.sleep(RETRY_SECONDS)
                else:
                    if not is_contiguous(events, self.seq):
                        # Each member finds out for itself, from its own place: one may be past the hole.
                        self._disband()
                        return
                    if await _patiently(self._answer, events):
                        silent_until = now() + self.checkpoint_seconds
                    if self._is_empty:
                        self._disband()
                        return

    async def _answer(self, events: Sequence[Event]) -> bool:
        """Whether there was something to say."""
        interest = self.question.interest
        deliveries = interest.deliveries(events, self.epoch, self.previous)
        last = events[-1].seq
        if deliveries:
            batch = Batch(await self.payloads.of(deliveries))
            own = await self._own_batches(deliveries, batch)
            # A batch that is too large for one write is for each to fetch, as it makes room.
            late = list(self._in_step) if batch.size > LARGEST_BATCH else self._hand_all(batch)
            for member in late:
                # It owns its place and nothing else: nothing queues for it while it catches up.
                self._dismiss(member)
            arrived = [one for one in list(self._apart) if one.seq < last and self._hand_own(one, last, batch, own)]
            self.previous = deliveries[-1].cursor
            self._in_step |= {member: member.sink.deliver for member in arrived}
        self.seq = last
        return bool(deliveries)

    def _hand_all(self, batch: Batch) -> list[_Member]:
        """Hand the batch to all that are in step; those without room for it."""
        # This line is what fan-out costs: a thousand turns of it for every event.
        late = [member for member, deliver in self._in_step.items() if not deliver(batch)]
        self._fanout.delivered += len(batch.payloads) * (len(self._in_step) - len(late))
        return late

    def _hand_own(self, member: _Member, last: int, shared: Batch, own: dict[tuple[int, str], Batch]) -> bool:
        """Whether a member that stood elsewhere is in step from this batch on."""
        mine = shared if self._takes_shared(member) else own.get((member.seq, member.previous))
        # Without one it joined while its own first item would have been rendered: it does that itself.
        if mine is None or shared.size > LARGEST_BATCH or (mine.payloads and not member.sink.deliver(mine)):
            self._dismiss(member)
            return False
        if not mine.payloads:
            member.seq = last
            return False
        self._fanout.delivered += len(mine.payloads)
        self._apart.discard(member)
        return True

    def _takes_shared(self, member: _Member) -> bool:
        return member.seq <= self.seq and (member.previous == self.previous or not self.question.chained)

    async def _own_batches(self, deliveries: list[Delivery], shared: Batch) -> dict[tuple[int, str], Batch]:
        """Batches of members that stand elsewhere: their first item is theirs, the rest is everybody's."""
        starts = {(one.seq, one.previous) for one in self._apart if not self._takes_shared(one)}
        own: dict[tuple[int, str], Batch] = {}
        for seq, previous in starts:
            skipped = sum(one.event.seq <= seq for one in deliveries)
            rest = deliveries[skipped:]
            if not rest:
                own[seq, previous] = Batch([])
                continue
            first = rest[0].following(previous)
            (payload,) = await self.payloads.of([first])
            own[seq, previous] = Batch([payload, *shared.payloads[skipped + 1 :]])
        return own

    async def _checkpoint(self) -> None:
        cursor = Cursor(self.epoch, self.seq).encode()
        batch = Batch(await self.question.render([Checkpoint(cursor)]))
        # One that is ahead is left out: this cursor would send it back.
        ahead = {one for one in self._apart if one.seq > self.seq}
        late = [one for one in (*self._in_step, *(self._apart - ahead)) if not one.sink.deliver(batch)]
        for member in late:
            # It misses a sign of life and nothing more, but its chain is no longer the group's.
            self._dismiss(member)
        self._in_step |= {member: member.sink.deliver for member in self._apart - ahead}
        self._apart = ahead
        self.previous = cursor

    def _disband(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.remove_done_callback(self._on_end)
        for member in (*self._in_step, *self._apart):
            self._dismiss(member)

    @property
    def _is_empty(self) -> bool:
        return not self._in_step and not self._apart

    def _let_go(self, member: _Member) -> None:
        if self._in_step.pop(member, None) is not None:
            member.seq, member.previous = self.seq, self.previous
        elif member in self._apart:
            self._apart.discard(member)
            member.seq = max(member.seq, self.seq)

    def _dismiss(self, member: _Member) -> None:
        self._let_go(member)
        if not member.left.done():
            member.left.set_result(None)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        self._task = None
        error = None if task.cancelled() else task.exception()
        for member in (*self._in_step, *self._apart):
            self._let_go(member)
            if not member.left.done():
                member.left.set_exception(error or Unavailable())


class _Subscriber:
    """One subscriber: alone until it has caught up, then a member, and alone again when it fell behind."""

    def __init__(self, fanout: Fanout, group: _Group, tail: Tail, sink: Sink, start: Cursor) -> None:
        self._fanout = fanout
        self._group = group
        self._tail = tail
        self._sink = sink
        self._seq = start.seq
        self._silent_until = 0.0
        self.previous = start.encode()

    async def run(self, recovered: bool) -> None:
        render = self._group.question.render
        await self._hand(await _patiently(render, [Ready(self.previous, recovered)]))
        while True:
            while self._seq < self._group.place(self._tail.head):
                await self._catch_up()
            member = _Member(self._sink, self._seq, self.previous, asyncio.get_running_loop().create_future())
            if not self._group.join(member):
                continue
            try:
                await member.left
            finally:
                self._group.leave(member)
                self._seq, self.previous = member.seq, member.previous
            await self._sink.room()

    async def _catch_up(self) -> None:
        events = await _patiently(self._tail.after, self._seq)
        if not is_contiguous(events, self._seq):
            raise LimitExceeded("This stream fell too far behind.", cursor=self.previous, retryable=True)
        interest, group = self._group.question.interest, self._group
        deliveries = interest.deliveries(events, group.epoch, self.previous)
        if deliveries:
            await self._hand(await _patiently(group.payloads.of, deliveries), deliveries)
            self._fanout.delivered += len(deliveries)
        elif asyncio.get_running_loop().time() >= self._silent_until:
            # Nothing matched for so long: whoever is cut off now goes on from here, not from where it began.
            cursor = Cursor(group.epoch, events[-1].seq).encode()
            await self._hand(await _patiently(group.question.render, [Checkpoint(cursor)]))
            self.previous = cursor
        self._seq = events[-1].seq

    async def _hand(self, payloads: Sequence[bytes], deliveries: Sequence[Delivery] = ()) -> None:
        handed = 0
        for part in parts_of(payloads):
            while not self._sink.deliver(Batch(part)):
                await self._sink.room()
            handed += len(part)
            if deliveries:
                self.previous = deliveries[handed - 1].cursor
        self._silent_until = asyncio.get_running_loop().time() + self._group.checkpoint_seconds


def parts_of(payloads: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Runs of payloads of at most ``LARGEST_BATCH`` bytes, each of at least one payload."""
    part: list[bytes] = []
    size = 0
    for payload in payloads:
        if part and size + len(payload) > LARGEST_BATCH:
            yield part
            part, size = [], 0
        part.append(payload)
        size += len(payload)
    if part:
        yield part


def is_contiguous(events: Sequence[Event], seq: int) -> bool:
    """Whether ``events`` are what comes next; seqs have no holes, but for what retention has taken."""
    return bool(events) and len(events) <= BATCH and events[0].seq == seq + 1


async def _patiently(action: Callable[..., Awaitable[Result]], *arguments: Any) -> Result:
    """``action``'s result, tried again while the database is away: a restart must not end a stream."""
    while True:
        try:
            return await action(*arguments)
        except Unavailable:
            await asyncio.sleep(RETRY_SECONDS)
