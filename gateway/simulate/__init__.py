"""This package is where a fleet is simulated: agents that know the gateway's public API and nothing else."""

from gateway.simulate.behaviour import Behaviour
from gateway.simulate.fleet import run_fleet
from gateway.simulate.progress import shown_on
from gateway.simulate.report import FleetReport, Silence
from gateway.simulate.talking import TalkScript

__all__ = ["Behaviour", "FleetReport", "Silence", "TalkScript", "run_fleet", "shown_on"]
