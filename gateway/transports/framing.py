"""This module is where the items of a stream become bytes of an HTTP response."""

from __future__ import annotations

from typing import Any, Final, Protocol

from gateway.transports.errors import encode
from gateway.transports.negotiation import Form


class Framing(Protocol):
    """How one kind of stream is written."""

    content_type: str
    opening: bytes
    keep_alive: bytes
    ending: bytes

    def item(self, payload: bytes) -> bytes:
        """One encoded answer."""
        ...

    def failure(self, errors: list[dict[str, Any]]) -> bytes:
        """The last item of a stream that ends for a reason of ours."""
        ...


class EventStreamFraming:
    """graphql-sse, distinct connections mode. LF only: CRLF frames break urql's reader on every query."""

    content_type = "text/event-stream; charset=utf-8"
    opening = b":\n\n"
    keep_alive = b":\n\n"
    # Browsers dispatch no event without a data line, so the empty one is needed.
    ending = b"event: complete\ndata:\n\n"

    def item(self, payload: bytes) -> bytes:
        return b"event: next\ndata: " + payload + b"\n\n"

    def failure(self, errors: list[dict[str, Any]]) -> bytes:
        return self.item(encode({"errors": errors}))


class MultipartFraming:
    """Apollo's multipart subscription protocol.

    Every part is followed by the next boundary at once: a reader knows that a part is whole only when it sees it.
    """

    content_type = 'multipart/mixed;boundary="graphql";subscriptionSpec=1.0'
    opening = b"\r\n--graphql"
    ending = b"--\r\n"

    def __init__(self) -> None:
        self.keep_alive = self._part(b"{}")

    def item(self, payload: bytes) -> bytes:
        return self._part(b'{"payload":' + payload + b"}")

    def failure(self, errors: list[dict[str, Any]]) -> bytes:
        return self._part(encode({"payload": None, "errors": errors}))

    def _part(self, content: bytes) -> bytes:
        return b"\r\ncontent-type: application/json\r\n\r\n" + content + b"\r\n--graphql"


FRAMING: Final[dict[Form, Framing]] = {
    Form.EVENT_STREAM: EventStreamFraming(),
    Form.MULTIPART: MultipartFraming(),
}
