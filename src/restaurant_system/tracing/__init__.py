"""Trace requests and messages with OpenTelemetry: from the HTTP request to the subscriber.

Tracing is off unless `telemetry.enabled` is set. While it is off, nothing of OpenTelemetry is
imported, and each function here returns at once.

A span of an order's trace is the parent of the next one: the HTTP request; each publication of a
message ("send"); and the processing of the message by a worker or subscriber ("process"), which may
cause further messages. Between them, a message carries the context in the headers `traceparent` and
`tracestate` (W3C Trace Context), first in the outbox and then in the broker. Baggage is not passed
on. Spans contain no personal data: no body, no path as it was requested, no address of a client,
and no text of an exception.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from restaurant_system import logger
from restaurant_system.models.message import Message

TraceContext = Mapping[str, str]
NO_CONTEXT: TraceContext = {}

# The path of a request for a probe or a scrape, of which one span each would hide the others.
UNTRACED_PATHS = frozenset({"/health", "/health/live", "/health/ready", "/metrics"})


class RequestSpan(Protocol):
    """The span of an HTTP request."""

    def active(self) -> AbstractContextManager[object]:
        """Make this the current span of the block."""

    def end(self, route: str | None, status: int | None) -> None:
        """End the span, unless it has ended; `status` is `None` if there was no response."""


class SentMessages(Protocol):
    """Messages that are being published, each with a span and its context in the headers."""

    messages: Sequence[Message]

    def fail(self, position: int, error_type: str) -> None:
        """Mark the span of the message at a position as failed."""


class Tracer(Protocol):
    """Starts spans and knows the current one."""

    def start_request(self, method: str, headers: Sequence[tuple[bytes, bytes]]) -> RequestSpan:
        """Start the span of an HTTP request, in the trace that its header fields name."""

    def sending(self, messages: Sequence[Message]) -> AbstractContextManager[SentMessages]:
        """Trace the publication of each message, which is the next step after its own context."""

    def processing(
        self, message: Message, queue: str, template: str | None
    ) -> AbstractContextManager[object]:
        """Trace the processing of a message; see the function `processing`."""

    def continuing(self, context: TraceContext) -> AbstractContextManager[object]:
        """Trace the cooking of an order; see the function `continuing`."""

    def current_context(self) -> TraceContext:
        """Return the context of the current span as headers of a message."""

    def current_trace_id(self) -> str:
        """Return the id of the current trace, "" without one."""

    def add_link(self, context: TraceContext) -> None:
        """Link the current span to the span of a context, if that is one."""

    def set_order_number(self, number: str) -> None:
        """Add the order number to the current span."""

    def set_failed(self, error_type: str) -> None:
        """Mark the current span as failed."""


_tracer: Tracer | None = None


@contextlib.contextmanager
def using(tracer: Tracer) -> Iterator[None]:
    """Trace with `tracer` for the duration of the block, and log the ids of traces."""
    global _tracer  # noqa: PLW0603 - the process has one, like its log
    _tracer = tracer
    logger.set_trace_id_source(tracer.current_trace_id)
    try:
        yield
    finally:
        _tracer = None
        logger.set_trace_id_source(None)


def active_tracer() -> Tracer | None:
    """Return the tracer of this process; `None` while tracing is off."""
    return _tracer


def current_context() -> TraceContext:
    """Return the context of the current span as headers of a message; empty without a span."""
    return NO_CONTEXT if _tracer is None else _tracer.current_context()


def log_details(context: Mapping[str, object]) -> dict[str, str]:
    """Return the id of a trace for a line that is logged outside of its spans."""
    return {"trace_id": str(context["traceparent"])[3:35]} if context else {}


def processing(
    message: Message, queue: str, *, template: str | None = None
) -> AbstractContextManager[object]:
    """Trace the processing of a message from a queue: it continues the trace of its sender.

    `template` stands for the name of the queue in the name of the span, if the names of such queues
    are not a bounded set. An exception that leaves the block marks the span as failed.
    """
    if _tracer is None:
        return contextlib.nullcontext()
    return _tracer.processing(message, queue, template)


def continuing(context: TraceContext) -> AbstractContextManager[object]:
    """Trace the cooking of an order whose own message was not received: continue its trace."""
    return contextlib.nullcontext() if _tracer is None else _tracer.continuing(context)


def add_link(context: TraceContext) -> None:
    """Link the current span to the span of a context, to whose trace it belongs as well."""
    if _tracer is not None:
        _tracer.add_link(context)


def set_order_number(number: str) -> None:
    """Add the order number to the current span, so that the trace of an order can be found."""
    if _tracer is not None:
        _tracer.set_order_number(number)


def set_failed(error_type: str) -> None:
    """Mark the current span as failed; `error_type` is one of few values."""
    if _tracer is not None:
        _tracer.set_failed(error_type)
