"""What customers write, and passwords, appear in no log line and no error."""

import json
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

import httpx
import pytest

from restaurant_system.models.message import Message
from tests.support import deployments
from tests.support.broker_client import BrokerClient
from tests.support.deployments import Deployment
from tests.support.messages import DEAD_LETTERS, make_order_message, make_status_update
from tests.support.orders import make_item, make_order_body
from tests.support.processes import Processes
from tests.support.waiting import wait_until

MARK = "Zweigelt"  # stands in everything that is sent
PERSON = f"Ada {MARK}"
ODD = f"{PERSON}, 12 Main Street"  # what no request id, name or key looks like

# What is refused by the database for reasons that quote the row.
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
def talkative(dsn: str, optional_amqp_url: str | None) -> Iterator[Deployment]:
    """Open a restaurant that logs all it can."""
    settings = {"RESTAURANT_LOG__LEVEL": "DEBUG", "RESTAURANT_DELIVERY__MAX_ATTEMPTS": "2"}
    with deployments.running(dsn, optional_amqp_url, **settings) as restaurant:
        yield restaurant


def bad_bodies() -> list[bytes]:
    """Write orders that are refused, each with personal data in another place."""
    sound = make_order_body(customer_name=PERSON)
    return [
        make_order_body(**{ODD: 1, "customer_name": PERSON}),
        make_order_body(items=[make_item(**{ODD: 1})], customer_name=ODD),
        make_order_body(order_type=ODD, table_number=ODD, delivery_address=ODD),
        make_order_body(items=[ODD], notes={ODD: ODD}),
        sound[:-1] + b', "' + ODD.encode() + b'": 1, "' + ODD.encode() + b'": 2}',
        sound[:-5],
        ODD.encode(),
        json.dumps(ODD).encode(),
        json.dumps([{ODD: ODD}]).encode(),
    ]


def forged() -> list[Message]:
    """Write messages of a third party that can never be handled."""
    odd = make_order_message(
        correlation_id=ODD, app_id=ODD, content_type=ODD, headers={"x-reason": ODD, ODD: ODD}
    )
    bodies = [
        ODD.encode(),
        json.dumps({ODD: ODD}).encode(),
        json.dumps({"order_number": ODD, "customer_name": [ODD], "order_type": ODD}).encode(),
        make_order_body(**{ODD: ODD}),
    ]
    return [odd, *(make_order_message(body=body, correlation_id=ODD) for body in bodies)] + [
        make_status_update(body=body, correlation_id=ODD) for body in bodies
    ]


def ask_for_everything(client: httpx.Client) -> None:
    """Put personal data into every part of a request, of every service alike."""
    name = quote(ODD, safe="")
    headers = {"Idempotency-Key": ODD, "X-Request-ID": ODD, "Referer": ODD, "X-Name": ODD}
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
    for path in (f"/orders/{name}/cancel", f"/orders/{MARK}/complete", "/orders"):
        client.post(path, json={"changed_by": ODD, ODD: ODD}, headers=headers)
        client.post(path, content=ODD.encode(), headers={**headers, "Content-Type": ODD})


def test_no_log_line_holds_what_a_customer_or_a_third_party_has_written(
    talkative: Deployment, dsn: str, optional_amqp_url: str | None
) -> None:
    """Names of fields, paths, headers, bodies, messages on either broker, rows that are refused."""
    restaurant, post = talkative, BrokerClient(dsn, optional_amqp_url)
    restaurant.take_orders()
    restaurant.track()
    restaurant.cook("anna")
    restaurant.listen("till")
    restaurant.ready()
    for statement in REFUSALS:
        restaurant.rows(statement)

    for client in (restaurant.orders, restaurant.tracking):
        ask_for_everything(client)
    for body in bad_bodies():
        assert restaurant.post(body).status_code == 400
    refused = make_order_body(customer_name=PERSON, order_type="delivery", delivery_address=ODD)
    assert restaurant.post(refused).status_code == 500
    restaurant.order(customer_name=PERSON, notes=ODD)  # is tried until it is a dead letter
    cooked = restaurant.order(customer_name=PERSON, items=[make_item(name=PERSON, notes=ODD)])
    messages = forged()
    post.put(*messages)

    restaurant.wait_for(cooked, "ready")
    wait_until(
        lambda: post.depth(DEAD_LETTERS) == len(messages) + 1, seconds=60, doing="for dead letters"
    )
    assert restaurant.close() == [0] * len(restaurant.started)
    logged = [line for process in restaurant.started for line in process.logs]
    told = {line["action"] for line in logged}
    assert {"request_failed", "validation_failed", "request_received"} <= told
    assert {"message_processing_failed", "retry_attempted", "message_dead_lettered"} <= told
    assert [line for line in logged if MARK in json.dumps(line)] == []
    assert not any(MARK in process.stderr for process in restaurant.started)


def test_password_that_a_server_refuses_appears_in_no_output(
    commands: Processes, dsn: str, amqp_url: str
) -> None:
    """Nor do its parts, split at what YAML and URLs give a meaning to."""
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
