"""Spans of requests and messages, and the context that they pass on."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from io import StringIO
from typing import Any
from unittest.mock import Mock

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.trace import StatusCode
from pydantic import ValidationError

from restaurant_system import logger, tracing
from restaurant_system.app.telemetry import traced
from restaurant_system.config import KitchenDisplaySettings, Settings, TelemetrySettings
from restaurant_system.errors import ConfigurationError, DatabaseUnavailable
from restaurant_system.messaging.order_messages import Sender
from restaurant_system.models.order import OrderType
from restaurant_system.services.display.stations import Stations
from restaurant_system.shutdown import Shutdown
from restaurant_system.tracing import export as export_module
from restaurant_system.tracing.export import SpanExport
from tests.support import logs
from tests.support.logs import capture_logs
from tests.support.messages import make_order_message, make_status_update
from tests.support.otlp_collector import running_collector
from tests.support.processes import free_port
from tests.support.services import http_client
from tests.support.tracing import (
    RecordedSpans,
    attribute,
    context_of,
    parent_of,
    recorded_spans,
    trace_of,
)
from tests.support.waiting import wait_until
from tests.unit.test_fast_path import ExampleApp

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"
LONG_STATE = ",".join(f"vendor{number}={'x' * 60}" for number in range(10))


@pytest.fixture
def spans() -> Iterator[RecordedSpans]:
    """Trace with spans that are kept in memory."""
    with recorded_spans() as spans:
        yield spans


def test_opentelemetry_is_not_imported_while_tracing_is_off() -> None:
    """FastAPI imports the API, but not the SDK."""
    program = """
import sys
import restaurant_system.app.kitchen_worker, restaurant_system.app.notification_subscriber
assert "opentelemetry" not in sys.modules
import restaurant_system.app.all_in_one
assert not {"opentelemetry.sdk", "restaurant_system.tracing.spans"} & sys.modules.keys()
"""

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0  # noqa: S603 - our own program


def test_without_tracing_messages_have_no_context() -> None:
    with tracing.processing(make_order_message(), "kitchen_queue"):
        assert tracing.current_context() == {}
        assert Sender("order-service", "r-1").trace == {}
        tracing.set_failed("retried")  # does nothing


def test_messages_that_no_request_causes_have_no_context(spans: RecordedSpans) -> None:
    """Those of reconciliation, for example: it publishes lost messages again."""
    assert Sender("order-service", "check-1").trace == {}
    assert not spans.all()


def start_request(spans: RecordedSpans, *headers: tuple[str, str]) -> str:
    """Trace a request with these header fields, and return the `traceparent` of its messages."""
    fields = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    span = spans.tracer.start_request("POST", fields)
    with span.active():
        context = tracing.current_context()
    span.end("POST /orders", 201)
    return context["traceparent"]


def test_request_continues_the_trace_of_its_client(spans: RecordedSpans) -> None:
    state = ("tracestate", "till=1"), ("tracestate", "shop=2")

    context = start_request(spans, ("traceparent", PARENT), *state)

    span = spans.one("POST /orders")
    assert (trace_of(span), parent_of(span)) == (TRACE_ID, SPAN_ID)
    assert context == context_of(span)
    assert span.context
    assert span.context.trace_state.to_header() == "till=1,shop=2"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("traceparent", "")],
        [("traceparent", PARENT.upper())],
        [("traceparent", f"ff-{TRACE_ID}-{SPAN_ID}-01")],
        [("traceparent", f"00-{'0' * 32}-{SPAN_ID}-01")],
        [("traceparent", f"00-{TRACE_ID}-{'0' * 16}-01")],
        [("traceparent", f"{PARENT}-more")],
        [("traceparent", f"{PARENT}-{'x' * 10_000}")],
        [("traceparent", "\xe4\xf6\xfc")],
        [("traceparent", PARENT), ("traceparent", PARENT)],
        [("tracestate", "till=1")],
    ],
)
def test_invalid_context_of_a_client_begins_a_new_trace(
    spans: RecordedSpans, headers: Sequence[tuple[str, str]]
) -> None:
    start_request(spans, *headers)

    span = spans.one("POST /orders")
    assert span.parent is None
    assert trace_of(span) != TRACE_ID
    assert span.context
    assert not span.context.trace_state


def test_oversized_state_of_a_client_is_dropped(spans: RecordedSpans) -> None:
    start_request(spans, ("traceparent", PARENT), ("tracestate", LONG_STATE))

    span = spans.one("POST /orders")
    assert trace_of(span) == TRACE_ID
    assert span.context
    assert not span.context.trace_state


def test_trace_that_its_client_does_not_record_is_passed_on_unrecorded(
    spans: RecordedSpans,
) -> None:
    context = start_request(spans, ("traceparent", f"00-{TRACE_ID}-{SPAN_ID}-00"))

    assert context.startswith(f"00-{TRACE_ID}-")
    assert context.endswith("-00")
    with spans.tracer.sending([make_order_message(headers={"traceparent": context})]) as sent:
        assert str(sent.messages[0].headers["traceparent"]).startswith(f"00-{TRACE_ID}-")
    assert spans.all() == ()


def test_each_message_of_a_batch_is_sent_in_its_own_trace(spans: RecordedSpans) -> None:
    other_trace = "a" * 32
    messages = [
        make_order_message(headers={"traceparent": PARENT, "tracestate": "till=1", "x": 1}),
        make_order_message(headers={"traceparent": f"00-{other_trace}-{SPAN_ID}-01"}),
        make_order_message(),
    ]

    with spans.tracer.sending(messages) as sent:
        sent.fail(1, "refused")

    first, second, third = spans.named("send orders_topic:kitchen.takeout.1")
    assert [trace_of(span) for span in (first, second)] == [TRACE_ID, other_trace]
    assert third.parent is None
    headers = [message.headers for message in sent.messages]
    assert headers == [
        {"x": 1, "traceparent": context_of(first), "tracestate": "till=1"},
        {"traceparent": context_of(second)},
        {"traceparent": context_of(third)},
    ]
    assert [attribute(span, "error.type") for span in (first, second, third)] == [
        None,
        "refused",
        None,
    ]
    assert [replace(message, headers={}) for message in sent.messages] == [
        replace(message, headers={}) for message in messages
    ]


def test_lost_connection_fails_every_span_of_a_batch(spans: RecordedSpans) -> None:
    with (
        pytest.raises(ConnectionError),
        spans.tracer.sending([make_order_message(), make_status_update()]),
    ):
        raise ConnectionError("to Ada Lovelace")

    assert [attribute(span, "error.type") for span in spans.all()] == ["ConnectionError"] * 2
    assert not any(span.events or span.status.description for span in spans.all())


def test_processing_is_a_child_of_sending_and_linked_to_it(spans: RecordedSpans) -> None:
    message = make_order_message(headers={"traceparent": PARENT})

    with tracing.processing(message, "kitchen_takeout_queue"):
        tracing.set_order_number("ORD_20241216_001")
        caused = Sender("kitchen-worker", "r-1").trace

    span = spans.one("process orders_topic:kitchen.takeout.1:kitchen_takeout_queue")
    assert (trace_of(span), parent_of(span)) == (TRACE_ID, SPAN_ID)
    assert [f"{link.context.span_id:016x}" for link in span.links] == [SPAN_ID]
    assert caused == {"traceparent": context_of(span)}
    assert span.attributes == {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "orders_topic:kitchen.takeout.1:kitchen_takeout_queue",
        "messaging.message.id": str(message.message_id),
        "messaging.message.conversation_id": "req-1",
        "messaging.rabbitmq.destination.routing_key": "kitchen.takeout.1",
        "restaurant.order.number": "ORD_20241216_001",
    }


def test_span_of_any_third_party_message_can_be_encoded(spans: RecordedSpans) -> None:
    message = make_order_message(exchange="\udcff", routing_key="\ud800")

    with tracing.processing(message, "kitchen_queue"):
        pass

    assert encode_spans(spans.all()).SerializeToString()


@pytest.mark.parametrize("header", [5, "5", "", "\n", f"{PARENT}\x00"])
def test_invalid_context_of_a_third_party_begins_a_new_trace(
    spans: RecordedSpans, header: str | int
) -> None:
    message = make_order_message(
        headers={"traceparent": header, "tracestate": 7}, correlation_id="for Ada Lovelace"
    )

    with tracing.processing(message, "kitchen_queue"):
        pass

    span = spans.one("process")
    assert span.parent is None
    assert span.links == ()
    assert attribute(span, "messaging.message.conversation_id") is None


def test_error_of_a_message_is_recorded_without_its_text(spans: RecordedSpans) -> None:
    with pytest.raises(ValueError, match="Ada"), tracing.processing(make_order_message(), "q"):
        raise ValueError("Ada Lovelace")

    span = spans.one("process")
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
    assert attribute(span, "error.type") == "ValueError"
    assert span.events == ()


def test_logs_of_a_traced_message_have_its_trace_id(spans: RecordedSpans) -> None:
    stream = StringIO()
    with logs.restored():
        logger.configure(service="test", level="INFO", style="json", stream=stream)
        log = logger.get_logger()

        with tracing.processing(make_order_message(headers={"traceparent": PARENT}), "q"):
            log.info("order_received", message="Received.")
        log.info("order_received", message="Received.")

    inside, outside = [json.loads(line)["details"] for line in stream.getvalue().splitlines()]
    assert (inside, outside) == ({"trace_id": TRACE_ID}, {})
    assert spans.all()


@pytest.mark.parametrize("over_asgi", [False, True])
async def test_both_paths_record_the_same_of_a_request(
    spans: RecordedSpans, *, over_asgi: bool
) -> None:
    """A request with a query string is answered over ASGI."""
    query = "?for=Ada" if over_asgi else ""
    async with http_client(ExampleApp().feature()) as client:
        for soup in ("pea", "missing", "broken"):
            response = await client.get(
                f"/soups/{soup}/price{query}", headers={"traceparent": PARENT}
            )
            assert ("Over-ASGI" in response.headers) == (over_asgi and soup == "pea")

    facts = {
        "http.request.method": "GET",
        "url.scheme": "http",
        "http.route": "/soups/{name}/price",
        "url.path": "/soups/{name}/price",
    }
    assert [span.name for span in spans.all()] == ["GET /soups/{name}/price"] * 3
    assert {parent_of(span) for span in spans.all()} == {SPAN_ID}
    assert [span.attributes for span in spans.all()] == [
        {**facts, "http.response.status_code": 200},
        {**facts, "http.response.status_code": 404},
        {**facts, "http.response.status_code": 500, "error.type": "500"},
    ]
    assert [span.status.status_code for span in spans.all()] == [
        StatusCode.UNSET,
        StatusCode.UNSET,
        StatusCode.ERROR,
    ]


async def test_unknown_path_is_not_recorded(spans: RecordedSpans) -> None:
    async with http_client(ExampleApp().feature()) as client:
        await client.get("/customers/Ada")
        await client.request("BREW", "/health")

    assert [span.name for span in spans.all()] == ["GET"]
    assert attribute(spans.all()[0], "url.path") is None


def settings(**values: Any) -> TelemetrySettings:  # noqa: ANN401 - any setting
    """Return settings with tracing enabled."""
    return TelemetrySettings(enabled=True, **values)


def test_missing_extra_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("opentelemetry")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)

    with pytest.raises(ValidationError, match=r"pip install 'restaurant-system\[telemetry\]'"):
        settings()

    assert not TelemetrySettings().enabled


@pytest.mark.parametrize(
    "endpoint",
    ["collector:4318", "ftp://collector", "http://user:secret@collector:4318", "http://c/?key=1"],
)
def test_invalid_endpoint_is_refused(endpoint: str) -> None:
    with pytest.raises(ValidationError, match="OTEL_EXPORTER_OTLP_HEADERS"):
        settings(endpoint=endpoint)


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://localhost:4318",
        "https://otel_collector/",
        "http://[::1]:4318/otlp",
        "http://10.0.0.1",
    ],
)
def test_valid_endpoint_is_accepted(endpoint: str) -> None:
    assert settings(endpoint=endpoint).endpoint == endpoint


def test_standard_variables_apply_where_settings_are_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "intake")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,zone=a")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")

    export = SpanExport(settings(attributes={"zone": "b"}), "order-service")
    resource = export.provider.resource.attributes
    recorded = export.provider.get_tracer("test").start_span("x").is_recording()
    always = SpanExport(settings(sample_ratio=1), "order-service").provider
    recorded_by_setting = always.get_tracer("test").start_span("x").is_recording()

    assert (resource["service.name"], resource["zone"]) == ("intake", "b")
    assert resource["deployment.environment.name"] == "test"
    assert resource["service.namespace"] == "restaurant-system"
    assert (recorded, recorded_by_setting) == (False, True)


async def test_invalid_standard_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """By default a batch has 512 spans."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "256")

    with pytest.raises(ConfigurationError, match=r"OTEL_\* is invalid: .* max_queue_size"):
        async with traced(Settings(telemetry=settings()), "tracking-service"):
            pass


def test_refusing_collector_is_logged_until_it_accepts_spans_and_delays_no_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    with capture_logs() as lines, running_collector() as collector:
        export = SpanExport(settings(endpoint=f"{collector.url}/"), "order-service")
        tracer = export.provider.get_tracer("test")

        def is_logged(count: int) -> bool:
            tracer.start_span("x").end()
            return len(lines) >= count

        for count, collector.status in enumerate((400, 200, 400), start=1):
            wait_until(partial(is_logged, count), seconds=5, doing="for a log line")
        collector.delay = 0.3
        tracer.start_span("x").end()
        start = time.monotonic()
        export.stop()
        duration = time.monotonic() - start

    assert [line["event"] for line in lines] == [
        "telemetry_export_failed",
        "telemetry_export_resumed",
        "telemetry_export_failed",
    ]
    assert duration < 0.2


def test_stop_does_not_wait_for_a_collector_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_module, "FLUSH_TIMEOUT", 0.1)
    with running_collector() as collector:
        collector.delay = 0.5
        export = SpanExport(settings(endpoint=collector.url), "order-service")
        export.provider.get_tracer("test").start_span("x").end()
        start = time.monotonic()
        export.stop()
        duration = time.monotonic() - start

    assert 0.1 <= duration < 0.4


async def test_station_works_outside_of_the_request_that_opens_it(spans: RecordedSpans) -> None:
    shutdown, contexts = Shutdown(), []

    def make_worker(*_: object) -> Any:  # noqa: ANN401 - never returns
        contexts.append(tracing.current_context())
        shutdown.request_stop()
        raise DatabaseUnavailable("PostgreSQL is unreachable.")

    stations = Stations(
        KitchenDisplaySettings(),
        make_rail=lambda _: Mock(feed=Mock(unwatched_seconds=0)),
        make_worker=make_worker,
        shutdown=shutdown,
    )
    async with stations.running():
        with spans.request() as context:
            stations.open("grill", [OrderType.TAKEOUT], None)

    assert context
    assert contexts == [{}]


def test_collector_that_is_away_is_logged_once_and_delays_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "20")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.05")
    with capture_logs() as lines:
        export = SpanExport(settings(endpoint=f"http://127.0.0.1:{free_port()}"), "order-service")
        tracer = export.provider.get_tracer("test")
        tracer.start_span("x").end()
        wait_until(lambda: bool(lines), seconds=10, doing="for a log line")
        start = time.monotonic()
        for _ in range(1000):  # far more than the queue holds
            tracer.start_span("x").end()
        duration = time.monotonic() - start
        time.sleep(0.2)  # for further exports
        export.stop()

    assert [line["event"] for line in lines] == ["telemetry_export_failed"]
    assert duration < 1
    assert not [each for each in caplog.records if each.name.startswith("opentelemetry")]
