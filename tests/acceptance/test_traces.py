"""The trace of one order leads through all processes."""

from tests.support import deployments
from tests.support.deployments import Deployment
from tests.support.orders import make_order_body
from tests.support.otlp_collector import (
    CONSUMER,
    PRODUCER,
    SERVER,
    Collector,
    ReceivedSpan,
    running_collector,
)

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
TRACED = {"traceparent": f"00-{TRACE_ID}-{CALLER}-01", "tracestate": "till=t61rcWkgMzE"}
PERSONAL = ("Ada Lovelace", "12 Analytical Row", "extra wasabi", "bell is broken")
ORDER = make_order_body(
    order_type="delivery",
    delivery_address=PERSONAL[1],
    notes=PERSONAL[3],
    items=[{"name": "Margherita", "quantity": 1, "price": 9.5, "notes": PERSONAL[2]}],
)


def telemetry(endpoint: str) -> dict[str, str]:
    """Return variables that turn tracing on, and export spans soon."""
    return {
        "RESTAURANT_TELEMETRY__ENABLED": "true",
        "RESTAURANT_TELEMETRY__ENDPOINT": endpoint,
        "RESTAURANT_TELEMETRY__ATTRIBUTES": '{"deployment.environment.name": "test"}',
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }


def start_all(deployment: Deployment) -> None:
    """Start an order service, a worker, a tracking service and a subscriber."""
    deployment.start_order_service()
    deployment.start_worker("mario")
    deployment.start_tracking_service()
    deployment.start_subscriber("till")
    deployment.wait_until_ready()


def child_of(parent: str, spans: list[ReceivedSpan], name: str) -> ReceivedSpan:
    """Return the child of a span that has this name."""
    (child,) = [span for span in spans if span.parent == parent and span.name == name]
    return child


def test_one_trace_leads_from_the_request_to_the_subscriber(dsn: str, amqp_url: str) -> None:
    with (
        running_collector() as collector,
        deployments.running(dsn, amqp_url, **telemetry(collector.url)) as deployment,
    ):
        start_all(deployment)
        earlier = deployment.post_order(ORDER).json()["order_number"]
        deployment.wait_for_status(earlier, "ready")
        # The worker has just looked for orders, and looks again in a second: the message is faster.
        number = deployment.post_order(ORDER, **TRACED).json()["order_number"]
        deployment.wait_for_status(number, "ready")
        deployment.tracking.get(f"/orders/{number}/status", headers=TRACED)
        spans = collector.of_trace(TRACE_ID, 8)
        logged = [
            line["details"].get("trace_id")
            for process in deployment.started
            for line in process.logs
            if number in line["message"]
            and line["action"]
            in {"order_received", "order_processing_started", "notification_received"}
        ]

    check_steps(spans, number)
    assert logged == [TRACE_ID] * 4  # received, started, and two notifications
    check_that_no_span_is_personal(collector)
    assert {each["deployment.environment.name"] for each in collector.resources} == {"test"}


def check_steps(spans: list[ReceivedSpan], number: str) -> None:
    """Check that each step has the one before it as its parent.

    The update about the start of cooking is stored by the statement that claims the order, so that
    it continues the request that placed it.
    """
    placed = child_of(CALLER, spans, "POST /orders")
    sent = child_of(placed.id, spans, "send orders_topic:kitchen.delivery.1")
    cooked = child_of(
        sent.id, spans, "process orders_topic:kitchen.delivery.1:kitchen_delivery_queue"
    )
    updates = [
        child_of(parent.id, spans, "send notifications_fanout") for parent in (placed, cooked)
    ]
    notified = [span for span in spans if span.parent in {each.id for each in updates}]
    looked_up = child_of(CALLER, spans, "GET /orders/{order_number}/status")

    assert {each.parent for each in notified} == {each.id for each in updates}
    assert {each.name for each in notified} == {
        "process notifications_fanout:notifications_queue.{name}"
    }
    assert len(spans) == 8
    assert {(each.service, each.kind) for each in (placed, sent)} == {
        ("order-service", SERVER),
        ("order-service", PRODUCER),
    }
    assert (cooked.service, cooked.kind, cooked.links) == ("kitchen-worker", CONSUMER, (sent.id,))
    assert {(each.service, each.kind) for each in updates} == {("kitchen-worker", PRODUCER)}
    assert {(each.service, each.kind) for each in notified} == {
        ("notification-subscriber", CONSUMER)
    }
    assert looked_up.service == "tracking-service"
    assert {each.state for each in spans} == {"till=t61rcWkgMzE"}
    assert not any(each.has_failed for each in spans)
    for each in (placed, cooked, *notified):
        assert each.attributes["restaurant.order.number"] == number
    assert placed.attributes["http.response.status_code"] == 201
    assert cooked.attributes["messaging.system"] == "rabbitmq"


def check_that_no_span_is_personal(collector: Collector) -> None:
    """Check that nothing of an order's customer was sent to the collector."""
    sent = b"".join(collector.bodies)

    assert b"POST /orders" in sent
    for text in (*PERSONAL, "127.0.0.1"):
        assert text.encode() not in sent
