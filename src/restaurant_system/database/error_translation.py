"""Translate asyncpg's errors: the server is unreachable, or it answers and refuses, and why."""

import contextlib
import os
from collections.abc import Iterator

import asyncpg

from restaurant_system import tls
from restaurant_system.errors import (
    DatabaseReadOnly,
    DatabaseRefuses,
    DatabaseTlsFailed,
    DatabaseUnavailable,
)

# The server answers, but refuses what it should do, whatever the statement. A subclass stands
# before its class.
REFUSALS: dict[type[Exception], str] = {
    asyncpg.ReadOnlySQLTransactionError: "PostgreSQL is read-only",
    asyncpg.TargetServerAttributeNotMatched: "PostgreSQL is read-only",
    asyncpg.DiskFullError: "The disk of PostgreSQL is full",
    asyncpg.OutOfMemoryError: "PostgreSQL is out of memory",
    asyncpg.TooManyConnectionsError: "PostgreSQL has no connection free",
    asyncpg.InsufficientResourcesError: "PostgreSQL is short of resources",
    asyncpg.PostgresSystemError: "PostgreSQL cannot use its files",
    asyncpg.InternalServerError: "PostgreSQL reports an internal error",
    asyncpg.InsufficientPrivilegeError: "PostgreSQL denies permission",
    asyncpg.CannotConnectNowError: "PostgreSQL accepts no connections yet",
    asyncpg.ProtocolViolationError: "PostgreSQL refuses the connection",
}
# It ended one statement, transaction or connection: the same call may succeed at once.
INTERRUPTIONS: dict[type[Exception], str] = {
    asyncpg.QueryCanceledError: "PostgreSQL cancelled the statement",
    asyncpg.LockNotAvailableError: "PostgreSQL did not get a lock in time",
    asyncpg.OperatorInterventionError: "PostgreSQL closed the connection",
    asyncpg.IdleInTransactionSessionTimeoutError: "PostgreSQL closed the connection",
    asyncpg.TransactionRollbackError: "PostgreSQL rolled the transaction back",
}
UNREACHABLE = (
    OSError,  # TimeoutError among them
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


@contextlib.contextmanager
def translate_errors() -> Iterator[None]:
    """Raise `DatabaseUnavailable` when the server is unreachable, or refuses for its own reasons.

    An error of the statement itself is passed on without its detail, which quotes the row,
    customers' names and addresses included, and would end up in a log.
    """
    try:
        yield
    except Exception as error:
        raise_if_unavailable(error)
        raise


@contextlib.contextmanager
def translate_connect_errors() -> Iterator[None]:
    """Raise `DatabaseUnavailable` also for every other error with which a server answers."""
    try:
        yield
    except Exception as error:
        raise_if_cannot_connect(error)
        raise


def raise_if_unavailable(error: BaseException) -> None:
    """See `translate_errors`; return when an error is to be passed on as it is."""
    refusal = _meaning(error, REFUSALS)
    if refusal is not None:
        kind = DatabaseReadOnly if refusal == "PostgreSQL is read-only" else DatabaseRefuses
        raise kind(refusal, _message(error)) from error
    interruption = _meaning(error, INTERRUPTIONS)
    if interruption is not None:
        raise DatabaseUnavailable(f"{interruption}: {_message(error)}") from error
    if isinstance(error, UNREACHABLE):
        fault = _tls_fault(error)
        if fault is not None:
            raise DatabaseTlsFailed(f"The connection to PostgreSQL is not safe: {fault}") from error
        if isinstance(error, ValueError):  # asyncpg's DataError: the statement's fault
            return
        raise DatabaseUnavailable(f"PostgreSQL unreachable: {_message(error)}") from error
    if isinstance(error, asyncpg.PostgresError):
        error.detail = None


def raise_if_cannot_connect(error: BaseException) -> None:
    """See `translate_connect_errors`; return when an error is to be passed on as it is."""
    raise_if_unavailable(error)
    if isinstance(error, asyncpg.PostgresError):
        raise DatabaseRefuses("PostgreSQL refuses the connection", _message(error)) from error


def _meaning(error: BaseException, meanings: dict[type[Exception], str]) -> str | None:
    return next((words for kind, words in meanings.items() if isinstance(error, kind)), None)


def _message(error: BaseException) -> str:
    """Return what the server said, without its detail and hint, or why it cannot be reached."""
    if isinstance(error, ConnectionError) or type(error) is OSError:
        if error.errno is not None and error.errno > 0:
            return os.strerror(error.errno).lower()
    elif isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error).partition("\n")[0] or type(error).__name__


def _tls_fault(error: BaseException) -> str | None:
    if isinstance(error, ConnectionError) and "rejected SSL upgrade" in str(error):
        return "the server does not speak TLS"
    return tls.handshake_error(error)
