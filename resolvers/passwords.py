"""This module is where passwords are hashed and verified, off the event loop and a few at a time.

Security boundary: a wrong password, an unknown account and an unreadable hash cost the same argon2id evaluation and
give the same answer.
"""

from __future__ import annotations

import asyncio
import base64
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeVar

import bcrypt
from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from models.errors import Throttled, invalid

MIN_LENGTH: Final = 8
MAX_LENGTH: Final = 128
_LONGEST_TRIED: Final = 1024
"""Imported passwords may be longer than ours may, but nobody's is longer than this."""
_BCRYPT_BYTES: Final = 72
_BCRYPT: Final = ("$2a$", "$2b$", "$2y$")
_HASH_BYTES: Final = 32
_SALT_BYTES: Final = 16

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the password was right, and the hash to store instead of the one it was checked against."""

    ok: bool
    rehash: str | None = None


class Passwords:
    """argon2id in a small thread pool; beyond ``waiting`` evaluations in line, callers are turned away."""

    def __init__(
        self, memory_kib: int = 19456, passes: int = 2, parallelism: int = 1, threads: int = 2, waiting: int = 64
    ) -> None:
        self._hasher = PasswordHasher(
            time_cost=passes,
            memory_cost=memory_kib,
            parallelism=parallelism,
            hash_len=_HASH_BYTES,
            salt_len=_SALT_BYTES,
            type=Type.ID,
        )
        # Nothing hashes to it: a random salt and a random hash, under today's parameters.
        self._dummy = (
            f"$argon2id$v=19$m={memory_kib},t={passes},p={parallelism}${_random(_SALT_BYTES)}${_random(_HASH_BYTES)}"
        )
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="passwords")
        self._places = threading.BoundedSemaphore(threads + waiting)

    async def hash(self, password: str) -> str:
        """A new argon2id hash. Raises THROTTLED when too many wait."""
        return await self._run(lambda: self._hasher.hash(_bytes(password)))

    async def verify(self, stored_hash: str | None, password: str) -> Verdict:
        """Check ``password``; None (no such account) costs what a wrong password costs. Raises THROTTLED."""
        return await self._run(lambda: self._verify(stored_hash, password))

    def close(self) -> None:
        """Forget who waits and let the threads end; returns at once."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[[], Result]) -> Result:
        if not self._places.acquire(blocking=False):
            raise Throttled("Too many people are signing in; try again in a moment.", retryAfterSeconds=2)
        try:
            future = self._pool.submit(work)
        except BaseException:
            self._places.release()
            raise
        # The thread goes on when its caller is cancelled, so the place is the evaluation's, not the caller's.
        future.add_done_callback(self._leave)
        return await asyncio.wrap_future(future)

    def _leave(self, _: Future[Result]) -> None:
        self._places.release()

    def _verify(self, stored_hash: str | None, password: str) -> Verdict:
        if stored_hash is None or len(password) > _LONGEST_TRIED:
            self._matches(self._dummy, password[:_LONGEST_TRIED])
            return Verdict(False)
        if stored_hash.startswith(_BCRYPT):
            right = _bcrypt_matches(stored_hash, password)
            return Verdict(right, self._hasher.hash(_bytes(password)) if right else None)
        if not self._matches(stored_hash, password):
            return Verdict(False)
        outdated = self._hasher.check_needs_rehash(stored_hash)
        return Verdict(True, self._hasher.hash(_bytes(password)) if outdated else None)

    def _matches(self, stored_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored_hash, _bytes(password))
        except InvalidHashError:
            # Not a hash at all: cost what a wrong password costs.
            return stored_hash != self._dummy and self._matches(self._dummy, password)
        except VerificationError:
            return False


def refuse_unfit(password: str, *field: str) -> None:
    """Raises INVALID unless a new password has 8 to 128 characters."""
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise invalid(f"A password has {MIN_LENGTH} to {MAX_LENGTH} characters.", "input", *field)


def _bcrypt_matches(stored_hash: str, password: str) -> bool:
    try:
        # bcrypt reads 72 bytes; the library refuses longer input since version 5, the old systems just cut it.
        return bcrypt.checkpw(_bytes(password)[:_BCRYPT_BYTES], stored_hash.encode())
    except ValueError:
        return False


def _bytes(password: str) -> bytes:
    # A lone surrogate cannot be UTF-8; it must be a wrong password, not an error.
    return password.encode("utf-8", "surrogatepass")


def _random(length: int) -> str:
    return base64.b64encode(os.urandom(length)).rstrip(b"=").decode()
