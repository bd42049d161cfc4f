"""Record spans in the process of the test."""

import contextlib
from collections.abc import Iterator, Sequence

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from restaurant_system import tracing
from restaurant_system.tracing.spans import OpenTelemetryTracer


class RecordedSpans:
    """The spans that have ended, and the tracer that started them."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = OpenTelemetryTracer(provider, "rabbitmq")

    def all(self) -> Sequence[ReadableSpan]:
        """Return all spans, in the order in which they ended."""
        return self._exporter.get_finished_spans()

    def one(self, name: str) -> ReadableSpan:
        """Return the only span whose name begins so."""
        (span,) = self.named(name)
        return span

    def named(self, name: str) -> list[ReadableSpan]:
        """Return the spans whose names begin so."""
        return [span for span in self.all() if span.name.startswith(name)]

    @contextlib.contextmanager
    def request(self, **headers: str) -> Iterator[str]:
        """Run the block in the span of a request, and yield the context for its messages."""
        fields = [(name.encode(), value.encode()) for name, value in headers.items()]
        span = self.tracer.start_request("POST", fields)
        with span.active():
            yield tracing.current_context().get("traceparent", "")
        span.end("POST /orders", 201)


@contextlib.contextmanager
def recorded_spans() -> Iterator[RecordedSpans]:
    """Trace for the duration of the block."""
    spans = RecordedSpans()
    with tracing.using(spans.tracer):
        yield spans


def trace_of(span: ReadableSpan) -> str:
    """Return the id of a span's trace, as it is written in headers."""
    return f"{span.context.trace_id:032x}" if span.context else ""


def id_of(span: ReadableSpan) -> str:
    """Return the id of a span, as it is written in headers."""
    return f"{span.context.span_id:016x}" if span.context else ""


def context_of(span: ReadableSpan) -> str:
    """Return the header `traceparent` of a message that a span has caused."""
    flags = span.context.trace_flags if span.context else 0
    return f"00-{trace_of(span)}-{id_of(span)}-{flags:02x}"


def parent_of(span: ReadableSpan) -> str:
    """Return the id of a span's parent, "" for the first span of a trace."""
    return "" if span.parent is None else f"{span.parent.span_id:016x}"


def attribute(span: ReadableSpan, name: str) -> object:
    """Return an attribute of a span, `None` if it is absent."""
    return (span.attributes or {}).get(name)
