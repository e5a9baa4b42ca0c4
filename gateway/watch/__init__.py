"""This package is where a stream is followed from a terminal, as any client would: over the public API alone."""

from gateway.watch.credentials import Credentials, KeyCredentials, PasswordCredentials, WatchError
from gateway.watch.follower import Follower
from gateway.watch.streams import STREAMS, Stream

__all__ = ["STREAMS", "Credentials", "Follower", "KeyCredentials", "PasswordCredentials", "Stream", "WatchError"]
