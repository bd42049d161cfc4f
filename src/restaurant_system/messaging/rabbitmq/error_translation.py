"""Translate errors of aiormq into `BrokerUnavailable` or `BrokerRefuses`."""

import asyncio
import contextlib
import os
import re
from collections.abc import Iterator

import aiormq

from restaurant_system import tls
from restaurant_system.errors import BrokerRefuses, BrokerUnavailable

UNAVAILABLE = (
    OSError,  # includes ConnectionError and TimeoutError
    aiormq.AMQPError,
    aiormq.ChannelInvalidStateError,
    asyncio.InvalidStateError,
)

# RabbitMQ's reply text for a queue or an exchange that exists with other arguments.
OTHER_ARGUMENT = re.compile(
    r"inequivalent arg '(?P<argument>[^']*)' for (?P<kind>queue|exchange) '(?P<name>[^']*)'"
    r".*: received (?P<ours>.*) but current is (?P<theirs>.*)"
)
# The bytes that aiormq expects after an alert of TLS (RFC 8446, 5.1: the length 2, then the level 2
# and any description), which it reads as the length of a frame; one byte ends the frame.
TLS_ALERTS = range(0x0002_0200 + 1, 0x0002_02FF + 2)
MISSING = re.compile(r"NOT_FOUND - (?P<what>no (queue|exchange) .*)")
# A classic queue is on one node of a cluster.
NODE_DOWN = re.compile(r"NOT_FOUND - home node .* of durable queue '(?P<name>[^']*)'")
LOCKED = re.compile(r"RESOURCE_LOCKED - .* locked queue '(?P<name>[^']*)'")
QUOTED = re.compile(r"'([^']*)'")
# Reply texts with which RabbitMQ or its administrator closes a connection: reply codes 320, 541.
CLOSED_ON_PURPOSE = ("CONNECTION_FORCED", "INTERNAL_ERROR")


@contextlib.contextmanager
def translate_errors() -> Iterator[None]:
    """Raise `BrokerUnavailable` for every error that a broken connection can cause."""
    try:
        yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # The task was not cancelled: aiormq cancels its futures when it closes a connection.
        raise BrokerUnavailable("RabbitMQ unreachable: the connection was closed.") from error
    except UNAVAILABLE as error:
        raise _translated(error) from error


@contextlib.contextmanager
def translate_handshake_errors(*, encrypted: bool) -> Iterator[None]:
    """Explain why RabbitMQ may have closed a connection while it was being opened."""
    try:
        yield
    except StopAsyncIteration as error:  # aiormq raises it if the connection closes at once
        raise BrokerUnavailable("RabbitMQ closed the connection during the handshake.") from error
    except aiormq.exceptions.InvalidFrameError as error:
        if "Connection.OpenOk" not in str(error):
            raise
        raise BrokerRefuses(
            "RabbitMQ does not open the virtual host",
            "create it and give the user the permission, raise its limit of connections, or correct"
            " rabbitmq.vhost",
        ) from error
    except aiormq.AMQPConnectionError as error:
        if not (isinstance(error.__cause__, ConnectionResetError) or _is_tls_alert(error)):
            raise
        raise BrokerUnavailable(
            "RabbitMQ closed the connection at once; it may not trust the client certificate."
            if encrypted
            else "RabbitMQ closed the connection at once; if its port expects TLS, enable"
            " rabbitmq.tls."
        ) from error


def _is_tls_alert(error: aiormq.AMQPConnectionError) -> bool:
    """Return whether the server answered with a fatal alert of TLS, which looks like a frame."""
    cause = error.__cause__
    return isinstance(cause, asyncio.IncompleteReadError) and cause.expected in TLS_ALERTS


def is_missing(error: aiormq.ChannelNotFoundEntity) -> bool:
    """Return whether an exchange or a queue does not exist; it may be on a node that is down."""
    return MISSING.match(_reply_text(error)) is not None


@contextlib.contextmanager
def explain_missing_confirms(timeout: float) -> Iterator[None]:
    """Explain a timeout of publisher confirms."""
    try:
        yield
    except BrokerUnavailable as error:
        if not isinstance(error.__cause__, TimeoutError):
            raise
        raise BrokerUnavailable(
            f"RabbitMQ has confirmed no message for {timeout:g} s; `rabbitmq-diagnostics alarms`"
            " shows whether it is short of memory or disk."
        ) from error


def _translated(error: Exception) -> BrokerUnavailable:
    """Return the translation of an error of `UNAVAILABLE`.

    It is `BrokerRefuses` if RabbitMQ has answered, because waiting does not help then.
    """
    fault = tls.handshake_error(error)
    if fault is not None:
        return BrokerUnavailable(
            f"The connection to RabbitMQ is not safe: {fault}; correct its TLS settings."
        )
    if isinstance(error, aiormq.exceptions.ConnectionClosed):
        reply = _reply_text(error)
        if reply.startswith(CLOSED_ON_PURPOSE):
            return BrokerUnavailable(f"RabbitMQ closed the connection: {reply}.")
    return _refusal(error) or BrokerUnavailable(f"RabbitMQ unreachable: {_reason(error)}.")


def _refusal(error: Exception) -> BrokerRefuses | None:
    match error:
        case aiormq.ProbableAuthenticationError() | aiormq.AuthenticationError():
            return BrokerRefuses(
                "RabbitMQ refuses the user or the password",
                "correct rabbitmq.user and rabbitmq.password",
            )
        case aiormq.ChannelClosed() | aiormq.exceptions.ConnectionClosed():
            return _refused_request(error, _reply_text(error))
        case _:
            return None


def _refused_request(error: Exception, reply: str) -> BrokerRefuses | None:
    if not reply:
        return None
    found = OTHER_ARGUMENT.search(reply)
    if found is not None:
        return _other_argument(found)
    found = MISSING.match(reply)
    if found is not None:
        return BrokerRefuses(
            f"RabbitMQ has {found['what']}", "it is declared again in some seconds"
        )
    found = NODE_DOWN.match(reply)
    if found is not None:
        return BrokerRefuses(
            f"The queue {found['name']} is on a node that does not run",
            "start that node of the cluster",
        )
    found = LOCKED.match(reply)
    if found is not None:
        return BrokerRefuses(
            f"The queue {found['name']} belongs to another connection alone",
            "end the program that has declared it as exclusive",
        )
    if isinstance(error, aiormq.ChannelAccessRefused):
        cure = f"give the user the permissions to configure, write and read ({reply})"
    else:
        cure = f"see its log ({reply})"
    return BrokerRefuses("RabbitMQ refuses a request", cure)


def _other_argument(found: re.Match[str]) -> BrokerRefuses:
    ours, theirs = _value(found["ours"]), _value(found["theirs"])
    argument, kind, name = found["argument"], found["kind"], found["name"]
    if argument == "x-max-priority" and ours == "none":
        # RabbitMQ names one difference. Only classic queues have priorities, and ours do.
        argument, ours, theirs = "x-queue-type", "quorum", "classic"
    condition = " once nothing is in it" if kind == "queue" else ""
    return BrokerRefuses(
        f"The {kind} {name} exists in RabbitMQ with {argument} {theirs} instead of {ours}",
        f"delete the {kind}{condition}, or name another virtual host in rabbitmq.vhost",
    )


def _value(reply: str) -> str:
    """Return ``10`` for ``the value '10' of type 'short'``, and any other text unchanged."""
    value = QUOTED.search(reply)
    return value[1] if value else reply


def _reply_text(error: Exception) -> str:
    return str(error.args[-1] or "") if error.args else ""


def _reason(error: BaseException) -> str:
    match error:
        case TimeoutError():
            return "no answer in time"
        case aiormq.ChannelInvalidStateError() | asyncio.InvalidStateError():
            return "the connection was closed"
        case aiormq.AMQPConnectionError() if isinstance(error.__cause__, OSError):
            return _reason(error.__cause__)
        case aiormq.AMQPError():
            return _reply_text(error)
        case OSError() if error.errno:
            # The numbers of the resolver are negative.
            text = os.strerror(error.errno) if error.errno > 0 else error.strerror
            return str(text).lower()
        case _:
            return str(error)
