"""Translate asyncpg's errors: the server is unreachable, or it answers and refuses, and why."""

import contextlib
import os
import socket
from collections.abc import Iterator

import asyncpg

from restaurant_system import tls
from restaurant_system.errors import (
    DatabaseReadOnly,
    DatabaseRefuses,
    DatabaseTlsFailed,
    DatabaseUnavailable,
    PoolerUnsuitable,
)

READ_ONLY = "PostgreSQL is read-only"

# The server answers, but refuses, whatever the statement is. Subclasses come before their class.
REFUSALS: dict[type[Exception], str] = {
    asyncpg.ReadOnlySQLTransactionError: READ_ONLY,
    asyncpg.TargetServerAttributeNotMatched: READ_ONLY,
    asyncpg.DiskFullError: "The disk of PostgreSQL is full",
    asyncpg.OutOfMemoryError: "PostgreSQL is out of memory",
    asyncpg.TooManyConnectionsError: "PostgreSQL has no connection free",
    asyncpg.InsufficientResourcesError: "PostgreSQL is short of resources",
    asyncpg.PostgresSystemError: "PostgreSQL cannot use its files",
    asyncpg.InternalServerError: "PostgreSQL reports an internal error",
    asyncpg.InsufficientPrivilegeError: "PostgreSQL denies permission",
    asyncpg.UndefinedTableError: "PostgreSQL lacks a part of the schema",
    asyncpg.UndefinedColumnError: "PostgreSQL lacks a part of the schema",
    asyncpg.UndefinedFunctionError: "PostgreSQL lacks a part of the schema",
    asyncpg.InvalidSchemaNameError: "PostgreSQL lacks a part of the schema",
    asyncpg.CannotConnectNowError: "PostgreSQL accepts no connections yet",
    asyncpg.ProtocolViolationError: "PostgreSQL refuses the connection",
}
# A statement was prepared in another session, or another client has prepared one of its name here.
LOST_STATEMENTS = (
    asyncpg.InvalidSQLStatementNameError,
    asyncpg.DuplicatePreparedStatementError,
)
KEEP_STATEMENTS = (
    "set database.prepared_statements to false and database.direct_url to the URL of PostgreSQL"
    " itself, or use PgBouncer 1.21 or later with max_prepared_statements"
)
# The server ended one statement, transaction or connection: the same call may succeed at once.
INTERRUPTIONS: dict[type[Exception], str] = {
    asyncpg.QueryCanceledError: "PostgreSQL cancelled the statement",
    asyncpg.LockNotAvailableError: "PostgreSQL did not get a lock in time",
    asyncpg.OperatorInterventionError: "PostgreSQL closed the connection",
    asyncpg.IdleInTransactionSessionTimeoutError: "PostgreSQL closed the connection",
    asyncpg.TransactionRollbackError: "PostgreSQL rolled the transaction back",
}
# A statement that ended so may have been blocked by a lock or by a commit that cannot complete, or
# its session may have settings under which no statement completes.
NOT_COMPLETED = (TimeoutError, asyncpg.QueryCanceledError, asyncpg.LockNotAvailableError)
# asyncpg's error for a statement on an idle connection from which it has read the server's last
# message, such as "terminating connection due to administrator command", and not yet the end.
CLOSING = "another operation (2) is in progress"
UNREACHABLE = (
    OSError,  # TimeoutError among them
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


@contextlib.contextmanager
def translate_errors() -> Iterator[None]:
    """Raise `DatabaseUnavailable` for errors that mean that the server is unreachable or refuses.

    An error of the statement itself is passed on, without its detail: that quotes the row, with the
    names and addresses of customers, and would be logged.
    """
    try:
        yield
    except Exception as error:
        raise_if_unavailable(error)
        raise


@contextlib.contextmanager
def translate_connect_errors() -> Iterator[None]:
    """Raise `DatabaseUnavailable` for every error with which a server refuses a connection."""
    try:
        yield
    except Exception as error:
        raise_if_cannot_connect(error)
        raise


def raise_if_unavailable(error: BaseException) -> None:
    """Raise `DatabaseUnavailable` if `error` means that the server is unreachable or refuses."""
    _raise_if_pooler_is_unsuitable(error)
    refusal = _description(error, REFUSALS)
    if refusal is not None:
        kind = DatabaseReadOnly if refusal == READ_ONLY else DatabaseRefuses
        raise kind(refusal, _message(error)) from error
    interruption = _description(error, INTERRUPTIONS)
    if interruption is not None:
        raise DatabaseUnavailable(f"{interruption}: {_message(error)}") from error
    if isinstance(error, UNREACHABLE):
        fault = _tls_fault(error)
        if fault is not None:
            raise DatabaseTlsFailed(f"The connection to PostgreSQL is not safe: {fault}") from error
        if isinstance(error, ValueError):  # asyncpg's DataError: an error of the statement
            return
        raise DatabaseUnavailable(f"PostgreSQL unreachable: {_message(error)}") from error
    if isinstance(error, asyncpg.PostgresError):
        error.detail = None


def _raise_if_pooler_is_unsuitable(error: BaseException) -> None:
    if isinstance(error, LOST_STATEMENTS):
        reason = "A pooler before PostgreSQL does not keep prepared statements"
        raise PoolerUnsuitable(reason, KEEP_STATEMENTS) from error
    if isinstance(error, asyncpg.ProtocolViolationError) and "startup parameter" in str(error):
        reason = f"A pooler before PostgreSQL refuses a setting ({_message(error)})"
        raise PoolerUnsuitable(
            reason, "set database.direct_url to the URL of PostgreSQL itself"
        ) from error


def raise_if_cannot_connect(error: BaseException) -> None:
    """Raise `DatabaseUnavailable` if `error` means that no connection can be opened."""
    raise_if_unavailable(error)
    if isinstance(error, asyncpg.PostgresError):
        raise DatabaseRefuses("PostgreSQL refuses the connection", _message(error)) from error


def _description(error: BaseException, descriptions: dict[type[Exception], str]) -> str | None:
    return next((text for kind, text in descriptions.items() if isinstance(error, kind)), None)


def _message(error: BaseException) -> str:
    """Return the server's message without detail and hint, or why it cannot be reached."""
    if isinstance(error, ConnectionError) or type(error) is OSError:
        if error.errno is not None and error.errno > 0:
            return os.strerror(error.errno).lower()
    elif isinstance(error, socket.gaierror) and error.strerror:
        return error.strerror.lower()
    elif isinstance(error, TimeoutError):
        return "no answer in time"
    elif isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return "no server accepts writes"
    elif isinstance(error, asyncpg.InternalClientError) and CLOSING in str(error):
        return "the connection was closed"
    return str(error).partition("\n")[0] or type(error).__name__


def _tls_fault(error: BaseException) -> str | None:
    if isinstance(error, ConnectionError) and "rejected SSL upgrade" in str(error):
        return "the server does not speak TLS"
    return tls.handshake_error(error)
