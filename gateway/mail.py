"""This module is where letters become mails: over SMTP, or in the demo into the log."""

from __future__ import annotations

from email.message import EmailMessage
from email.utils import format_datetime, formataddr, parseaddr
from typing import Final
from urllib.parse import unquote, urlsplit

import aiosmtplib
import structlog

from gateway.settings import Settings
from models import MailKind, utcnow
from resolvers.post import Letter, Postponed, Send, Undeliverable

_SECONDS: Final = 10.0  # for each answer of the server
_log = structlog.get_logger(__name__)

_SUBJECTS: Final = {
    MailKind.PASSWORD_RESET: "Set a new password",
    MailKind.EMAIL_VERIFICATION: "Confirm your address",
    MailKind.INVITATION: "You are invited",
    MailKind.PASSWORD_CHANGED: "Your password was changed",
}
_TEXTS: Final = {
    MailKind.PASSWORD_RESET: "Somebody, probably you, asked for a new password at {tenant}.\n\n{how}\n\n"
    "If it was not you, nothing needs to be done: your password stays as it is.",
    MailKind.EMAIL_VERIFICATION: "Please confirm that this address is yours at {tenant}.\n\n{how}",
    MailKind.INVITATION: "You are invited to {tenant}. Choose a password to begin.\n\n{how}",
    MailKind.PASSWORD_CHANGED: "The password of your account at {tenant} was changed just now.\n\n"
    "If it was not you, ask an administrator of {tenant} at once to end your sessions.",
}


def sender_of(settings: Settings) -> Send | None:
    """What mails leave by: the SMTP server of the settings, else in the demo the log, else nothing."""
    if settings.smtp_url is not None:
        return SmtpSender(settings.smtp_url, settings.mail_from, settings.account_link)
    return LogSender(settings.account_link) if settings.is_demo else None


class SmtpSender:
    """Hands each letter to one server, over TLS wherever a password is sent."""

    def __init__(self, url: str, sender: str, link: str | None) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or "localhost"
        self._uses_tls = parts.scheme == "smtps"
        self._port = parts.port or (465 if self._uses_tls else 587)
        self._username = unquote(parts.username) if parts.username else None
        self._password = unquote(parts.password) if parts.password else None
        self._sender = sender
        self._link = link

    async def __call__(self, letter: Letter) -> None:
        """Send it. Raises Undeliverable, Postponed."""
        try:
            await aiosmtplib.send(
                message_of(letter, self._sender, self._link),
                hostname=self._host,
                port=self._port,
                username=self._username,
                password=self._password,
                use_tls=self._uses_tls,
                # Without a password TLS is used where the server offers it.
                start_tls=False if self._uses_tls else True if self._username else None,
                timeout=_SECONDS,
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            _refuse(error.recipients[0].code if error.recipients else 550)
        except aiosmtplib.SMTPSenderRefused as error:
            # The server's quarrel is with us, not with whom it is for: that can be put right.
            raise Postponed(f"the server refuses the sender ({error.code})") from None
        except aiosmtplib.SMTPDataError as error:
            _refuse(error.code)
        except aiosmtplib.SMTPNotSupported:
            raise Undeliverable("the server takes no such address") from None
        except (aiosmtplib.SMTPException, OSError) as error:
            # Its text may name the recipient; its kind does not.
            raise Postponed(type(error).__name__) from None
        except ValueError:
            raise Undeliverable("no mail can be addressed so") from None


class LogSender:
    """Writes letters into the log, tokens included: for the demo, where nobody's secrets are."""

    def __init__(self, link: str | None) -> None:
        self._link = link

    async def __call__(self, letter: Letter) -> None:
        """Write it."""
        text = text_of(letter, self._link)
        _log.info("mail.written", kind=letter.kind.value, to=letter.to, subject=_SUBJECTS[letter.kind], text=text)


def message_of(letter: Letter, sender: str, link: str | None) -> EmailMessage:
    """The mail. Raises ValueError for an address that cannot stand in a header."""
    message = EmailMessage()
    message["From"] = sender
    message["To"] = formataddr((letter.name, letter.to)) if letter.to.isascii() else letter.to
    message["Subject"] = f"{_SUBJECTS[letter.kind]} ({letter.tenant})"
    message["Date"] = format_datetime(utcnow())
    # The same at every try, so that a mail that left twice is shown once.
    message["Message-ID"] = f"<{letter.id}@{parseaddr(sender)[1].rpartition('@')[2] or 'signalbox'}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text_of(letter, link))
    return message


def text_of(letter: Letter, link: str | None) -> str:
    """What the letter says."""
    how = ""
    if letter.token is not None and letter.expires_at is not None:
        until = f"It works once, until {letter.expires_at:%Y-%m-%d %H:%M} UTC."
        if link is not None:
            how = f"{link.format(action=letter.kind.value, token=letter.token)}\n\n{until}"
        else:
            how = f"Your token:\n\n{letter.token}\n\n{until}"
    body = _TEXTS[letter.kind].format(tenant=letter.tenant, how=how)
    return f"Hello {letter.name},\n\n{body}\n"


def _refuse(code: int) -> None:
    if 500 <= code < 600:
        raise Undeliverable(f"the server refuses it for good ({code})") from None
    raise Postponed(f"the server refuses it for now ({code})") from None
