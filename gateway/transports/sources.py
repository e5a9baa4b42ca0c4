"""This module is where a subscription's source of items is closed, whatever kind of iterator it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import structlog

log = structlog.get_logger(__name__)


async def close_source(source: AsyncIterator[Any], timeout: float) -> None:
    """Lets a generator run its ``finally`` blocks now, instead of when the collector comes by. Never raises."""
    aclose = getattr(source, "aclose", None)
    if aclose is None:
        return
    try:
        async with asyncio.timeout(timeout):
            await aclose()
    except Exception as failure:
        log.error("a subscription did not close cleanly", exc_info=failure)
