"""This module is where one event is held against a view of the log; the twin of dataloaders.activity's SQL."""

from __future__ import annotations

from collections.abc import Callable

from models import Event, EventView


def shown(view: EventView) -> Callable[[Event], bool]:
    """Whether an event is in ``view``: asked for, and for the caller to see."""
    asked, granted = list(view.asked.items()), list(view.granted.items())

    def is_shown(event: Event) -> bool:
        return all(getattr(event, name) in values for name, values in asked) and any(
            getattr(event, name) in values for name, values in granted
        )

    return is_shown
