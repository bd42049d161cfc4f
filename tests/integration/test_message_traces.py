"""Messages keep the context of their order's trace, wherever they wait."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from pydantic import SecretStr

from restaurant_system.config import OutboxSettings
from restaurant_system.database.connection import Database
from restaurant_system.messaging import dead_letters
from restaurant_system.messaging.broker import Broker
from restaurant_system.messaging.dead_letters import All, Result
from restaurant_system.messaging.postgres import PostgresBroker
from restaurant_system.messaging.relay import Relay
from restaurant_system.messaging.retry_policy import RetryPolicy
from restaurant_system.messaging.signature import UNSIGNED, Signer
from tests.support.display import STATION, running_display
from tests.support.fakes import RecordingBroker
from tests.support.kitchen import Kitchen
from tests.support.messages import (
    DEAD_LETTERS,
    TAKEOUT,
    make_order_message,
    receive_one,
)
from tests.support.outbox import fill_outbox_by_order, sweep_settings, wait_until_outbox_is_empty
from tests.support.services import make_relay
from tests.support.tracing import (
    RecordedSpans,
    attribute,
    context_of,
    id_of,
    parent_of,
    recorded_spans,
    trace_of,
)
from tests.support.waiting import eventually

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACED = {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01", "tracestate": "till=1"}


@pytest.fixture(autouse=True)
def spans() -> Iterator[RecordedSpans]:
    """Trace with spans that are kept in memory."""
    with recorded_spans() as spans:
        yield spans


async def stored_contexts(database: Database) -> list[str | None]:
    """Return the contexts in the rows of the outbox."""
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT headers->>'traceparent' FROM outbox ORDER BY id")
    return [row[0] for row in rows]


async def test_orders_of_one_batch_keep_their_own_traces(
    database: Database, broker: Broker, spans: RecordedSpans
) -> None:
    """Their rows outlive the process: another one publishes them, and a worker receives them."""
    kitchen = Kitchen(database, make_relay(database))  # does not run
    requests = [spans.request(), spans.request(), spans.request()]
    placing = []
    contexts = []
    for request in requests:
        with request as context:
            placing.append(asyncio.ensure_future(kitchen.order()))
            contexts.append(context)
    await asyncio.gather(*placing)

    assert await stored_contexts(database) == contexts
    async with Relay(database, broker, sweep_settings()).running():
        await wait_until_outbox_is_empty(database)
    async with broker.consume([TAKEOUT], prefetch=3) as cook:
        received = [(await receive_one(cook)).message.headers["traceparent"] for _ in requests]

    sent = spans.named("send orders_topic:kitchen.takeout.1")
    assert [parent_of(span) for span in sent] == [context.split("-")[2] for context in contexts]
    assert received == [context_of(span) for span in sent]
    assert len({trace_of(span) for span in sent}) == 3


async def test_retried_dead_lettered_and_requeued_message_stays_in_its_trace(
    broker: Broker, policy: RetryPolicy
) -> None:
    await broker.publish([make_order_message(headers=TRACED)])

    async with broker.consume([TAKEOUT], prefetch=1) as cook:
        await policy.retry(await receive_one(cook), "the oven is cold")
        again = await receive_one(cook)
        await policy.dead_letter(again, "the oven is cold")
        async with broker.browse(DEAD_LETTERS) as (letter,):
            kept = letter.message.headers
            await letter.requeue()
        await dead_letters.requeue(broker, UNSIGNED, All(), Result())
        requeued = (await receive_one(cook)).message.headers

    for headers in (again.message.headers, kept, requeued):
        assert TRACED.items() <= headers.items()


async def test_signature_of_a_traced_message_is_valid(database: Database) -> None:
    signer, broker = Signer([SecretStr("0123456789abcdef")]), RecordingBroker()
    relay = Relay(database, broker, OutboxSettings(), signer)

    async with relay.running():
        relay.enqueue(*await fill_outbox_by_order(database, make_order_message(headers=TRACED)))
        await wait_until_outbox_is_empty(database)

    (message,) = broker.taken
    assert message.headers["tracestate"] == "till=1"
    signer.verify(message)


async def test_refused_message_is_marked_in_its_own_trace(
    database: Database, spans: RecordedSpans
) -> None:
    broker = RecordingBroker()
    refused, accepted = make_order_message(headers=TRACED), make_order_message()
    broker.refuses = [refused]
    relay = Relay(database, broker, OutboxSettings(sweep_interval=60))

    async with relay.running():
        relay.enqueue(*await fill_outbox_by_order(database, refused, accepted))
        await wait_until_outbox_is_empty(database, but_for=1)

    failed = [span for span in spans.all() if attribute(span, "error.type") == "refused"]
    assert {trace_of(span) for span in failed} == {TRACE_ID}
    assert attribute(spans.all()[-1], "error.type") is None
    assert await stored_contexts(database) == [TRACED["traceparent"]]


@pytest.fixture
def postgres_kitchen(
    database: Database, postgres_broker: PostgresBroker, policy: RetryPolicy
) -> Kitchen:
    """Return a kitchen with the broker in PostgreSQL, whose relay a test runs."""
    relay = Relay(database, postgres_broker, OutboxSettings())
    return Kitchen(database, relay, policy=policy)


@pytest.fixture
async def running_kitchen(postgres_kitchen: Kitchen) -> AsyncIterator[Kitchen]:
    """Run the relay of the kitchen."""
    async with postgres_kitchen.relay.running():
        yield postgres_kitchen


async def test_tap_is_linked_to_the_trace_of_its_order(
    running_kitchen: Kitchen, postgres_broker: PostgresBroker, spans: RecordedSpans
) -> None:
    kitchen = running_kitchen
    async with (
        running_display(kitchen.database, postgres_broker, kitchen.relay) as display,
        display.screen() as screen,
    ):
        with spans.request():
            number = await kitchen.order()
        await screen.shows(number)
        await display.perform(number, "start", "received")
        await display.perform(number, "bump", "cooking")
        await eventually(lambda: is_processed(spans), doing="for the order to be processed")

    (processed,) = processed_orders(spans)
    assert attribute(processed, "restaurant.order.number") == number
    assert trace_of(processed) == trace_of(spans.one("POST /orders"))
    taps = spans.named("POST /kitchen/stations/{station}/tickets")
    for tap in taps:
        assert [f"{link.context.span_id:016x}" for link in tap.links] == [id_of(processed)]
        assert attribute(tap, "restaurant.order.number") == number
    updates = spans.named("send notifications_fanout")
    placed = id_of(spans.one("POST /orders"))  # the trace of a start, which may be written later
    assert [parent_of(update) for update in updates] == [placed, id_of(taps[-1])]
    assert STATION not in str([span.attributes for span in spans.all()])


def processed_orders(spans: RecordedSpans) -> list[ReadableSpan]:
    """Return the spans of workers: an order may be claimed before its message is received."""
    found = [*spans.named("process"), *spans.named("cook order")]
    return [span for span in found if attribute(span, "restaurant.order.number") is not None]


async def is_processed(spans: RecordedSpans) -> bool:
    """Tell whether an order was processed."""
    return bool(processed_orders(spans))
