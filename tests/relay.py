"""This module is where tests stand between a driver and its PostgreSQL, and speak in the server's name."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy.engine import make_url

_READY = b"Z\0\0\0\5"
_SOCKET = ".s.PGSQL.5432"


class Relay:
    """One of these before a server; it says a server's last words in its name, before it hangs up."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._ends: set[asyncio.StreamWriter] = set()
        self.ends_next = False
        """After the next answer the server goes; its connection ends later."""
        self.refuses = 0
        """So many connections hear that the server is starting up."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of the driver."""
        if self.refuses:
            self.refuses -= 1
            await reader.read(65536)
            writer.write(_fatal("57P03", "the database system is starting up"))
            writer.close()
            return
        from_server, to_server = await asyncio.open_unix_connection(self._server)
        self._ends |= {writer, to_server}
        await asyncio.gather(self._pass_on(reader, to_server), self._pass_on(from_server, writer, is_answer=True))

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool = False
    ) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            if is_answer and self.ends_next and data[-6:-1] == _READY:
                self.ends_next = False
                writer.write(_fatal("57P01", "terminating connection due to administrator command"))
        writer.close()

    def hang_up(self) -> None:
        """End every connection."""
        for one in self._ends:
            one.close()


@asynccontextmanager
async def relayed(url: str, folder: Path) -> AsyncIterator[tuple[str, Relay]]:
    """The URL that leads through a relay to the server of ``url``, and the relay; its socket is in ``folder``."""
    relay = Relay(f"{make_url(url).query['host']}/{_SOCKET}")
    server = await asyncio.start_unix_server(relay.serve, folder / _SOCKET)
    try:
        yield make_url(url).update_query_dict({"host": str(folder)}).render_as_string(hide_password=False), relay
    finally:
        relay.hang_up()
        server.close()
        await server.wait_closed()


def _fatal(state: str, message: str) -> bytes:
    fields = f"SFATAL\0VFATAL\0C{state}\0M{message}\0\0".encode()
    return b"E" + struct.pack("!i", 4 + len(fields)) + fields
