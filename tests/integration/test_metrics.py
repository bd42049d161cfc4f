"""Metrics of orders, messages and servers, as Prometheus reads them."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import pytest
from pydantic import SecretStr

from restaurant_system.app import http_service
from restaurant_system.app.monitoring import exposer_of_service, read_database, read_queues
from restaurant_system.app.runtime import Runtime, background_task
from restaurant_system.config import (
    DatabaseSettings,
    LateSeconds,
    MetricsSettings,
    RabbitMQSettings,
    Settings,
)
from restaurant_system.database.connection import Database
from restaurant_system.messaging.broker import Broker
from restaurant_system.messaging.rabbitmq import RabbitMQBroker
from restaurant_system.messaging.retry_policy import RetryPolicy
from restaurant_system.messaging.signature import Signer
from restaurant_system.metrics import definitions, exposition
from restaurant_system.metrics.exposition import Figures
from restaurant_system.metrics.request_durations import UNKNOWN_PATH
from restaurant_system.models.business_day import BusinessDay
from restaurant_system.models.order import Move, OrderType
from restaurant_system.services.order.service import OrderService
from restaurant_system.shutdown import Shutdown
from tests.support.database import monitored
from tests.support.display import running_display
from tests.support.fakes import RecordingBroker
from tests.support.kitchen import Kitchen, make_order_received, settings
from tests.support.live_view_client import watching
from tests.support.messages import TAKEOUT, make_order_message
from tests.support.metrics import increase, value_in
from tests.support.orders import make_order
from tests.support.postgres_server import Postgres
from tests.support.rabbitmq_server import RabbitMQ
from tests.support.services import (
    http_client,
    make_broker,
    make_live_views,
    make_order_service,
    make_relay,
)
from tests.support.tcp_proxy import proxy
from tests.support.waiting import eventually

Count = Callable[[], float]  # returns the increase of a series

REQUESTS = "restaurant_http_request_duration_seconds_count"
MOVES = "restaurant_order_moves_total"
TIMES = "restaurant_order_time_to_status_seconds_count"
SECONDS = "restaurant_order_time_to_status_seconds_sum"
DEAD_LETTERS = "restaurant_dead_letters_total"


def move_counts(order_type: str = "takeout") -> dict[tuple[str, str], Count]:
    """Return the increase of the moves of a type, by origin and target."""
    legal = [
        *[("received", "cooking"), ("cooking", "ready"), ("ready", "completed")],
        *[("received", "cancelled"), ("cooking", "cancelled"), ("ready", "cooking")],
    ]
    return {
        (origin, target): increase(
            MOVES, order_type=order_type, from_status=origin, to_status=target
        )
        for origin, target in legal
    }


def counted(moves: dict[tuple[str, str], Count]) -> dict[tuple[str, str], float]:
    """Return the moves that were counted."""
    return {move: each() for move, each in moves.items() if each()}


async def wait_for_value(count: Count, value: float) -> None:
    """Wait until a series has increased by this much."""

    async def has_value() -> bool:
        return count() == value

    await eventually(has_value, doing=f"for {value}")


@pytest.mark.parametrize("broker", ["postgres"], indirect=True)
async def test_each_move_of_an_order_is_counted_once(
    kitchen: Kitchen, database: Database, broker: Broker
) -> None:
    """A message that is delivered twice moves, and counts, nothing again."""
    moves, placed = move_counts(), increase("restaurant_orders_placed_total", order_type="takeout")
    ready = increase(TIMES, order_type="takeout", status="ready")
    seconds = increase(SECONDS, order_type="takeout", status="ready")
    late = increase("restaurant_orders_late_total", order_type="takeout")
    deliveries = increase("restaurant_deliveries_total", queue=TAKEOUT)

    quick = settings(takeout=0.2).model_copy(update={"late_seconds": LateSeconds(takeout=0.1)})
    async with kitchen.running_worker(broker, kitchen=quick):
        number = await kitchen.order()
        await kitchen.wait_for(number, "ready")
        await broker.publish([make_order_received(number)])
        await wait_for_value(deliveries, 2)
        service = make_order_service(database, kitchen.relay)
        await service.complete(number, Move(), request_id="r")

    assert counted(moves) == {
        ("received", "cooking"): 1,
        ("cooking", "ready"): 1,
        ("ready", "completed"): 1,
    }
    assert (placed(), ready(), late()) == (1, 1, 1)
    assert 0.2 <= seconds() < 20


@pytest.mark.parametrize("broker", ["postgres"], indirect=True)
async def test_move_that_changes_nothing_is_not_counted(kitchen: Kitchen) -> None:
    number = await kitchen.order()
    moves = move_counts()

    await kitchen.cancel(number)
    with pytest.raises(Exception, match="is cancelled"):
        await kitchen.cancel(number)

    assert counted(moves) == {("received", "cancelled"): 1}


@pytest.mark.parametrize("broker", ["postgres"], indirect=True)
async def test_taps_are_counted_once_each(
    kitchen: Kitchen, database: Database, broker: Broker
) -> None:
    """A tap that is repeated with its key is not counted again, nor is one that is refused."""
    moves = move_counts()
    cooking = increase(TIMES, order_type="takeout", status="cooking")

    async with (
        running_display(database, broker, kitchen.relay) as display,
        display.screen() as screen,
    ):
        number = await kitchen.order()
        await screen.shows(number)
        for _ in range(2):
            await display.perform(
                number, "start", "received", **{"Idempotency-Key": "one-tap-of-the-cook"}
            )
        refused = await display.tap(number, "start", "received")
        await display.perform(number, "bump", "cooking")
        await display.perform(number, "recall", "ready")

    assert refused.status_code == 409
    assert counted(moves) == {
        ("received", "cooking"): 1,
        ("cooking", "ready"): 1,
        ("ready", "cooking"): 1,
    }
    assert cooking() == 1


async def test_orders_that_share_a_statement_count_as_one_batch(intake: OrderService) -> None:
    batches = increase("restaurant_order_batch_size_count")
    sizes = increase("restaurant_order_batch_size_sum")
    placed = increase("restaurant_orders_placed_total", order_type="takeout")
    replayed = increase("restaurant_orders_replayed_total")

    first = intake.place(make_order(), request_id="r", key="a key")
    others = [intake.place(make_order(), request_id="r", key=None) for _ in range(4)]
    await asyncio.gather(first, *others)
    await intake.place(make_order(), request_id="r", key="a key")

    assert (batches(), sizes()) == (2, 6)  # the repeated order is tried, too
    assert (placed(), replayed()) == (5, 1)


async def test_dead_letters_are_counted_by_the_cause(
    database: Database, broker: Broker, policy: RetryPolicy
) -> None:
    causes = ("invalid", "unknown_order", "unverified")
    dead = {cause: increase(DEAD_LETTERS, reason=cause) for cause in causes}
    kitchen = Kitchen(database, make_relay(database), policy=policy)

    async with kitchen.running_worker(broker):
        await broker.publish(
            [make_order_message(body=b"no JSON"), make_order_received("ORD_20241216_999")]
        )
        await wait_for_value(dead["invalid"], 1)
        await wait_for_value(dead["unknown_order"], 1)
    async with kitchen.running_worker(broker, "verifier", signer=Signer([SecretStr("k" * 16)])):
        await broker.publish([make_order_received("ORD_20241216_001")])
        await wait_for_value(dead["unverified"], 1)

    assert [count() for count in dead.values()] == [1, 1, 1]


async def test_requeued_message_counts_as_redelivered(
    database: Database, broker: Broker, policy: RetryPolicy
) -> None:
    redelivered = increase("restaurant_redeliveries_total", queue=TAKEOUT)
    kitchen = Kitchen(database, make_relay(database), policy=policy)
    await broker.publish([make_order_message(body=b"no JSON")])
    async with broker.consume([TAKEOUT], prefetch=1) as consumer:
        await (await anext(aiter(consumer))).requeue()

    async with kitchen.running_worker(broker):
        await wait_for_value(redelivered, 1)


async def test_published_and_refused_messages_are_counted(database: Database) -> None:
    broker = RecordingBroker()
    published = increase("restaurant_outbox_published_total")
    refused = increase("restaurant_outbox_refused_total")
    relay = make_relay(database, broker)
    kitchen = Kitchen(database, relay)
    numbers = [await kitchen.order() for _ in range(3)]
    assert len(numbers) == 3

    async with database.connection() as connection:
        rows = await connection.fetch("SELECT message_id FROM outbox ORDER BY id LIMIT 1")
    broker.refuses = [make_order_message(message_id=row["message_id"]) for row in rows]
    async with relay.running():
        await wait_for_value(published, 2)

    assert refused() == 1


async def test_client_of_a_live_view_is_counted_while_it_is_connected(database: Database) -> None:
    """Its request is not observed: it lasts as long as the visit."""
    clients = increase("restaurant_live_view_clients")
    requests = increase(REQUESTS, method="GET", route="/live/board", code="200")
    views = make_live_views(database)

    async with background_task(views.run(Shutdown())), http_client(views.feature()) as client:
        async with watching(client, "/live/board"):
            assert clients() == 1
        await wait_for_value(clients, 0)

    assert requests() == 0


async def test_requests_are_counted_by_the_template_of_their_route(
    tracking: httpx.AsyncClient,
) -> None:
    """On the fast path, over ASGI, and for paths that do not exist."""
    routes = {
        "/orders/{order_number}/status": ("/orders/ORD_20241216_001/status", "/orders/x/status?a"),
        "/orders/{order_number}/history": ("/orders/ORD_20241216_001/history", "/orders/y/history"),
        UNKNOWN_PATH: ("/some/where", "/orders/a/b/c"),
    }
    counts = {route: increase(REQUESTS, method="GET", route=route, code="404") for route in routes}

    for paths in routes.values():
        for path in paths:
            assert (await tracking.get(path)).status_code == 404

    assert [count() for count in counts.values()] == [2, 2, 2]


def figure(figures: Figures, definition: definitions.SystemFigure) -> dict[object, float]:
    """Return the values of a figure by labels that are strings."""
    return {tuple(map(str, labels)): value for labels, value in figures[definition].items()}


async def test_figures_of_the_system_are_read_from_the_database(database: Database) -> None:
    kitchen = Kitchen(database, make_relay(database))
    await kitchen.register_worker("mario")
    cooking, _ = await kitchen.order("dine_in"), await kitchen.order("delivery")
    await kitchen.start_order(cooking, "mario")
    await asyncio.sleep(0.05)

    figures = await read_database(database, BusinessDay(ZoneInfo("UTC")))

    assert figure(figures, definitions.OUTBOX_MESSAGES) == {(): 2}
    assert figure(figures, definitions.OUTBOX_OLDEST_AGE)[()] >= 0.05
    open_orders = figure(figures, definitions.OPEN_ORDERS)
    assert {labels for labels, orders in open_orders.items() if orders} == {
        ("dine_in", "cooking"),
        ("delivery", "received"),
    }
    ages = figure(figures, definitions.WAITING_AGE)
    assert 0.05 <= ages["delivery",] < 60
    assert (ages["dine_in",], ages["takeout",]) == (0, 0)
    assert figure(figures, definitions.WORKERS_ONLINE) == {
        (str(order_type),): 1 for order_type in OrderType
    }


async def test_length_of_each_queue_is_read_from_the_broker(broker: Broker) -> None:
    await broker.publish([make_order_message(), make_order_message()])

    async def are_counted() -> bool:
        return figure(await read_queues(broker), definitions.QUEUE_MESSAGES)[TAKEOUT,] == 2

    await eventually(are_counted, doing="for the broker to count two messages")
    assert figure(await read_queues(broker), definitions.BROKER_AVAILABLE) == {(): 1}


def make_runtime(database: Database, broker: Broker, metrics: MetricsSettings) -> Runtime:
    """Return a runtime of a service with these servers."""
    configured = Settings(data_dir=Path(), metrics=metrics)
    policy = RetryPolicy(configured.delivery)
    return Runtime("test", configured, database, broker, policy, Shutdown())


@contextlib.asynccontextmanager
async def serving_metrics(
    database: Database, broker: Broker, *, public: bool = False
) -> AsyncIterator[httpx.AsyncClient]:
    """Serve `/metrics` of a service with these servers."""
    runtime = make_runtime(database, broker, MetricsSettings(public=public))
    async with (
        exposer_of_service(runtime) as exposer,
        http_client(http_service.metrics_feature(runtime, exposer)) as client,
    ):
        yield client


async def test_metrics_are_refused_to_a_client_behind_a_proxy(database: Database) -> None:
    async with serving_metrics(database, make_broker(database)) as client:
        refused = await client.get("/metrics", headers={"X-Forwarded-For": "203.0.113.9"})
        served = await client.get("/metrics")

    assert refused.status_code == 403
    assert refused.headers["content-type"] == "application/problem+json"
    assert "metrics.public" in refused.json()["detail"]
    assert served.status_code == 200
    assert served.headers["cache-control"] == "no-store"


async def test_public_metrics_are_served_to_everyone(database: Database) -> None:
    async with serving_metrics(database, make_broker(database), public=True) as client:
        served = await client.get("/metrics", headers={"X-Forwarded-For": "203.0.113.9"})

    assert served.status_code == 200


async def test_scrape_is_answered_within_a_second_while_all_servers_hang(
    dsn: str,
    postgres_server: Postgres,
    amqp_url: str,
    rabbitmq_server: RabbitMQ,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both accept connections and never answer; then the health monitor gives the database up."""
    monkeypatch.setattr(exposition, "LIFETIME", 0.1)
    pings = DatabaseSettings(ping_interval=0.1, ping_timeout=0.5)
    async with (
        proxy(postgres_server.port) as to_postgres,
        proxy(rabbitmq_server.port) as to_rabbitmq,
    ):
        proxied_dsn = dsn.replace(str(postgres_server.port), str(to_postgres.port))
        url = amqp_url.replace(str(rabbitmq_server.port), str(to_rabbitmq.port))
        database = Database(proxied_dsn, pings, application_name="test")
        broker = RabbitMQBroker(RabbitMQSettings.model_validate({"url": url}), (1,))
        async with monitored(database) as database, serving_metrics(database, broker) as client:
            await broker.connect()
            before = (await client.get("/metrics")).text
            assert value_in(before, "restaurant_broker_available") == 1
            assert value_in(before, "restaurant_outbox_messages") == 0
            to_postgres.pause()
            to_rabbitmq.pause()
            states = []
            for _ in range(3):
                started = time.monotonic()
                answer = await client.get("/metrics")
                assert time.monotonic() - started < 1
                assert answer.status_code == 200
                states.append(answer.text)
                await asyncio.sleep(0.6)

            assert value_in(states[-1], "restaurant_database_available", pool="primary") == 0
            assert value_in(states[-1], "restaurant_broker_available") == 0
            assert value_in(states[-1], "restaurant_outbox_messages") is None
            to_postgres.resume()
            to_rabbitmq.resume()
            await broker.close()
