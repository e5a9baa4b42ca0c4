"""This module is where browsers get GraphiQL, which asks no other host for anything."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from gateway.graphiql.assets import DIRECTORY, URL, Assets

# Scripts come from here and nowhere else, none inline. Styles may be inline: CodeMirror and the dialogs set them.
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        # GraphiQL's fonts and cursors are data: addresses in its style sheet.
        "font-src data:",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


class GraphiQLPage:
    """The page as an ASGI application, and the routes of what it loads."""

    def __init__(self) -> None:
        self._assets = Assets()
        html = (DIRECTORY / "page.html").read_text(encoding="utf-8")
        self._response = HTMLResponse(
            self._assets.versioned(html),
            headers={
                "content-security-policy": _POLICY,
                "cache-control": "no-cache",
                "referrer-policy": "no-referrer",
                "x-content-type-options": "nosniff",
                "vary": "accept",
            },
        )

    def routes(self) -> list[BaseRoute]:
        return [Route(f"{URL}/{{name}}", self._asset, methods=["GET"])]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._response(scope, receive, send)

    async def _asset(self, request: Request) -> Response:
        return await self._assets.respond(request)
