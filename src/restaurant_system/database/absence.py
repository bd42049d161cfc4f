"""What asyncpg raises, and what it means: the server is away, it refuses us, or neither."""

import contextlib
from collections.abc import Iterator

import asyncpg

from restaurant_system import tls
from restaurant_system.errors import DatabaseUnavailable, DatabaseUntrusted

# What asyncpg raises when the server is away, goes away, has no room, or asks to be asked again.
AWAY = (
    OSError,  # TimeoutError among them
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.ReadOnlySQLTransactionError,  # a standby, in the middle of a failover
    asyncpg.PostgresSystemError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


@contextlib.contextmanager
def away_as_unavailable() -> Iterator[None]:
    """Raise `DatabaseUnavailable` for every way in which the server can be away.

    What the server refuses is passed on without its detail, which quotes the row, customers' names
    and addresses included, and would end up in a log.
    """
    try:
        yield
    except Exception as error:
        raise_if_away(error)
        raise


@contextlib.contextmanager
def refusal_as_unavailable() -> Iterator[None]:
    """Raise `DatabaseUnavailable` also when the server answers but does not let us in."""
    try:
        yield
    except Exception as error:
        raise_if_refused(error)
        raise


def raise_if_away(error: BaseException) -> None:
    """See `away_as_unavailable`; returns when an error is to be passed on as it is."""
    if isinstance(error, asyncpg.PostgresError):
        error.detail = None
    if isinstance(error, AWAY):
        fault = _tls_fault(error)
        if fault is not None:
            raise DatabaseUntrusted(f"The line to PostgreSQL is not safe: {fault}") from error
        if isinstance(error, ValueError):  # asyncpg's DataError: the statement's fault
            return
        reason = str(error) or type(error).__name__
        raise DatabaseUnavailable(f"The database does not answer: {reason}") from error


def raise_if_refused(error: BaseException) -> None:
    """See `refusal_as_unavailable`; returns when an error is to be passed on as it is."""
    raise_if_away(error)
    if isinstance(error, asyncpg.PostgresError):
        raise DatabaseUnavailable(f"The database refuses us: {error}") from error


def _tls_fault(error: BaseException) -> str | None:
    if isinstance(error, ConnectionError) and "rejected SSL upgrade" in str(error):
        return "the server does not speak TLS"
    return tls.fault(error)
