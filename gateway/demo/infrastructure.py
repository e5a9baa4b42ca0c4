"""This module is where the demo gets its servers, and people who were at them."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import select

from gateway.demo.together import SharingCall
from models import Alert, ServerAuthType
from resolvers.infrastructure import create_server
from resolvers.terminal_sessions import end_terminal_session, start_terminal_session

_KEY: Final = "-----BEGIN OPENSSH PRIVATE KEY-----\ndemo, which opens nothing\n-----END OPENSSH PRIVATE KEY-----\n"
_SERVERS: Final[tuple[dict[str, Any], ...]] = (
    {
        "name": "db-1",
        "hostname": "db-1.internal.example",
        "username": "ops",
        "auth_type": ServerAuthType.KEY,
        "ssh_key": _KEY,
        "host_key_fingerprint": "SHA256:uNiVztksCsDhcc0u9e8BrcyPUHJDzzdr2fVtBXtmyNM",
        "environment": "production",
    },
    {
        "name": "edge-switch",
        "hostname": "192.0.2.17",
        "port": 2222,
        "username": "admin",
        "auth_type": ServerAuthType.PASSWORD,
        "password": "demo, which opens nothing",
        "host_key_fingerprint": "SHA256:nThbg6kXUpJWGl7E1IGOCspRomTxdCARLviKw6E5SY8",
        "environment": "staging",
    },
)


async def equip(call: SharingCall) -> None:
    """Two servers; somebody was at the first because of an alert, and is at it now."""
    first, _ = [await create_server(call, **said) for said in _SERVERS]
    alert = await call.shared.session.scalar(
        select(Alert.id).where(Alert.tenant_id == call.tenant_id).order_by(Alert.alert_name, Alert.id).limit(1)
    )
    over = await start_terminal_session(call, server_id=first.id, alert_id=alert)
    await end_terminal_session(call, id=over.id, recording_path="recordings/db-1/1.log")
    await start_terminal_session(call, server_id=first.id)
