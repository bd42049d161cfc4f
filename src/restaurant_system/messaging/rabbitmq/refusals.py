"""What RabbitMQ's errors mean: it is unreachable, or it answers and refuses."""

import asyncio
import os
import re

import aiormq

from restaurant_system import tls
from restaurant_system.errors import BrokerRefuses, BrokerUnavailable

UNAVAILABLE = (
    OSError,  # ConnectionError and TimeoutError among them
    aiormq.AMQPError,
    aiormq.ChannelInvalidStateError,
    asyncio.InvalidStateError,
)

# RabbitMQ's words for a queue or an exchange that exists with other arguments.
OTHER_ARGUMENT = re.compile(
    r"inequivalent arg '(?P<argument>[^']*)' for (?P<kind>queue|exchange) '(?P<name>[^']*)'"
    r".*: received (?P<ours>.*) but current is (?P<theirs>.*)"
)
QUOTED = re.compile(r"'([^']*)'")
# Where a connection is closed by RabbitMQ, or by somebody who administers it: reply codes 320, 541.
CLOSED_ON_PURPOSE = ("CONNECTION_FORCED", "INTERNAL_ERROR")


def as_unavailable(error: Exception) -> BrokerUnavailable:
    """Return what an error of `UNAVAILABLE` means, in one sentence that says what to do.

    `BrokerRefuses` where RabbitMQ answered: waiting alone does not mend that.
    """
    fault = tls.handshake_error(error)
    if fault is not None:
        return BrokerUnavailable(
            f"The line to RabbitMQ is not safe: {fault}; correct its TLS settings."
        )
    if isinstance(error, aiormq.exceptions.ConnectionClosed):
        words = _words(error)
        if words.startswith(CLOSED_ON_PURPOSE):
            return BrokerUnavailable(f"RabbitMQ closed the connection: {words}.")
    return _refusal(error) or BrokerUnavailable(f"RabbitMQ unreachable: {_reason(error)}.")


def _refusal(error: Exception) -> BrokerRefuses | None:
    match error:
        case aiormq.ProbableAuthenticationError() | aiormq.AuthenticationError():
            return BrokerRefuses(
                "RabbitMQ refuses the user or the password",
                "correct rabbitmq.user and rabbitmq.password",
            )
        case aiormq.ChannelClosed() | aiormq.exceptions.ConnectionClosed():
            return _refused_request(error, _words(error))
        case _:
            return None


def _refused_request(error: Exception, words: str) -> BrokerRefuses | None:
    if not words:
        return None
    found = OTHER_ARGUMENT.search(words)
    if found is not None:
        return _other_argument(found)
    if isinstance(error, aiormq.ChannelNotFoundEntity):
        missing = words.partition(" - ")[2]
        return BrokerRefuses(f"RabbitMQ has {missing}", "it is declared again in some seconds")
    if isinstance(error, aiormq.ChannelAccessRefused):
        cure = f"give the user the permissions to configure, write and read ({words})"
    else:
        cure = f"see its log ({words})"
    return BrokerRefuses("RabbitMQ refuses a request", cure)


def _other_argument(found: re.Match[str]) -> BrokerRefuses:
    ours, theirs = _value(found["ours"]), _value(found["theirs"])
    kind, name = found["kind"], found["name"]
    return BrokerRefuses(
        f"The {kind} {name} exists in RabbitMQ with {found['argument']} {theirs} instead of {ours}",
        f"delete the {kind} once nothing is in it, or name another virtual host in rabbitmq.vhost",
    )


def _value(words: str) -> str:
    """Return a value out of RabbitMQ's words for it, such as ``the value '10' of type 'short'``."""
    value = QUOTED.search(words)
    return value[1] if value else words


def _words(error: Exception) -> str:
    """Return RabbitMQ's reply text."""
    return str(error.args[-1] or "") if error.args else ""


def _reason(error: BaseException) -> str:
    """Say in a few words why there is no answer."""
    match error:
        case TimeoutError():
            return "no answer in time"
        case aiormq.ChannelInvalidStateError() | asyncio.InvalidStateError():
            return "the connection was closed"
        case aiormq.AMQPConnectionError() if isinstance(error.__cause__, OSError):
            return _reason(error.__cause__)
        case aiormq.AMQPError():
            return _words(error)
        case OSError() if error.errno:
            return os.strerror(error.errno).lower()
        case _:
            return str(error)
