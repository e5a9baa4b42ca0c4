"""This module is where the transports become one thing to mount, count and drain."""

from __future__ import annotations

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Route, WebSocketRoute

from gateway.graphiql.page import GraphiQLPage
from gateway.transports.http import HttpEndpoint
from gateway.transports.open_connections import OpenConnections
from gateway.transports.operations import Operations
from gateway.transports.options import TransportOptions
from gateway.transports.request_ids import HEADER
from gateway.transports.seats import Seats
from gateway.transports.websocket import WebSocketEndpoint

PATH = "/graphql"


class GraphQLEndpoint:
    """HTTP, event streams and WebSockets at ``/graphql`` over one execution."""

    def __init__(self, operations: Operations, options: TransportOptions) -> None:
        self.connections = OpenConnections()
        self.seats = Seats(options)
        self._options = options
        self._page = GraphiQLPage() if options.graphiql else None
        self._http = HttpEndpoint(operations, options, self.connections, self.seats, self._page)
        self.websocket = WebSocketEndpoint(operations, options, self.connections, self.seats)

    def routes(self) -> list[BaseRoute]:
        """For a Starlette application; middleware that buffers responses must not lie around them."""
        return [
            WebSocketRoute(PATH, self.websocket),
            Route(PATH, self._http, middleware=[self._cross_origin()]),
            *(self._page.routes() if self._page else ()),
        ]

    async def drain(self, *, spread: float = 10.0) -> None:
        """Refuses new connections and ends the open ones over ``spread`` seconds; see ``OpenConnections.drain``."""
        await self.connections.drain(spread=spread)

    def _cross_origin(self) -> Middleware:
        # No cookies, so what an origin may read is no more than what it has a token for.
        return Middleware(
            CORSMiddleware,
            allow_origins=sorted(self._options.allowed_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", HEADER, "x-signalbox-tenant"],
            expose_headers=[HEADER, "retry-after", "ratelimit", "ratelimit-policy"],
            max_age=7200,
        )
