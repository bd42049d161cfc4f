"""Receive spans by OTLP over HTTP, as a collector does, and store them."""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.support.waiting import wait_until

SERVER, PRODUCER, CONSUMER = (
    Span.SPAN_KIND_SERVER,
    Span.SPAN_KIND_PRODUCER,
    Span.SPAN_KIND_CONSUMER,
)


@dataclass(frozen=True, slots=True)
class ReceivedSpan:
    """A span that the collector has received, and the name of the service that sent it."""

    service: str
    name: str
    kind: int
    trace_id: str
    id: str
    parent: str
    state: str
    links: tuple[str, ...]
    attributes: dict[str, object]
    has_failed: bool


@dataclass
class Collector:
    """A collector's address, what it has received, and how it answers."""

    url: str = ""
    status: int = 200
    delay: float = 0
    spans: list[ReceivedSpan] = field(default_factory=list)
    resources: list[dict[str, object]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def receive(self, body: bytes) -> None:
        """Store the spans of a request."""
        self.bodies.append(body)
        for part in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = _attributes(part.resource.attributes)
            self.resources.append(resource)
            service = str(resource["service.name"])
            self.spans += [
                _received(span, service) for scope in part.scope_spans for span in scope.spans
            ]

    def of_trace(self, trace_id: str, count: int) -> list[ReceivedSpan]:
        """Wait for this many spans of a trace, and return them."""

        def found() -> list[ReceivedSpan]:
            return [span for span in self.spans if span.trace_id == trace_id]

        wait_until(
            lambda: len(found()) >= count, seconds=20, doing=f"for {count} spans, not {found()}"
        )
        return found()


@contextlib.contextmanager
def running_collector() -> Iterator[Collector]:
    """Run a collector on a free port for the duration of the block."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(collector.delay)
            status = collector.status if self.path == "/v1/traces" else 404
            if status == 200:
                collector.receive(body)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector.url = f"http://127.0.0.1:{server.server_port}"
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    serving.start()
    try:
        yield collector
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


def _received(span: Span, service: str) -> ReceivedSpan:
    return ReceivedSpan(
        service,
        span.name,
        span.kind,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.trace_state,
        tuple(link.span_id.hex() for link in span.links),
        _attributes(span.attributes),
        span.status.code == 2,
    )


def _attributes(pairs: "list[KeyValue]") -> dict[str, object]:
    return {
        pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value")
        for pair in pairs
    }
