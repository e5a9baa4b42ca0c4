"""This module is where the gateway says how it is: alive, ready and what is not, and its numbers."""

from __future__ import annotations

import asyncio
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from models.errors import Unavailable
from resolvers.call import Services

CHECK_SECONDS = 2.0


async def livez(_: Request) -> Response:
    """The process answers."""
    return PlainTextResponse("alive\n")


async def readyz(request: Request) -> Response:
    """200 when database, bus and listener work, or 503 with what does not.

    Without Redis the gateway still serves, later: ready, but degraded.
    """
    services: Services = request.app.state.services
    checks = {"database": await _database(services), "bus": services.bus.healthy, "listener": services.tails.listening}
    draining = bool(getattr(request.app.state, "draining", False))
    ready = checks["database"] and checks["listener"] and not draining
    failing = [name for name, works in checks.items() if not works] + (["draining"] if draining else [])
    body: dict[str, Any] = {
        "status": "unavailable" if not ready else "degraded" if failing else "ready",
        "failing": failing,
        "checks": checks,
    }
    return JSONResponse(body, status_code=200 if ready else 503, headers={"cache-control": "no-store"})


async def _database(services: Services) -> bool:
    try:
        async with (
            asyncio.timeout(CHECK_SECONDS),
            services.database.connection(services.database.tail) as connection,
        ):
            await connection.execute(text("SELECT 1"))
    except (Unavailable, TimeoutError):
        return False
    return True


async def metrics(_: Request) -> Response:
    """Prometheus text."""
    return Response(generate_latest(), headers={"content-type": CONTENT_TYPE_LATEST})
