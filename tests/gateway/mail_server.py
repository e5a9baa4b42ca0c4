"""This module is where tests get a real mail server: it listens, speaks SMTP (RFC 5321) and keeps what it took."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage


@dataclass(slots=True)
class MailServer:
    """A server on loopback. ``answers`` are given to the next recipients instead of taking them."""

    port: int = 0
    answers: list[str] = field(default_factory=list)
    is_silent: bool = False
    taken: list[EmailMessage] = field(default_factory=list)
    seen: asyncio.Event = field(default_factory=asyncio.Event)
    tried: int = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"smtp://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end."""
        try:
            await self._converse(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_silent:
            self.seen.set()
            await reader.read()
            return
        writer.write(b"220 mail.example ESMTP\r\n")
        while line := (await reader.readline()).decode().strip():
            verb = line.partition(" ")[0].upper()
            if verb == "QUIT":
                writer.write(b"221 bye\r\n")
                return
            if verb == "DATA":
                writer.write(b"354 go on\r\n")
                text = (await reader.readuntil(b"\r\n.\r\n"))[:-5].replace(b"\r\n..", b"\r\n.")
                message = message_from_bytes(text, policy=policy.default)
                assert isinstance(message, EmailMessage)
                self.taken.append(message)
            writer.write(self._answer(verb).encode() + b"\r\n")
            if verb == "DATA":
                self.seen.set()

    def _answer(self, verb: str) -> str:
        if verb == "EHLO":
            return "250-mail.example\r\n250 8BITMIME"
        if verb == "RCPT":
            self.tried += 1
            return self.answers.pop(0) if self.answers else "250 fine"
        return "250 fine"


@asynccontextmanager
async def mail_server() -> AsyncIterator[MailServer]:
    """A running server."""
    made = MailServer()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
