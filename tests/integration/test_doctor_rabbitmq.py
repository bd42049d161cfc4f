"""What `doctor` finds about RabbitMQ, with each fault really made."""

from datetime import timedelta
from typing import Any

import pytest

from restaurant_system.app.doctor import Level
from restaurant_system.messaging.rabbitmq import RabbitMQBroker, inspection
from restaurant_system.models.clock import utc_now
from tests.conftest import QUICK_RETRIES, make_rabbitmq_broker
from tests.support.doctor import diagnose, faults, levels
from tests.support.management_api import ManagementApi
from tests.support.messages import DEAD_LETTERS, TAKEOUT, make_order_message
from tests.support.processes import free_port
from tests.support.rabbitmq_server import RabbitMQ

A_MILLENNIUM = timedelta(days=365_250)
DELIVERY = QUICK_RETRIES.model_dump()
KINDS = ("queues", "exchanges", "bindings")


def listed(management_api: ManagementApi) -> dict[str, list[tuple[object, ...]]]:
    """Return the names and arguments of everything on the virtual host."""
    fields = ("name", "type", "source", "destination", "routing_key", "arguments")
    return {
        kind: [
            tuple(str(each.get(field)) for field in fields) for each in management_api.listed(kind)
        ]
        for kind in KINDS
    }


async def diagnose_both(dsn: str, amqp_url: str) -> Any:  # noqa: ANN401 - findings
    """Return the findings about both servers."""
    return await diagnose(database={"url": dsn}, rabbitmq={"url": amqp_url}, delivery=DELIVERY)


async def test_blank_virtual_host_has_no_fault_and_stays_blank(
    dsn: str, amqp_url: str, management_api: ManagementApi
) -> None:
    before = listed(management_api)

    findings = await diagnose_both(dsn, amqp_url)

    assert faults(findings) == {}
    messages = {each.check: each.message for each in findings}
    assert messages["broker.topology"] == (
        "the next service that starts declares 12 exchanges and queues"
    )
    assert "a message came back after" in messages["broker.round_trip"]
    assert listed(management_api) == before


async def test_virtual_host_in_use_has_no_fault_and_is_not_changed(
    dsn: str, amqp_url: str, rabbitmq_broker: RabbitMQBroker, management_api: ManagementApi
) -> None:
    """Messages that wait are neither consumed nor marked as redelivered."""
    await rabbitmq_broker.publish([make_order_message()])
    before = listed(management_api)

    findings = await diagnose_both(dsn, amqp_url)

    assert faults(findings).keys() == {"broker.queues"}
    messages = {each.check: each.message for each in findings}
    assert messages["broker.topology"] == "all exchanges and queues have the expected arguments"
    assert listed(management_api) == before
    async with rabbitmq_broker.consume([TAKEOUT], prefetch=1) as consumer:
        delivery = await anext(aiter(consumer))
        assert not delivery.redelivered
        await delivery.ack()


async def test_node_of_a_cluster_that_is_away_is_a_warning(
    dsn: str, amqp_url: str, rabbitmq_server: RabbitMQ
) -> None:
    away, here = (f"127.0.0.1:{port}" for port in (free_port(), rabbitmq_server.port))

    findings = await diagnose_both(dsn, amqp_url.replace(here, f"{away},{here}"))

    (fault,) = faults(findings).values()
    assert fault.message == f"{away}: RabbitMQ unreachable: connection refused"
    assert levels(findings)["broker.connection"] is Level.WARNING


async def test_other_arguments_are_named_with_their_cure(
    dsn: str, amqp_url: str, management_api: ManagementApi
) -> None:
    management_api.declare_queue(TAKEOUT, {"x-queue-type": "classic"})
    management_api.declare_exchange("orders_dlx", "direct")

    findings = await diagnose_both(dsn, amqp_url)

    found = [each for each in findings if each.check == "broker.topology"]
    differs = "exists in RabbitMQ with"
    assert sorted(each.message for each in found) == [
        f"The exchange orders_dlx {differs} type direct instead of fanout",
        f"The queue {TAKEOUT} {differs} x-dead-letter-exchange none instead of orders_dlx",
    ]
    assert all("delete the" in (each.cure or "") for each in found)


@pytest.mark.parametrize("is_declared", [False, True])
async def test_missing_rights_are_named_whether_or_not_queues_exist(
    dsn: str, amqp_url: str, management_api: ManagementApi, *, is_declared: bool
) -> None:
    if is_declared:
        management_api.declare_queue("kitchen_queue", {})
    management_api.create_user(
        "limited",
        configure="^(?!delivery_retry$)",
        write="^(?!orders_topic$)",
        read="^(?!kitchen_q)",
    )
    url = amqp_url.replace("guest:guest", "limited:limited")

    rights = faults(await diagnose_both(dsn, url))["broker.rights"]

    assert rights.level is Level.ERROR
    assert rights.message == (
        "the user limited lacks rights: orders_topic (write or read); delivery_retry (configure);"
        " kitchen_queue (read)"
    )
    assert (rights.cure or "").startswith("run rabbitmqctl set_permissions -p test_")


async def test_missing_right_on_the_lock_of_dead_letters_is_named_while_they_are_browsed(
    dsn: str, amqp_url: str, management_api: ManagementApi
) -> None:
    """The dead letters of quorum queues are browsed under a lock, which is a queue."""
    management_api.create_user("limited", configure="^(?!.*[.]lock$)", write="^(?!.*[.]lock$)")
    url = amqp_url.replace("guest:guest", "limited:limited")
    quorum = {"queue_type": "quorum"}
    administrator = make_rabbitmq_broker(amqp_url, QUICK_RETRIES, "quorum")
    await administrator.connect()

    async with administrator.browse(DEAD_LETTERS):
        findings = await diagnose(
            database={"url": dsn}, rabbitmq={"url": url, **quorum}, delivery=DELIVERY
        )
    await administrator.close()

    assert faults(findings)["broker.rights"].message == (
        f"the user limited lacks rights: {DEAD_LETTERS}.lock (configure)"
    )


async def test_wrong_password_is_an_error_and_skips_the_other_checks_of_rabbitmq(
    dsn: str, amqp_url: str
) -> None:
    findings = await diagnose_both(dsn, amqp_url.replace("guest:guest", "guest:wrong"))

    assert faults(findings)["broker.connection"].cure == (
        "correct rabbitmq.user and rabbitmq.password"
    )
    assert levels(findings)["broker.round_trip"] is Level.SKIPPED
    assert levels(findings)["outbox"] is Level.OK


async def test_broker_short_of_memory_fails_the_round_trip_only(
    dsn: str, amqp_url: str, rabbitmq_server: RabbitMQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "CONFIRM_TIMEOUT", 0.5)
    with rabbitmq_server.short_of_memory():
        found = faults(await diagnose_both(dsn, amqp_url))

    assert found.keys() == {"broker.round_trip"}
    assert "rabbitmq-diagnostics alarms" in (found["broker.round_trip"].cure or "")


async def test_expired_certificate_of_rabbitmq_is_an_error(
    dsn: str, amqp_url: str, rabbitmq_server: RabbitMQ
) -> None:
    vhost = amqp_url.rpartition("/")[2]
    url = f"amqps://guest:guest@localhost:{rabbitmq_server.tls_port}/{vhost}"
    tls = {"cafile": str(rabbitmq_server.authority.certificate)}

    findings = await diagnose(
        database={"url": dsn},
        rabbitmq={"url": url, "tls": tls},
        clock=lambda: utc_now() + A_MILLENNIUM,
    )

    assert "the server's certificate expired on" in faults(findings)["broker.certificate"].message
