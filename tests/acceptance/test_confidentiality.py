"""Personal data and secrets appear in no log line, no error and no other's response."""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, urlsplit

import httpx
import pytest

from restaurant_system.models.message import Message
from tests.support import deployments
from tests.support.broker_client import BrokerClient
from tests.support.deployments import Deployment
from tests.support.messages import DEAD_LETTERS, make_order_message, make_status_update
from tests.support.orders import make_item, make_order_body
from tests.support.postgres_server import Postgres, running_postgres
from tests.support.processes import Processes
from tests.support.waiting import wait_until

MARK = "Zweigelt"  # part of everything that is sent
PERSON = f"Ada {MARK}"
ADDRESS = f"{PERSON}, 12 Main Street"  # not a valid request id, name or key

# Constraints and triggers whose errors quote the row.
REFUSALS = (
    """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'cannot have %', NEW USING DETAIL = NEW::text; END $$
    """,
    """
    CREATE TRIGGER refused_to_cook BEFORE UPDATE ON orders
    FOR EACH ROW WHEN (NEW.status = 'cooking' AND NEW.notes IS NOT NULL)
    EXECUTE FUNCTION refuse()
    """,
    "ALTER TABLE orders ADD CONSTRAINT refused CHECK (delivery_address IS NULL)",
)


@pytest.fixture
def verbose_deployment(dsn: str, optional_amqp_url: str | None) -> Iterator[Deployment]:
    """Run a deployment that logs at DEBUG."""
    settings = {"RESTAURANT_LOG__LEVEL": "DEBUG", "RESTAURANT_DELIVERY__MAX_ATTEMPTS": "2"}
    with deployments.running(dsn, optional_amqp_url, **settings) as deployment:
        yield deployment


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """Run a PostgreSQL that no other test uses."""
    with running_postgres() as server:
        yield server


TEXTS = ("customer_name", "allergy_note", "reference", "phone")


def bad_bodies() -> list[bytes]:
    """Return invalid orders, each with personal data in another place."""
    valid = make_order_body(customer_name=PERSON)
    return [
        make_order_body(**{ADDRESS: 1, "customer_name": PERSON}),
        make_order_body(items=[make_item(**{ADDRESS: 1})], customer_name=ADDRESS),
        make_order_body(order_type=ADDRESS, table_number=ADDRESS, delivery_address=ADDRESS),
        make_order_body(items=[ADDRESS], notes={ADDRESS: ADDRESS}),
        make_order_body(**dict.fromkeys(TEXTS, ADDRESS), ready_at=ADDRESS),
        make_order_body(items=[make_item(guest=[ADDRESS], modifiers=[{"name": 1, ADDRESS: 1}])]),
        valid[:-1] + b', "' + ADDRESS.encode() + b'": 1, "' + ADDRESS.encode() + b'": 2}',
        valid[:-5],
        ADDRESS.encode(),
        json.dumps(ADDRESS).encode(),
        json.dumps([{ADDRESS: ADDRESS}]).encode(),
    ]


def make_forged_messages() -> list[Message]:
    """Return messages of a third party that can never be processed."""
    malformed = make_order_message(
        correlation_id=ADDRESS,
        app_id=ADDRESS,
        content_type=ADDRESS,
        headers={"x-reason": ADDRESS, ADDRESS: ADDRESS},
    )
    bodies = [
        ADDRESS.encode(),
        json.dumps({ADDRESS: ADDRESS}).encode(),
        json.dumps(
            {"order_number": ADDRESS, "customer_name": [ADDRESS], "order_type": ADDRESS}
        ).encode(),
        make_order_body(**{ADDRESS: ADDRESS}),
    ]
    return [
        malformed,
        *(make_order_message(body=body, correlation_id=ADDRESS) for body in bodies),
    ] + [make_status_update(body=body, correlation_id=ADDRESS) for body in bodies]


def send_personal_data(client: httpx.Client) -> None:
    """Send personal data in each part of a request to each route."""
    name = quote(ADDRESS, safe="")
    headers = {
        "Idempotency-Key": ADDRESS,
        "X-Request-ID": ADDRESS,
        "Referer": ADDRESS,
        "X-Name": ADDRESS,
    }
    for path in (
        f"/{name}",
        f"/orders/{name}",
        f"/orders/{name}/status",
        f"/orders/{MARK}/status",
        f"/orders/{name}/history?name={name}",
        f"/orders?status={name}&cursor={name}&limit={name}",
        f"/stats?{name}",
        f"/assets/{name}",
        f"/track/{name}",
        f"/track/{name}/live",
        f"/kitchen/stations/{name}/live",
    ):
        client.get(path, headers=headers)
    for path in (
        f"/orders/{name}/cancel",
        f"/orders/{MARK}/complete",
        f"/orders/by-external-id/uber/{MARK}/cancel",
        f"/orders/by-idempotency-key/{MARK * 3}/cancel",
        "/orders",
    ):
        client.post(path, headers=headers)
        client.post(path, json={"changed_by": ADDRESS, ADDRESS: ADDRESS}, headers=headers)
        client.post(path, content=ADDRESS.encode(), headers={**headers, "Content-Type": ADDRESS})


def test_text_from_customers_and_third_parties_appears_in_no_log_line(
    verbose_deployment: Deployment, dsn: str, optional_amqp_url: str | None
) -> None:
    """Field names, paths, headers, bodies, messages on both brokers, rows refused by PostgreSQL."""
    deployment, broker = verbose_deployment, BrokerClient(dsn, optional_amqp_url)
    deployment.start_order_service()
    deployment.start_tracking_service()
    deployment.start_worker("anna")
    deployment.start_subscriber("till")
    deployment.wait_until_ready()
    for statement in REFUSALS:
        deployment.query(statement)

    for client in (deployment.orders, deployment.tracking):
        send_personal_data(client)
    for body in bad_bodies():
        assert deployment.post_order(body).status_code == 400
    refused = make_order_body(customer_name=PERSON, order_type="delivery", delivery_address=ADDRESS)
    assert deployment.post_order(refused).status_code == 500
    deployment.place_order(customer_name=PERSON, notes=ADDRESS)  # retried until it is dead-lettered
    cooked = deployment.place_order(
        **dict.fromkeys(TEXTS, PERSON),
        items=[make_item(name=PERSON, notes=ADDRESS, guest=PERSON, modifiers=[{"name": PERSON}])],
    )
    messages = make_forged_messages()
    broker.put(*messages)

    deployment.wait_for_status(cooked, "ready")
    tokens = open_links(deployment)
    assert len(tokens) == 2
    wait_until(
        lambda: broker.depth(DEAD_LETTERS) == len(messages) + 1,
        seconds=60,
        doing="for dead letters",
    )
    assert deployment.stop_all() == [0] * len(deployment.started)
    logged = [line for process in deployment.started for line in process.logs]
    actions = {line["action"] for line in logged}
    assert {"request_failed", "validation_failed", "request_received"} <= actions
    assert "cancellation_stored" in actions
    assert {"message_processing_failed", "retry_attempted", "message_dead_lettered"} <= actions
    for secret in (MARK, *tokens):
        assert [line for line in logged if secret in json.dumps(line)] == []
        assert not any(secret in process.stderr for process in deployment.started)


def open_links(deployment: Deployment) -> list[str]:
    """Open the tracking link of each order, and one with a wrong token; return the tokens."""
    orders = deployment.query("SELECT number, encode(tracking_token, 'hex') AS token FROM orders")
    for number, token in (order.values() for order in orders):
        for path in ("/orders/{}/tracking/{}", "/track/{}/{}"):
            opened = deployment.tracking.get(path.format(number, token))
            deployment.tracking.get(path.format(number, token[:-1]))
            deployment.orders.get(path.format(number, token))
            assert opened.status_code == 200
        with deployment.tracking.stream("GET", f"/live/track/{number}/{token}") as stream:
            assert token not in next(stream.iter_text())
    return [order["token"] for order in orders]


def test_personal_data_appears_nowhere_in_an_outage_and_after_crashes(
    own_postgres: Postgres,
) -> None:
    """The output of every service at DEBUG, and the responses to requests of others."""
    dsn = own_postgres.dsn(asyncio.run(own_postgres.create_database()))
    order = {"customer_name": PERSON, "notes": ADDRESS, "items": [make_item(notes=ADDRESS)]}
    with deployments.running(dsn, RESTAURANT_LOG__LEVEL="DEBUG") as deployment:
        orders, worker = deployment.start_order_service(), deployment.start_worker("anna", scale=1)
        deployment.start_tracking_service()
        deployment.start_subscriber("till")
        deployment.start("kitchen-display", "--port", "0")
        deployment.wait_until_ready()
        number = deployment.place_order(**order)
        deployment.wait_for_status(number, "cooking")
        worker.kill()

        tokens = open_links(deployment)
        own_postgres.stop()
        deployment.tracking.get(f"/orders/{number}/tracking/{tokens[0]}")
        bodies = [make_order_body(**order), *bad_bodies()]
        assert deployment.post_order(bodies[0]).status_code == 503
        responses = responses_of_others(deployment, number)
        assert {response.status_code for response in responses} >= {400, 404, 503}
        with ThreadPoolExecutor(4) as threads:
            posting = [threads.submit(post_anyway, deployment, body) for body in bodies]
            orders.kill()
        assert {post.result() for post in posting} <= {None, 400, 503}
        own_postgres.start()
        deployment.start_order_service()
        deployment.start_worker("bert")
        deployment.wait_until_ready()

        cancelled = deployment.place_order(**order)
        move = {"changed_by": "waiter", "reason": ADDRESS}
        deployment.orders.post(f"/orders/{cancelled}/cancel", json=move)
        deployment.orders.post(f"/orders/{cancelled}/complete", json=move)  # 409 or 200
        deployment.wait_for_status(deployment.place_order(**order), "ready")
        responses += responses_of_others(deployment, number)
        exported = deployment.orders.post("/privacy/export", json={"customer_name": PERSON})
        assert MARK in exported.text
        for name in (PERSON, ADDRESS):
            deployment.start("privacy", "erase", "--name", name, "--order", number, "--yes").wait()
        deployment.stop_all()

        assert any(process.logged("db_connection_failed") for process in deployment.started)
        assert {response.status_code for response in responses} >= {200, 400, 404, 405, 503}
        for secret in (MARK, *tokens):
            assert [each.url for each in responses if secret in each.text + str(each.headers)] == []
            for process in deployment.started:
                assert process.stdout + process.stderr != ""
                assert secret not in process.stdout + process.stderr


def responses_of_others(deployment: Deployment, number: str) -> list[httpx.Response]:
    """Return the responses to requests that may be made by anyone, without personal data."""
    paths = (
        *(f"/orders/{number}/status", "/orders/ORD_20991231_001/status", "/orders/none/status"),
        *("/health", "/stats", "/workers/status", "/board", "/dashboard", f"/track/{number}"),
        *("/orders?limit=0", "/openapi.json", "/metrics", "/nothing"),
    )
    return [
        *(deployment.tracking.get(path) for path in paths),
        deployment.orders.get("/health"),
        deployment.orders.get("/metrics"),
        deployment.orders.get("/orders"),
        deployment.post_order(b"{"),
        deployment.post_order(make_order_body(customer_name="!")),
        deployment.post_order(make_order_body()),
    ]


def post_anyway(deployment: Deployment, body: bytes) -> int | None:
    """Post an order; return the status, or `None` if the service was killed."""
    try:
        return deployment.post_order(body).status_code
    except httpx.TransportError:
        return None


def test_refused_password_appears_in_no_output(
    commands: Processes, dsn: str, amqp_url: str
) -> None:
    """No part of a password between special characters of YAML and URLs is printed."""
    password = f"{MARK}@{MARK}:{MARK}/{MARK}?{MARK}#{MARK}[{MARK}]%{MARK}'{MARK}"
    commands.environment["RESTAURANT_LOG__LEVEL"] = "DEBUG"
    commands.environment["RESTAURANT_STARTUP_TIMEOUT"] = "0.5"

    def with_password(url: str) -> str:
        parts = urlsplit(url)
        server = parts.netloc.rpartition("@")[2]
        return parts._replace(netloc=f"nobody:{quote(password, safe='')}@{server}").geturl()

    subscriber = commands.start(
        "notification-subscriber", RESTAURANT_RABBITMQ__URL=with_password(amqp_url)
    )
    postgres = commands.start("migrate", RESTAURANT_DATABASE__URL=with_password(dsn))
    unquoted = commands.start(
        "migrate", RESTAURANT_DATABASE__URL=f"postgresql://nobody:{password}@localhost/name"
    )

    assert (postgres.wait(), unquoted.wait()) == (1, 2)
    subscriber.wait_for("rabbitmq_connection_failed")
    for process in (subscriber, postgres, unquoted):
        assert process.stdout + process.stderr != ""
        assert MARK not in process.stdout + process.stderr
