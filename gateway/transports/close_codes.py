"""This module is where every way a WebSocket is closed by us has its number."""

from __future__ import annotations

from enum import IntEnum


class CloseCode(IntEnum):
    """Close codes: 1xxx are RFC 6455's, 44xx are graphql-transport-ws's."""

    NORMAL = 1000
    MESSAGE_TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_MESSAGE = 4400
    # graphql-ws clients take 4401 as final; whoever may come back with a fresh token gets 4403.
    UNAUTHORIZED = 4401
    FORBIDDEN = 4403
    SUBPROTOCOL_NOT_ACCEPTABLE = 4406
    INIT_TIMEOUT = 4408
    DUPLICATE_OPERATION = 4409
    TOO_MANY_INITS = 4429
