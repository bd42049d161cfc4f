"""The `privacy` commands and the retention period, with real processes on both brokers."""

import json
from datetime import timedelta

import pytest

from tests.support.broker_client import BrokerClient
from tests.support.deployments import Deployment, error_message
from tests.support.messages import DEAD_LETTERS, make_order_message
from tests.support.orders import make_item, make_order_body
from tests.support.partitions import TABLES
from tests.support.processes import Process
from tests.support.waiting import wait_until

MARK = "Zweigelt"  # part of all personal data
PERSON = f"Ada {MARK}"
BODY = make_order_body(
    customer_name=PERSON,
    order_type="delivery",
    delivery_address=f"{MARK} Street 12",
    notes=f"ring at {MARK}",
    items=[
        make_item(
            notes=f"for {MARK}",
            guest=MARK,
            modifiers=[{"name": f"Write {MARK} on it", "kind": "instruction"}],
        )
    ],
    phone=MARK,
    allergy_note=f"{MARK}: nuts",
    reference=MARK,
)


@pytest.fixture
def broker(dsn: str, optional_amqp_url: str | None) -> BrokerClient:
    """Return a client of the deployment's broker."""
    return BrokerClient(dsn, optional_amqp_url)


def tables_with(deployment: Deployment, text: str) -> list[str]:
    """Return the names of the tables that contain a text, also within bytes."""
    tables = deployment.query(TABLES)
    return [
        table["relname"]
        for table in tables
        if deployment.query(
            f"SELECT FROM {table['relname']} AS stored WHERE strpos(stored::text, $1) > 0"
            " OR strpos(stored::text, encode(convert_to($1, 'UTF8'), 'hex')) > 0",
            text,
        )
    ]


def place(deployment: Deployment, **headers: str) -> str:
    """Place an order with personal data in every field; return its number."""
    response = deployment.post_order(BODY, **headers)
    assert response.status_code == 201, response.text
    number: str = response.json()["order_number"]
    return number


def finish(deployment: Deployment, number: str) -> None:
    """Wait until an order is ready, and complete it."""
    deployment.wait_for_status(number, "ready")
    assert deployment.orders.post(f"/orders/{number}/complete").status_code == 200


def output_of(process: Process) -> str:
    """Wait until a command has exited with 0, and return its output."""
    assert process.wait() == 0, process.stderr
    return process.stdout


def test_customer_is_exported_and_erased_and_does_not_come_back(
    deployment: Deployment, broker: BrokerClient
) -> None:
    """Orders, messages and dead letters of other customers, and unfinished orders, stay."""
    deployment.start_order_service()
    deployment.start_tracking_service()
    deployment.start_subscriber("till")
    deployment.wait_until_ready()
    cancelled = place(deployment, **{"Idempotency-Key": "order-1-of-till-2"})
    move = {"changed_by": "waiter", "reason": f"{MARK} is ill"}
    assert deployment.orders.post(f"/orders/{cancelled}/cancel", json=move).status_code == 200
    deployment.start_worker("anna")
    deployment.wait_until_ready()
    completed = place(deployment)
    finish(deployment, completed)
    broker.put(
        make_order_message(
            exchange="orders_dlx", body=json.dumps({"order_number": completed, "n": MARK}).encode()
        ),
        make_order_message(exchange="orders_dlx"),
    )

    exported = json.loads(output_of(deployment.start("privacy", "export", "--name", PERSON)))
    assert [order["number"] for order in exported["orders"]] == [cancelled, completed]
    assert exported["orders"][0]["history"][1]["notes"] == f"{MARK} is ill"

    refused = deployment.start("privacy", "erase", "--name", PERSON)
    assert refused.wait() == 1
    assert error_message(refused).count("\n") == 1
    erasing = deployment.start("privacy", "erase", "--name", PERSON.lower(), "--yes")
    assert output_of(erasing).startswith(f"To erase: 2 orders ({cancelled}, {completed}).\n")
    assert "1 dead letter.\n" in erasing.stdout
    assert MARK not in erasing.stdout + erasing.stderr

    deployment.wait_until_outbox_is_empty()
    assert tables_with(deployment, MARK) == []
    assert broker.depth(DEAD_LETTERS) == 1
    again = deployment.post_order(BODY, **{"Idempotency-Key": "order-1-of-till-2"})
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json()["order_number"] == cancelled
    assert tables_with(deployment, MARK) == []
    for number in (cancelled, completed):
        order = deployment.tracking.get(f"/orders/{number}")
        assert (order.status_code, order.json()["customer_name"]) == (200, "erased")
        assert order.json()["total_amount"] == 9.5
        assert deployment.tracking.get(f"/orders/{number}/status").status_code == 200

    again_erased = deployment.start("privacy", "erase", "--order", completed, "--yes")
    assert output_of(again_erased) == "There is nothing to erase.\n"
    assert deployment.stop_all()[:4] == [0] * 4


def test_order_service_erases_orders_after_the_retention_period(
    deployment: Deployment, broker: BrokerClient
) -> None:
    """A process that was killed before has erased nothing; two processes share the rest."""
    first = deployment.start_order_service()
    deployment.start_worker("anna")
    deployment.wait_until_ready()
    old, recent = place(deployment), place(deployment)
    for number in (old, recent):
        finish(deployment, number)
    first.kill()
    deployment.query(
        "UPDATE orders SET updated_at = updated_at - $2::interval WHERE number = $1",
        *(old, timedelta(days=31)),
    )
    broker.put(
        make_order_message(
            exchange="orders_dlx", body=json.dumps({"order_number": old, "n": MARK}).encode()
        )
    )

    second = deployment.start_order_service("--processes", "2")
    deployment.wait_until_ready()

    second.wait_for("personal_data_erased")
    wait_until(lambda: broker.depth(DEAD_LETTERS) == 0, seconds=20, doing="for no dead letter")
    assert deployment.get_order(old)["customer_name"] == "erased"
    assert deployment.get_order(recent)["customer_name"] == PERSON
    assert MARK not in second.stdout + second.stderr
