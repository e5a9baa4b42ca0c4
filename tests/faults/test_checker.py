"""This module is where the checker itself is put to the proof: a true journal passes, and no falsified one does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import pytest

from models import Event
from tests.faults.checker import Audience, check, check_contiguous
from tests.faults.journal import Follower, Journal
from tests.faults.stage import Stage
from tests.faults.transports import websocket
from tests.faults.writers import DatabaseWriter, Pace, marked, writing
from tests.patience import DEADLINE

AUDIENCE = Audience(frozenset({"workspaces:read"}), tiers=frozenset({1, 2}))
ENOUGH = 12


@dataclass(frozen=True, slots=True)
class Truth:
    """What one client of a running gateway wrote down over two connections, and its tenant's log."""

    journal: Journal
    log: Sequence[Event]
    until_seq: int

    def faults(self, journal: Journal) -> str:
        """What the checker says of it."""
        return "; ".join(check(journal, self.log, AUDIENCE, self.until_seq).faults)


@pytest.fixture(scope="module")
async def truth(house: Stage) -> Truth:
    """Recorded from real processes: only then does the checker see what clients see."""
    guest = await house.guest()
    follower = Follower(
        "a client", [house.gateways[0].url], guest.key, websocket, variables={"filter": {"tier": [1, 2]}}
    )
    follower.start()
    async with writing(DatabaseWriter(guest, Pace(100), "truth")):
        await follower.until(lambda journal: len(journal.changes) > ENOUGH, DEADLINE)
        await follower.stop()
        follower.start()
        await follower.until(
            lambda journal: len(journal.connections) == 2 and len(journal.connections[1].items) > ENOUGH, DEADLINE
        )
    last = await marked(guest)
    await follower.until_seq(last, DEADLINE)
    await follower.stop()
    return Truth(follower.journal, await house.log(guest.tenant_id), last)


def test_a_true_journal_passes(truth: Truth) -> None:
    verdict = check(truth.journal, truth.log, AUDIENCE, truth.until_seq)
    assert verdict.faults == ()
    assert verdict.resumes == 1
    assert verdict.deliveries > 2 * ENOUGH
    assert len(truth.log) > verdict.deliveries, "the filter must have hidden something"


def _remove_one(journal: Journal) -> None:
    del journal.connections[0].items[5]


def _remove_one_and_mend_the_chain(journal: Journal) -> None:
    items = journal.connections[0].items
    del items[5]
    items[5] = replace(items[5], previous=items[4].cursor)


def _remove_the_last_before_the_resume(journal: Journal) -> None:
    journal.connections[0].items.pop()


def _remove_the_end(journal: Journal) -> None:
    journal.connections[-1].items.pop()


def _swap(journal: Journal) -> None:
    items = journal.connections[0].items
    items[4], items[5] = items[5], items[4]


def _repeat_at_once(journal: Journal) -> None:
    items = journal.connections[0].items
    items.insert(5, items[5])


def _repeat_after_the_resume(journal: Journal) -> None:
    first, second = journal.connections
    again = replace(first.items[-1], previous=second.items[0].cursor)
    second.items.insert(1, again)
    second.items[2] = replace(second.items[2], previous=again.cursor)


def _break_the_chain(journal: Journal) -> None:
    items = journal.connections[-1].items
    items[3] = replace(items[3], previous=items[1].cursor)


def _resume_elsewhere(journal: Journal) -> None:
    ready = journal.connections[-1].items
    ready[0] = replace(ready[0], cursor=ready[1].cursor)


def _admit_a_gap(journal: Journal) -> None:
    items = journal.connections[-1].items
    items[0] = replace(items[0], recovered=False)


def _begin_without_ready(journal: Journal) -> None:
    del journal.connections[-1].items[0]


def _tell_another_kind(journal: Journal) -> None:
    items = journal.connections[0].items
    items[3] = replace(items[3], kind="workspace.removed")


def _tell_another_entity(journal: Journal) -> None:
    items = journal.connections[0].items
    items[3] = replace(items[3], entity_id="workspace_00000000000000000000000000")


def _say_it_left_the_filter(journal: Journal) -> None:
    items = journal.connections[0].items
    items[3] = replace(items[3], matches=not items[3].matches)


def _receive_nothing(journal: Journal) -> None:
    journal.connections.clear()


FALSIFIED = [
    (_remove_one, "lost"),
    (_remove_one_and_mend_the_chain, "lost"),
    (_remove_the_last_before_the_resume, "lost"),
    (_remove_the_end, "lost"),
    (_swap, "out of order"),
    (_repeat_at_once, "twice"),
    (_repeat_after_the_resume, "twice"),
    (_break_the_chain, "chain broke"),
    (_resume_elsewhere, "did not resume"),
    (_admit_a_gap, "did not resume"),
    (_begin_without_ready, "began with"),
    (_tell_another_kind, "otherwise"),
    (_tell_another_entity, "otherwise"),
    (_say_it_left_the_filter, "otherwise"),
    (_receive_nothing, "empty"),
]


@pytest.mark.parametrize(("falsify", "complaint"), FALSIFIED, ids=[one.__name__.strip("_") for one, _ in FALSIFIED])
def test_a_falsified_journal_does_not_pass(truth: Truth, falsify: Callable[[Journal], None], complaint: str) -> None:
    journal = deepcopy(truth.journal)
    falsify(journal)
    assert complaint in truth.faults(journal)


def test_what_was_not_committed_is_noticed(truth: Truth) -> None:
    matching = next(event for event in truth.log if event.seq == truth.journal.changes[3].seq)
    shorter = [event for event in truth.log if event is not matching]
    verdict = check(truth.journal, shorter, AUDIENCE, truth.until_seq)
    assert any(f"foreign: [{matching.seq}]" in fault for fault in verdict.faults)
    assert check_contiguous(shorter) == ["the log has holes"]
    assert check_contiguous(truth.log) == []


def test_what_the_caller_may_not_see_counts_as_foreign(truth: Truth) -> None:
    verdict = check(truth.journal, truth.log, Audience(frozenset(), tiers=AUDIENCE.tiers), truth.until_seq)
    assert any("foreign" in fault for fault in verdict.faults)
