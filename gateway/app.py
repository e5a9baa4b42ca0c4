"""This module is where the ASGI application is put together from settings that name its servers."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from gateway.alertmanager import alertmanager_endpoint
from gateway.anchors import anchor_target
from gateway.approval_wait import approval_wait_endpoint
from gateway.health import livez, metrics, readyz
from gateway.ingest import heartbeats_endpoint
from gateway.metrics import observed
from gateway.operations import GatewayOperations
from gateway.rate_limits import RateLimits, Rates
from gateway.runtime import running_services
from gateway.seat_ledger import SeatLedger
from gateway.settings import Settings
from gateway.transports.endpoint import PATH, GraphQLEndpoint
from gateway.transports.options import TransportOptions
from gateway.trusted_documents import TrustedDocuments, TrustedMode, read_folder
from gateway.watchman import Watchman
from gateway.worker import Worker
from resolvers.approval_waiting import Waiting
from resolvers.call import Services
from schema.build import build, core

Handler = Callable[[Request], Awaitable[Response]]

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
DRAIN_SECONDS = 10.0


def transport_options(settings: Settings) -> TransportOptions:
    """The transports' limits; the demo answers GET queries and shows GraphiQL."""
    return TransportOptions(
        allow_get=settings.is_demo,
        graphiql=settings.shows_graphiql,
        allowed_origins=frozenset(settings.allowed_origins or _own_origins(settings)),
        allowed_hosts=frozenset(settings.allowed_hosts or (_LOOPBACK if settings.host in _LOOPBACK else ["*"])),
        body_limit=settings.body_limit_bytes,
        connections_per_user=settings.sockets_per_user,
        connections_per_tenant=settings.sockets_per_tenant,
    )


def trusted_documents(settings: Settings) -> TrustedDocuments:
    """The operator's documents. Raises TrustedDocumentsError for a directory that cannot be used."""
    folder = settings.documents_dir
    wanted = folder is not None and settings.documents is not TrustedMode.OFF
    return TrustedDocuments(settings.documents, read_folder(folder) if folder is not None and wanted else None)


def rates(settings: Settings) -> Rates:
    """How many requests a minute are answered."""
    return Rates(
        tenant=settings.tenant_requests_per_minute,
        user=settings.user_requests_per_minute,
        key=settings.key_requests_per_minute,
        stranger=settings.network_requests_per_minute,
        secrets=settings.network_logins_per_minute,
    )


def _own_origins(settings: Settings) -> set[str]:
    hosts = {"127.0.0.1", "localhost", "[::1]"}
    if settings.host not in _LOOPBACK:
        hosts |= {settings.host, socket.gethostname()}
    return {f"http://{host}:{settings.port}" for host in hosts}


class GatewayApp(Starlette):
    """Starlette, but for sockets: layers that a socket's task stands in for its whole life cost it 3 KB."""

    def __init__(self, endpoint: GraphQLEndpoint, **options: Any) -> None:
        super().__init__(**options)
        self.endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "websocket" and scope["path"] == PATH:
            await self.endpoint.websocket(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_app(settings: Settings) -> GatewayApp:
    """The application. Its lifespan starts the services, and a worker where the settings say so."""
    options = transport_options(settings)
    operations = GatewayOperations(
        core(build()), anonymous_introspection=settings.is_demo, trusted=trusted_documents(settings)
    )
    endpoint = GraphQLEndpoint(operations, options)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            services = await stack.enter_async_context(running_services(settings))
            limits = RateLimits(services.bus, rates(settings))
            limits.start()
            stack.push_async_callback(limits.stop)
            operations.serve(services, limits)
            app.state.rate_limits = limits
            app.state.services = services
            app.state.waiting = Waiting()
            app.state.plain = _plain(services, limits, app.state.waiting, options)
            app.state.draining = False
            worker = _worker(settings, services) if settings.worker else None
            stack.enter_context(observed(services, endpoint.connections, worker.states if worker else {}))
            watchman = Watchman(endpoint.connections, services.accounts.recheck)
            watchman.start()
            stack.push_async_callback(watchman.stop)
            ledger = SeatLedger(services.bus, endpoint.seats)
            ledger.start()
            stack.push_async_callback(ledger.stop)
            if worker is not None:
                worker.start()
                stack.push_async_callback(worker.stop)
            yield

    return GatewayApp(
        endpoint,
        lifespan=lifespan,
        routes=[
            *endpoint.routes(),
            *(Route(path, _answers(path), methods=[method]) for path, method in _PLAIN.items()),
            Route("/livez", livez),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
        ],
    )


_PLAIN: Final = {"/ingest/alertmanager": "POST", "/ingest/heartbeats": "POST", "/v1/approvals/{id}/wait": "GET"}
"""What speaks plain HTTP, and how."""


def _plain(services: Services, limits: RateLimits, waiting: Waiting, options: TransportOptions) -> dict[str, Handler]:
    return {
        "/ingest/alertmanager": alertmanager_endpoint(services, limits, options),
        "/ingest/heartbeats": heartbeats_endpoint(services, limits, options),
        "/v1/approvals/{id}/wait": approval_wait_endpoint(services, waiting, limits, options),
    }


def _answers(path: str) -> Handler:
    """What answers there: it is made with the services, when these have started."""

    async def answer(request: Request) -> Response:
        response: Response = await request.app.state.plain[path](request)
        return response

    return answer


def _worker(settings: Settings, services: Services) -> Worker:
    return Worker(
        services,
        event_days=settings.event_retention_days,
        event_count=settings.event_retention_count,
        activity_days=settings.activity_retention_days,
        conversation_days=settings.conversation_retention_days,
        anchor=anchor_target(settings.audit_anchor),
        post=services.post,
        webhooks=services.webhooks,
        tenant_days=settings.tenant_deletion_days,
    )


async def drain(app: GatewayApp) -> None:
    """Stop being ready and end the streams over ten seconds; clients resume elsewhere."""
    app.state.draining = True
    app.state.waiting.drain()
    await app.endpoint.drain(spread=DRAIN_SECONDS)
