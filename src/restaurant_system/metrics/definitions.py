"""Every metric: its name, its labels and its meaning.

The names follow Prometheus's conventions: base units, `_total` for counters. Each label has a
bounded set of values, and none contains personal data.

- Counters and histograms count what this process did, since its start.
- Gauges of the process are sampled once a second. Of several processes on one port, they are
  summed, or the lowest value counts.
- Figures of the whole system are read from the database and the broker when Prometheus scrapes an
  HTTP service. Every service reports the same ones: use `max`, not `sum`. A figure that cannot be
  read is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from prometheus_client import Counter, Gauge, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily

from restaurant_system.metrics.histogram import BufferedHistogram
from restaurant_system.metrics.processes import take_slot
from restaurant_system.models.order import OrderType
from restaurant_system.models.status import ORIGINS, OrderStatus

take_slot()
disable_created_metrics()  # a second series for each one, which nothing here reads

REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
BATCH_DURATION_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)
BATCH_SIZE_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
ORDER_TIME_BUCKETS = (1, 5, 15, 30, 60, 120, 180, 300, 480, 600, 900, 1200, 1800, 3600, 7200)
LAG_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)

# HTTP. `route` is the template of the path, `(unknown path)` for any other; event streams are left
# out, because their duration is that of the visit.
http_request_duration_seconds = BufferedHistogram(
    "restaurant_http_request_duration_seconds",
    "Time from the head of an HTTP request to its response, by method, route and status code.",
    ["method", "route", "code"],
    buckets=REQUEST_BUCKETS,
)
live_view_clients = Gauge(
    "restaurant_live_view_clients",
    "Clients that have a live view open: board, order, dashboard or station.",
    multiprocess_mode="livesum",
)

# Orders
orders_placed_total = Counter("restaurant_orders_placed_total", "Orders stored.", ["order_type"])
orders_replayed_total = Counter(
    "restaurant_orders_replayed_total",
    "Requests with an Idempotency-Key that were answered with an earlier order.",
)
platform_orders_refused_total = Counter(
    "restaurant_platform_orders_refused_total",
    "Orders of ordering platforms that were refused, although their customers may have paid.",
    ["platform"],
)
order_moves_total = Counter(
    "restaurant_order_moves_total",
    "Status changes of orders; to completed or cancelled, their outcome.",
    ["order_type", "from_status", "to_status"],
)
order_time_to_status_seconds = BufferedHistogram(
    "restaurant_order_time_to_status_seconds",
    "Time from the placement of an order until it was cooking, ready, completed or cancelled."
    " An order that was recalled is observed again when it is ready again.",
    ["order_type", "status"],
    buckets=ORDER_TIME_BUCKETS,
)
orders_late_total = Counter(
    "restaurant_orders_late_total",
    "Orders that were ready only after kitchen.late_seconds.",
    ["order_type"],
)
order_batch_size = BufferedHistogram(
    "restaurant_order_batch_size", "Orders stored together.", buckets=BATCH_SIZE_BUCKETS
)
order_batch_duration_seconds = BufferedHistogram(
    "restaurant_order_batch_duration_seconds",
    "Time to store a batch of orders, the wait for a connection included.",
    buckets=BATCH_DURATION_BUCKETS,
)
lookup_batch_size = BufferedHistogram(
    "restaurant_lookup_batch_size",
    "Status look-ups that shared a query.",
    buckets=BATCH_SIZE_BUCKETS,
)
lookup_batch_duration_seconds = BufferedHistogram(
    "restaurant_lookup_batch_duration_seconds",
    "Time of a query for status look-ups, the wait for a connection included.",
    buckets=BATCH_DURATION_BUCKETS,
)

# Publishing
outbox_published_total = Counter(
    "restaurant_outbox_published_total", "Outbox messages that the broker has confirmed."
)
outbox_refused_total = Counter(
    "restaurant_outbox_refused_total",
    "Outbox messages that the broker has refused; they stay in the outbox.",
)
publish_batch_size = BufferedHistogram(
    "restaurant_publish_batch_size", "Messages published together.", buckets=BATCH_SIZE_BUCKETS
)
publish_duration_seconds = BufferedHistogram(
    "restaurant_publish_duration_seconds",
    "Time from publishing a batch to its last confirm.",
    buckets=BATCH_DURATION_BUCKETS,
)

# Consuming. `queue` is a queue of the kitchen, or `notifications` for those of all subscribers.
deliveries_total = Counter(
    "restaurant_deliveries_total", "Messages delivered, redeliveries included.", ["queue"]
)
redeliveries_total = Counter(
    "restaurant_redeliveries_total",
    "Messages delivered again because their connection broke or they were requeued.",
    ["queue"],
)
delivery_retries_total = Counter(
    "restaurant_delivery_retries_total",
    "Failed attempts to process a message that are followed by another.",
    ["queue"],
)
dead_letters_total = Counter(
    "restaurant_dead_letters_total", "Messages dead-lettered, by reason.", ["reason"]
)

# The process
process_start_time_seconds = Gauge(
    "restaurant_process_start_time_seconds",
    "Unix time at which the process was started; of several on one port, the last one.",
    multiprocess_mode="livemax",
)
event_loop_lag_seconds = BufferedHistogram(
    "restaurant_event_loop_lag_seconds",
    "Delay of a timer: the time for which the event loop was busy with something else.",
    buckets=LAG_BUCKETS,
)
database_available = Gauge(
    "restaurant_database_available",
    "1 while calls to the database are made, 0 while they fail at once because it is unavailable.",
    ["pool"],
    multiprocess_mode="livemin",
)
database_pool_connections = Gauge(
    "restaurant_database_pool_connections",
    "Open connections to the database, by state: idle or in_use.",
    ["pool", "state"],
    multiprocess_mode="livesum",
)
database_pool_max_connections = Gauge(
    "restaurant_database_pool_max_connections",
    "Maximum number of open connections to the database.",
    ["pool"],
    multiprocess_mode="livesum",
)
database_pool_waiting = Gauge(
    "restaurant_database_pool_waiting",
    "Callers that wait for a connection to the database.",
    ["pool"],
    multiprocess_mode="livesum",
)
database_replica_lag_seconds = Gauge(
    "restaurant_database_replica_lag_seconds",
    "Time by which a replica of the database is behind the primary; +Inf while it is unknown.",
    ["replica"],
    multiprocess_mode="livemax",
)
database_replica_usable = Gauge(
    "restaurant_database_replica_usable",
    "1 while a replica of the database may be read, 0 while it is left out.",
    ["replica"],
    multiprocess_mode="livemin",
)


@dataclass(frozen=True, slots=True)
class SystemFigure:
    """A gauge of the whole system."""

    name: str
    documentation: str
    labels: Sequence[str] = ()

    def family(self) -> GaugeMetricFamily:
        """Return the metric, still without values."""
        return GaugeMetricFamily(self.name, self.documentation, labels=self.labels)


BROKER_AVAILABLE = SystemFigure(
    "restaurant_broker_available", "1 if the broker has answered in time, else 0."
)
OUTBOX_MESSAGES = SystemFigure(
    "restaurant_outbox_messages", "Messages in the outbox, not published yet."
)
OUTBOX_OLDEST_AGE = SystemFigure(
    "restaurant_outbox_oldest_age_seconds", "Age of the oldest message in the outbox; 0 if none."
)
QUEUE_MESSAGES = SystemFigure(
    "restaurant_queue_messages", "Messages that wait in a queue of the broker.", ("queue",)
)
OPEN_ORDERS = SystemFigure(
    "restaurant_open_orders",
    "Orders that wait (received), are in preparation (cooking), wait for their time (scheduled), or"
    " were not started on their business date (held).",
    ("order_type", "status"),
)
WAITING_AGE = SystemFigure(
    "restaurant_waiting_order_oldest_age_seconds",
    "Time since the oldest order that waits to be cooked was released; 0 if none.",
    ("order_type",),
)
WORKERS_ONLINE = SystemFigure(
    "restaurant_workers_online",
    "Workers and stations on duty; each counts for every type that it cooks.",
    ("order_type",),
)
BUILD_INFO = SystemFigure(
    "restaurant_build_info", "Always 1; the version is a label.", ("version",)
)


def _create_series() -> None:
    """Create the series of all known labels, so that their rates start from 0."""
    for order_type in OrderType:
        orders_placed_total.labels(order_type)
        orders_late_total.labels(order_type)
        for target, origins in ORIGINS.items():
            for origin in origins:
                order_moves_total.labels(order_type, origin, target)
        for status in OrderStatus:
            if status is not OrderStatus.RECEIVED:
                order_time_to_status_seconds.labels(order_type, status)


_create_series()
process_start_time_seconds.set_to_current_time()
