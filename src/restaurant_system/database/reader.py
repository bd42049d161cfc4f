"""What a service needs to read: a server, or several of which some may lag behind."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

from restaurant_system.database.connection import Connection, Database

T = TypeVar("T")

Query = Callable[[Connection], Awaitable[T]]


class Reader(Protocol):
    """Servers that are only read; every call raises `DatabaseUnavailable`."""

    @property
    def staleness(self) -> float:
        """For how many seconds what was committed may be missing in what is read; 0 if never."""

    @property
    def primary(self) -> Database:
        """The primary, where nothing is missing."""

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        """Acquire a connection to the best server."""

    async def read(self, query: Query[T]) -> T:
        """Return the result of a query at the best server that completes it."""

    async def find(self, query: Query[T], suffices: Callable[[T], bool] = bool) -> T:
        """Return the result of a query; from the primary if that of a replica does not suffice."""
