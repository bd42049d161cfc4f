"""Start spans with OpenTelemetry, named and described by its semantic conventions.

The conventions for HTTP are those of version 1.23 and later, in which they are stable; those for
messaging, which are not stable yet, are of version 1.37.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from http import HTTPStatus

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, StatusCode, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from restaurant_system import __version__
from restaurant_system.models.message import Header, Message
from restaurant_system.models.text import is_request_id
from restaurant_system.tracing import TraceContext

SCOPE = "restaurant_system"
SCHEMA_URL = "https://opentelemetry.io/schemas/1.37.0"

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"
MAX_STATE_LENGTH = 512  # characters; W3C Trace Context, 3.3.1.5, requires no more to be passed on
METHODS = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
)
OTHER = "_OTHER"
NO_RESPONSE = "no_response"
DEFAULT_EXCHANGE = "amq.default"
ERROR_TYPE = "error.type"
ORDER_NUMBER = "restaurant.order.number"

_propagator = TraceContextTextMapPropagator()


class OpenTelemetryTracer:
    """The `Tracer` on the spans of a provider.

    `messaging_system` is the broker: "rabbitmq" or "postgresql".
    """

    def __init__(self, provider: TracerProvider, messaging_system: str) -> None:
        self._tracer = provider.get_tracer(SCOPE, __version__, schema_url=SCHEMA_URL)
        self._system = messaging_system

    def start_request(
        self, method: str, headers: Sequence[tuple[bytes, bytes]]
    ) -> "OpenTelemetryRequestSpan":
        """Start the span of an HTTP request, in the trace that its header fields name."""
        known = method if method in METHODS else OTHER
        span = self._tracer.start_span(
            known if known != OTHER else "HTTP",
            _context_of_request(headers),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": known, "url.scheme": "http"},
        )
        return OpenTelemetryRequestSpan(span)

    @contextlib.contextmanager
    def sending(self, messages: Sequence[Message]) -> Iterator["OpenTelemetrySentMessages"]:
        """Trace the publication of each message, which is the next step after its own context.

        The messages of a batch belong to different traces, so each has a span of its own.
        """
        spans = [self._start_sending(message) for message in messages]
        try:
            yield OpenTelemetrySentMessages(messages, spans)
        except BaseException as error:
            for span in spans:
                _fail(span, type(error).__name__)
            raise
        finally:
            for span in spans:
                span.end()

    @contextlib.contextmanager
    def processing(self, message: Message, queue: str, template: str | None) -> Iterator[None]:
        """Trace the processing of a message.

        The span is a child of the sender's. It is also linked to it, as the conventions require.
        """
        context = _context_of_message(message)
        sender = trace.get_current_span(context).get_span_context()
        name = _destination(message.exchange, message.routing_key, queue)
        attributes = self._attributes("process", message, name)
        destination = name
        if template is not None:
            destination = _destination(message.exchange, message.routing_key, template)
            attributes["messaging.destination.template"] = destination
        span = self._tracer.start_span(
            f"process {destination}",
            context,
            kind=SpanKind.CONSUMER,
            attributes=attributes,
            links=[Link(sender)] if sender.is_valid else (),
        )
        try:
            with _as_current(span):
                yield
        except BaseException as error:
            _fail(span, type(error).__name__)
            raise
        finally:
            span.end()

    @contextlib.contextmanager
    def continuing(self, context: TraceContext) -> Iterator[None]:
        """Trace the cooking of an order in the trace of the request that placed it."""
        parent = _extract(context.get(TRACEPARENT), context.get(TRACESTATE))
        with self._tracer.start_as_current_span(
            "cook order",
            parent,
            record_exception=False,
            set_status_on_exception=False,
        ):
            yield

    def current_context(self) -> TraceContext:
        """Return the context of the current span as headers of a message."""
        return _headers_of(trace.get_current_span())

    def current_trace_id(self) -> str:
        """Return the id of the current trace, "" without one."""
        context = trace.get_current_span().get_span_context()
        return trace.format_trace_id(context.trace_id) if context.is_valid else ""

    def set_order_number(self, number: str) -> None:
        """Add the order number to the current span."""
        trace.get_current_span().set_attribute(ORDER_NUMBER, number)

    def set_failed(self, error_type: str) -> None:
        """Mark the current span as failed."""
        _fail(trace.get_current_span(), error_type)

    def add_link(self, context: TraceContext) -> None:
        """Link the current span to a context, if that is one."""
        linked = trace.get_current_span(_propagator.extract(context, Context()))
        if linked.get_span_context().is_valid:
            trace.get_current_span().add_link(linked.get_span_context())

    def _start_sending(self, message: Message) -> Span:
        destination = _destination(message.exchange, message.routing_key)
        return self._tracer.start_span(
            f"send {destination}",
            _context_of_message(message),
            kind=SpanKind.PRODUCER,
            attributes=self._attributes("send", message, destination),
        )

    def _attributes(self, operation: str, message: Message, destination: str) -> dict[str, str]:
        attributes = {
            "messaging.system": self._system,
            "messaging.operation.name": operation,
            "messaging.operation.type": operation,
            "messaging.destination.name": destination,
            "messaging.message.id": str(message.message_id),
        }
        if is_request_id(message.correlation_id):  # else it may be any text of a third party
            attributes["messaging.message.conversation_id"] = message.correlation_id
        if message.routing_key and self._system == "rabbitmq":
            routing_key = _encodable(message.routing_key)
            attributes["messaging.rabbitmq.destination.routing_key"] = routing_key
        return attributes


class OpenTelemetryRequestSpan:
    """The `RequestSpan` on a span of OpenTelemetry."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def active(self) -> AbstractContextManager[object]:
        """Make this the current span of the block."""
        return _as_current(self._span)

    def end(self, route: str | None, status: int | None) -> None:
        """End the span, unless it has ended.

        The convention's `url.path` contains the names of parameters in place of their values, which
        may be personal. It is absent if there is no such route.
        """
        span = self._span
        if not span.is_recording():  # ended, or not sampled
            return
        if route is not None:
            path = route.partition(" ")[2]
            span.update_name(route)
            span.set_attributes({"http.route": path, "url.path": path})
        if status is None:
            _fail(span, NO_RESPONSE)
        else:
            span.set_attribute("http.response.status_code", int(status))
            if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                _fail(span, str(int(status)))
        span.end()


class OpenTelemetrySentMessages:
    """The `SentMessages` on spans of OpenTelemetry."""

    def __init__(self, messages: Sequence[Message], spans: Sequence[Span]) -> None:
        self.messages: Sequence[Message] = [
            _with_headers(message, _headers_of(span))
            for message, span in zip(messages, spans, strict=True)
        ]
        self._spans = spans

    def fail(self, position: int, error_type: str) -> None:
        """Mark the span of the message at a position as failed."""
        _fail(self._spans[position], error_type)


def _as_current(span: Span) -> AbstractContextManager[object]:
    """Make a span the current one; the text of an exception, which may be personal, is left out."""
    return trace.use_span(span, record_exception=False, set_status_on_exception=False)


def _fail(span: Span, error_type: str) -> None:
    span.set_attribute(ERROR_TYPE, error_type)
    span.set_status(StatusCode.ERROR)


def _context_of_request(headers: Sequence[tuple[bytes, bytes]]) -> Context:
    """Return the context that header fields name; an empty one unless they are valid.

    A second `traceparent` makes both invalid; several fields `tracestate` are joined.
    """
    parents = [value for name, value in headers if name == b"traceparent"]
    if len(parents) != 1:
        return Context()
    states = [value for name, value in headers if name == b"tracestate"]
    return _extract(parents[0].decode("latin-1"), b",".join(states).decode("latin-1"))


def _context_of_message(message: Message) -> Context:
    """Return the context in the headers of a message, which may be those of a third party."""
    return _extract(message.headers.get(TRACEPARENT), message.headers.get(TRACESTATE))


def _extract(parent: Header | None, state: Header | None) -> Context:
    if not isinstance(parent, str):
        return Context()
    carrier = {TRACEPARENT: parent}
    if isinstance(state, str) and len(state) <= MAX_STATE_LENGTH:
        carrier[TRACESTATE] = state
    return _propagator.extract(carrier, Context())


def _headers_of(span: Span) -> TraceContext:
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, trace.set_span_in_context(span, Context()))
    return carrier


def _with_headers(message: Message, context: TraceContext) -> Message:
    """Return a message with this context in its headers, and no part of another one."""
    others: Mapping[str, Header] = {
        name: value
        for name, value in message.headers.items()
        if name not in {TRACEPARENT, TRACESTATE}
    }
    return dataclasses.replace(message, headers={**others, **context})


def _destination(exchange: str, routing_key: str, queue: str = "") -> str:
    """Return the name of a destination: exchange, routing key and queue, as far as they exist.

    The conventions for RabbitMQ; messages in PostgreSQL have the same properties.
    """
    names = [exchange, routing_key, "" if queue == routing_key else queue]
    return _encodable(":".join(name for name in names if name)) or DEFAULT_EXCHANGE


def _encodable(text: str) -> str:
    """Replace what UTF-8 cannot express: one such name would lose a whole batch of spans."""
    return text.encode(errors="replace").decode()
