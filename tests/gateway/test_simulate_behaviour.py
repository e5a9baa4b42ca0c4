"""This module is where simulated lives are tried without any gateway: what the plan is, and what beats say."""

from __future__ import annotations

from itertools import islice, pairwise
from random import Random

import pytest

from gateway.simulate.behaviour import STEADY, Behaviour, Mood, Phase, figures, life
from models.registry import DEGRADED_FROM, HEALTHY_BELOW, RuntimeState


def _life(seed: int, count: int = 200, behaviour: Behaviour | None = None) -> list[Phase]:
    return list(islice(life(behaviour or Behaviour(), Random(seed)), count))


def test_the_same_seed_is_the_same_life_and_another_seed_another() -> None:
    assert _life(1) == _life(1)
    assert _life(1) != _life(2)


def test_a_whole_life_goes_through_every_mood() -> None:
    assert {phase.mood for phase in _life(1)} == set(Mood)


def test_a_silence_lasts_longer_than_the_default_time_to_live() -> None:
    silences = [phase.seconds for phase in _life(1) if phase.mood is Mood.SILENT]
    assert silences
    assert min(silences) > 60


def test_a_runtime_is_new_after_some_silences_only() -> None:
    phases = _life(1)
    assert {phase.new_runtime for phase in phases if phase.mood is Mood.SILENT} == {True, False}
    assert not any(phase.new_runtime for phase in phases if phase.mood is not Mood.SILENT)


def test_between_two_troubles_comes_a_calm() -> None:
    troubled = [phase.mood in {Mood.FAILING, Mood.WEDGED, Mood.SILENT} for phase in _life(1)]
    assert not any(one and next_one for one, next_one in pairwise(troubled))


def test_a_trouble_of_weight_zero_never_comes() -> None:
    assert {phase.mood for phase in _life(1, behaviour=STEADY)} == {Mood.IDLE, Mood.BUSY}


@pytest.mark.parametrize("mood", [mood for mood in Mood if mood is not Mood.SILENT])
def test_what_a_beat_says_suits_its_mood(mood: Mood) -> None:
    rng = Random(1)
    for _ in range(100):
        said = figures(mood, rng)
        rate = said["errorRate"]
        assert (rate >= DEGRADED_FROM) == (mood is Mood.FAILING)
        assert (HEALTHY_BELOW <= rate < DEGRADED_FROM) == (mood is Mood.RECOVERING)
        assert ("currentTask" in said) == (said["activeTasks"] > 0) == (mood is not Mood.IDLE)
        assert (said.get("runtimeState") == RuntimeState.WEDGED.name) == (mood is Mood.WEDGED)
        assert ("sampleError" in said) == (mood in {Mood.FAILING, Mood.RECOVERING})
