"""This module is where simulated talk is tried without any gateway: what is asked, answered and used, by seed."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from random import Random

from gateway.simulate.dialogue import Turn, turns
from models import ToolKind, ToolStatus
from subscriptions.replies import PIECE_LIMIT_BYTES


def _turns(seed: int, count: int = 300) -> list[Turn]:
    return list(islice(turns(Random(seed)), count))


def test_the_same_seed_is_the_same_talk_and_another_seed_another() -> None:
    assert _turns(1) == _turns(1)
    assert _turns(1) != _turns(2)


def test_an_answer_is_all_its_pieces_and_no_piece_is_too_long_or_empty() -> None:
    for turn in _turns(1):
        assert turn.answer == "".join(turn.pieces)
        assert "  " not in turn.answer
        assert all(0 < len(piece.encode()) <= PIECE_LIMIT_BYTES for piece in turn.pieces)
        assert len(turn.pieces) > 1


def test_tools_mostly_succeed_and_sometimes_do_not() -> None:
    uses = [use for turn in _turns(1) for use in turn.tools]
    statuses = Counter(use.status for use in uses)
    assert set(statuses) == {status.name for status in ToolStatus}
    assert statuses["SUCCESS"] > 3 * (statuses["ERROR"] + statuses["TIMEOUT"])
    assert {use.kind for use in uses} == {kind.name for kind in ToolKind}
    for use in uses:
        succeeded = use.status == "SUCCESS"
        assert (use.said["output"] is not None) == succeeded
        assert (use.said["errorMessage"] is None) == succeeded


def test_most_runs_come_to_their_end_and_each_costs_something() -> None:
    ends = Counter(turn.is_completed for turn in _turns(1))
    assert ends[True] > 5 * ends[False] > 0
    assert all(turn.cost_usd > 0 and turn.output_tokens > 0 for turn in _turns(1))
