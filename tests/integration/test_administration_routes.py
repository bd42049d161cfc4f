"""Dead letters and personal data over HTTP, with both brokers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from restaurant_system.database.connection import Database
from restaurant_system.errors import BrokerUnavailable
from restaurant_system.messaging.broker import Broker
from restaurant_system.messaging.retry_policy import EXCHANGE, QUEUE, REASON, ROUTING_KEY
from restaurant_system.messaging.signature import UNSIGNED, Signer
from restaurant_system.models.access import Caller, Credential, Role
from restaurant_system.models.message import Message, OrderReceived
from restaurant_system.models.order import Move
from restaurant_system.services.order import (
    dead_letter_requests,
    privacy_handler,
)
from restaurant_system.services.order.dead_letter_handler import DeadLetterHandler
from restaurant_system.services.order.dead_letter_requests import DeadLetterRequests
from restaurant_system.services.order.privacy import Customer, PersonalData
from restaurant_system.services.order.privacy_handler import PrivacyHandler
from restaurant_system.services.order.service import OrderService
from restaurant_system.web import api
from restaurant_system.web.access_checks import AccessChecks
from restaurant_system.web.access_control import AccessControl
from tests.support.database import execute
from tests.support.logs import capture_logs
from tests.support.messages import DEAD_LETTERS, TAKEOUT, make_order_message, make_order_messages
from tests.support.orders import make_order
from tests.support.responses import assert_problem, invalid_fields
from tests.support.services import FakeClock, serve_site

SIGNER = Signer([SecretStr("the restaurant's own key")])
KEY = {"Authorization": "Bearer of-mia", "X-Request-ID": "request-9"}
PERSON = "Ada Zweigelt"
EVERY = {"all": True}
RECORDED = "SELECT who, role, action, target, request_id FROM audit_log ORDER BY id"


on_one_broker = pytest.mark.parametrize("broker", ["postgres"], indirect=True)


async def identify_mia(_: Credential) -> Caller:
    """Return a manager, whatever the credential."""
    return Caller.person("Mia", Role.MANAGER)


@contextlib.asynccontextmanager
async def serving(
    database: Database, broker: Broker, signer: Signer = UNSIGNED
) -> AsyncIterator[httpx.AsyncClient]:
    """Serve the routes, as one process does, for a manager."""
    requests = DeadLetterRequests(broker)
    features = [
        DeadLetterHandler(database, broker, signer, requests).feature(),
        PrivacyHandler(database, broker, requests).feature(),
    ]
    checks = AccessChecks(control=AccessControl(identify_mia))
    async with (
        serve_site(api.build("Test", features, checks)) as address,
        httpx.AsyncClient(base_url=address, timeout=30, verify=False, headers=KEY) as client,  # noqa: S501 - no TLS
    ):
        yield client


@pytest.fixture
async def client(database: Database, broker: Broker) -> AsyncIterator[httpx.AsyncClient]:
    """Return a manager's client of the routes."""
    async with serving(database, broker) as client:
        yield client


@pytest.fixture
def short_lock_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a request wait for locked dead letters for a moment only."""
    monkeypatch.setattr(dead_letter_requests, "LOCK_TIMEOUT", 0.2)


def make_letter(message: Message | None = None, **headers: str) -> Message:
    """Make a message that a cook of takeout orders could not process."""
    message = message or make_order_message(headers={"table": "twelve"})
    failure = {QUEUE: TAKEOUT, EXCHANGE: "orders_topic", ROUTING_KEY: "kitchen.takeout.1"}
    why = {REASON: "the oven is cold"}
    return replace(
        message, exchange="orders_dlx", headers={**message.headers, **failure, **why, **headers}
    )


def make_personal_letter(number: str) -> Message:
    """Make a dead letter with an order of the person."""
    body = OrderReceived.from_order(make_order(customer_name=PERSON), number).encode()
    return make_letter(make_order_message(body=body))


async def put(broker: Broker, *letters: Message) -> list[str]:
    """Put dead letters into their queue; return their ids."""
    await broker.connect()
    assert await broker.publish(letters) == []
    return [str(letter.message_id) for letter in letters]


async def depths(broker: Broker) -> tuple[int, int]:
    """Return how many dead letters there are, and how many takeout orders."""
    found = await broker.depths()
    return found[DEAD_LETTERS], found[TAKEOUT]


async def recorded(database: Database) -> list[tuple[Any, ...]]:
    """Return who did what to what, by which request, the oldest first."""
    async with database.connection() as connection:
        return [tuple(row) for row in await connection.fetch(RECORDED)]


async def place(intake: OrderService, *, is_cancelled: bool) -> str:
    """Place an order of the person, and cancel it; return its number."""
    order = make_order(customer_name=PERSON, notes="ring twice")
    placed = await intake.place(order, request_id="request-1", key=None)
    if is_cancelled:
        await intake.cancel(placed.order_number, Move(), request_id="request-2")
    return placed.order_number


# Dead letters


async def test_dead_letters_are_listed_shown_requeued_and_discarded(
    client: httpx.AsyncClient, broker: Broker, database: Database
) -> None:
    first, second, third = await put(broker, *(make_letter() for _ in range(3)))

    page = await client.get("/dead-letters", params={"limit": 1, "offset": 1})
    shown = await client.get(f"/dead-letters/{third}")
    requeued = await client.post(f"/dead-letters/{first}/requeue")
    discarded = await client.post(f"/dead-letters/{second}/discard")

    assert page.headers["Cache-Control"] == "no-store"
    assert page.json()["count"] == 3
    (entry,) = page.json()["dead_letters"]
    assert (entry["id"], entry["order_number"]) == (second, "ORD_20241216_001")
    assert (entry["queue"], entry["reason"]) == (TAKEOUT, "the oven is cold")
    (copy,) = shown.json()["copies"]
    assert (copy["routing_key"], copy["headers"]["table"]) == ("kitchen.takeout.1", "twelve")
    assert (copy["body"], copy["sent_at"]) == (
        '{"order_number": "ORD_20241216_001"}',
        "2024-12-16T10:30:00.000Z",
    )
    assert requeued.json() == {"requeued": 1, "refused": [], "unverified": 0}
    assert discarded.json() == {"discarded": 1}
    assert await depths(broker) == (1, 1)
    assert await recorded(database) == [
        ("Mia", "manager", "requeue_dead_letter", first, "request-9"),
        ("Mia", "manager", "discard_dead_letter", second, "request-9"),
    ]
    for answer in (
        await client.get(f"/dead-letters/{first}"),
        await client.post(f"/dead-letters/{first}/requeue"),
        await client.post(f"/dead-letters/{first}/discard"),
    ):
        assert_problem(answer, 404)
    assert_problem(await client.get("/dead-letters/3f2a"), 400)


async def test_requests_of_two_processes_at_once_requeue_a_letter_once(
    client: httpx.AsyncClient, broker: Broker, other_broker: Broker, database: Database
) -> None:
    (letter,) = await put(broker, make_letter())

    async with serving(database, other_broker) as other:
        answers = await asyncio.gather(
            *(each.post(f"/dead-letters/{letter}/requeue") for each in (client, other) * 2)
        )

    assert sorted(answer.status_code for answer in answers) == [200, 404, 404, 404]
    assert await depths(broker) == (0, 1)
    assert len(await recorded(database)) == 1


@on_one_broker
@pytest.mark.usefixtures("short_lock_timeout")
async def test_request_is_refused_while_a_command_uses_the_dead_letters(
    client: httpx.AsyncClient, broker: Broker, other_broker: Broker
) -> None:
    (letter,) = await put(broker, make_letter())

    async with other_broker.browse(DEAD_LETTERS):
        refused = await client.post(f"/dead-letters/{letter}/discard")

    assert_problem(refused, 409)
    assert refused.json()["detail"].startswith("Another command or request uses")
    assert await depths(broker) == (1, 0)


async def test_all_are_requeued_only_with_a_signature_and_to_the_kitchen(
    broker: Broker, database: Database
) -> None:
    """The headers that name the queue are not signed; a forger could have changed them."""
    unsigned, genuine = make_order_messages(2)
    to_spy = {QUEUE: "notifications_queue.spy", EXCHANGE: "notifications_fanout"}
    stray = make_letter(SIGNER.sign(make_order_message()), **to_spy)
    sent = [make_letter(unsigned), make_letter(SIGNER.sign(genuine)), stray]
    unsigned_id, _, stray_id = await put(broker, *sent)

    async with serving(database, broker, SIGNER) as client:
        every = await client.post("/dead-letters/requeue", json=EVERY)
        one = await client.post(f"/dead-letters/{stray_id}/requeue")
        vouched = await client.post(f"/dead-letters/{unsigned_id}/requeue")
        faulty = [
            await client.post(f"/dead-letters/{action}", json=body)
            for action in ("requeue", "discard")
            for body in ({}, {"all": False})
        ]
        assert await depths(broker) == (1, 2)
        discarded = await client.post("/dead-letters/discard", json=EVERY)

    assert (every.json()["requeued"], every.json()["unverified"]) == (1, 1)
    assert [each["id"] for each in every.json()["refused"]] == [stray_id]
    assert_problem(one, 409)
    assert "'notifications_queue.spy' is no queue" in one.json()["detail"]
    assert vouched.json()["requeued"] == 1
    assert [invalid_fields(answer) for answer in faulty] == [["all"]] * 4
    assert discarded.json() == {"discarded": 1}
    assert await depths(broker) == (0, 2)


@on_one_broker
async def test_too_many_dead_letters_for_a_request_are_left_to_commands(
    client: httpx.AsyncClient, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letter_requests, "MAX_LETTERS", 1)
    letter, _ = await put(broker, make_letter(), make_letter())

    refused = [
        await client.post(f"/dead-letters/{letter}/requeue"),
        await client.post("/dead-letters/discard", json=EVERY),
        await client.post("/privacy/export", json={"customer_name": PERSON}),
    ]

    for answer in refused:
        assert_problem(answer, 409)
    assert "restaurant-system dead-letters" in refused[0].json()["detail"]
    assert len((await client.get("/dead-letters")).json()["dead_letters"]) == 2
    assert await depths(broker) == (2, 0)


@on_one_broker
async def test_requests_get_503_while_the_broker_is_unavailable(
    client: httpx.AsyncClient, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> None:
        raise BrokerUnavailable("connection refused")

    monkeypatch.setattr(broker, "connect", fail)
    for answer in (
        await client.get("/dead-letters"),
        await client.post("/dead-letters/requeue", json=EVERY),
        await client.post("/privacy/erase", json={"customer_name": PERSON}),
    ):
        assert_problem(answer, 503)
        assert answer.headers["Retry-After"] == "1"


async def test_what_the_database_cannot_record_is_not_done(
    rabbitmq_broker: Broker, database: Database
) -> None:
    async with serving(database, rabbitmq_broker) as client:
        (letter,) = await put(rabbitmq_broker, make_letter())
        await database.close()
        answers = [
            await client.post(f"/dead-letters/{letter}/{action}")
            for action in ("requeue", "discard")
        ]

    for answer in answers:
        assert_problem(answer, 503)
    assert await depths(rabbitmq_broker) == (1, 0)


# Personal data


async def test_export_is_that_of_the_command_and_in_no_cache(
    client: httpx.AsyncClient,
    intake: OrderService,
    broker: Broker,
    database: Database,
    clock: FakeClock,
) -> None:
    number = await place(intake, is_cancelled=False)
    (letter,) = await put(broker, make_personal_letter(number))

    answer = await client.post("/privacy/export", json={"customer_name": f" {PERSON.upper()}"})

    expected = await PersonalData(database, broker, clock=clock).export(Customer(PERSON))
    exported = answer.json()
    assert answer.headers["Cache-Control"] == "no-store"
    assert exported | {"exported_at": ""} == expected | {"exported_at": ""}
    assert exported["orders"][0]["notes"] == "ring twice"
    assert await recorded(database) == [
        ("Mia", "manager", "export_personal_data", number, "request-9"),
        ("Mia", "manager", "export_personal_data", letter, "request-9"),
    ]


async def test_two_erasures_at_once_erase_each_order_once(
    client: httpx.AsyncClient,
    intake: OrderService,
    broker: Broker,
    other_broker: Broker,
    database: Database,
) -> None:
    done = [await place(intake, is_cancelled=True) for _ in range(2)]
    unfinished = await place(intake, is_cancelled=False)
    await put(broker, make_personal_letter(done[0]), make_letter(make_order_message(body=b"?")))

    async with serving(database, other_broker) as other:
        answers = await asyncio.gather(
            *(
                each.post("/privacy/erase", json={"customer_name": PERSON})
                for each in (client, other)
            )
        )

    results = [answer.json() for answer in answers]
    assert sorted(number for each in results for number in each["erased"]) == done
    assert [each["unfinished"] for each in results] == [[unfinished]] * 2
    assert [each["unattributed_dead_letters"] for each in results] == [1, 1]
    assert sum(each["discarded_dead_letters"] for each in results) == 1
    assert await depths(broker) == (1, 0)
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT number FROM orders WHERE customer_name = $1", PERSON)
    assert [row["number"] for row in rows] == [unfinished]
    acts = await recorded(database)
    assert [act[3] for act in acts if act[2] == "erase_personal_data"] == done


async def test_privacy_requests_that_cannot_be_met_are_refused_and_log_no_name(
    intake: OrderService,
    database: Database,
    postgres_broker: Broker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    number, _ = [await place(intake, is_cancelled=True) for _ in range(2)]
    monkeypatch.setattr(privacy_handler, "MAX_ORDERS", 1)

    async with serving(database, postgres_broker) as client:
        with capture_logs() as logged:
            invalid = [
                await client.post("/privacy/export", json=body)
                for body in (
                    {},
                    {"customer_name": " "},
                    {"customer_name": PERSON, "order_numbers": [PERSON]},
                    {"customer_name": PERSON, PERSON: 1},
                )
            ]
            unknown = await client.post(
                "/privacy/erase", json={"order_numbers": ["ORD_20991231_001"]}
            )
            other = await client.post(
                "/privacy/erase", json={"customer_name": "Grace", "order_numbers": [number]}
            )
            many = await client.post("/privacy/export", json={"customer_name": PERSON})
            await execute(
                database, "ALTER TABLE orders ADD CONSTRAINT kept CHECK (notes IS NOT NULL)"
            )
            kept = await client.post("/privacy/erase", json={"customer_name": PERSON})

    assert [invalid_fields(answer) for answer in invalid] == [
        ["body"],
        ["customer_name"],
        ["order_numbers.0"],
        [PERSON],
    ]
    assert_problem(unknown, 404)
    assert_problem(other, 409)
    assert_problem(many, 409)
    assert "name some by their numbers" in many.json()["detail"]
    assert_problem(kept, 409)
    assert "kept" in kept.json()["detail"]
    assert PERSON not in str(logged)
    assert await recorded(database) == []
