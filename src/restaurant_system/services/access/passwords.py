"""Hash and verify passwords with argon2id, a few at a time."""

import asyncio
from typing import Protocol

from argon2.exceptions import InvalidHashError, VerificationError

# The hash of a random password that was not kept. It is verified for an unknown user, so that the
# response takes the same time as for a known one.
UNKNOWN_USER = (
    "$argon2id$v=19$m=65536,t=3,p=4$TvhI3xKEs9IuwecTGiExbQ"
    "$20uTARGp6j5Ccj8rymL+QXNRNoNiuFErI+yVQXjEAoU"
)
CONCURRENCY = 2  # each hash takes 64 MiB for its duration


class Hasher(Protocol):
    """The part of `argon2.PasswordHasher` that is used; it blocks."""

    def hash(self, password: str) -> str:
        """Return the hash of a password, with its parameters and salt."""

    def verify(self, hash: str, password: str) -> bool:  # noqa: A002 - argon2's own name
        """Return `True`, or raise an error for a wrong password."""


class Passwords:
    """Hashes and verifies passwords in threads."""

    def __init__(self, hasher: Hasher) -> None:
        self._hasher = hasher
        self._slots = asyncio.Semaphore(CONCURRENCY)

    async def hash(self, password: str) -> str:
        """Return the hash of a password, with its parameters and salt."""
        async with self._slots:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Return whether a password has a hash; `False` if there is none, after the same time."""
        async with self._slots:
            is_right = await asyncio.to_thread(
                self._verify, password_hash or UNKNOWN_USER, password
            )
        return is_right and password_hash is not None

    def _verify(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False
