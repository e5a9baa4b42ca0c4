"""This module is where an embedded server's failure becomes one line that says what to do about it."""


class EmbeddedServerError(Exception):
    """An embedded server cannot be used; the message is one line, fit for an operator's screen."""

    code = "EMBEDDED_SERVER"
