"""RabbitMQ loses its disk while orders are in progress: no order or update is lost."""

from tests.support import deployments
from tests.support.deployments import Deployment
from tests.support.processes import Process
from tests.support.rabbitmq_server import RabbitMQ
from tests.support.waiting import wait_until

IMPATIENT = {
    "RESTAURANT_RECONCILIATION__INTERVAL": "1",
    "RESTAURANT_RECONCILIATION__AFTER": "2",
}
DEFAULT_VHOST = "%2F"  # a blank node has no other
MOVES = [("received", "cooking"), ("cooking", "ready")]


def test_orders_and_updates_survive_the_loss_of_the_brokers_disk(
    dsn: str, restartable_rabbitmq: RabbitMQ
) -> None:
    """Every order becomes ready, and a named subscriber receives every update at least once."""
    url = restartable_rabbitmq.url(DEFAULT_VHOST)
    with deployments.running(dsn, url, **IMPATIENT) as deployment:
        intake = deployment.start_order_service()
        deployment.start_worker("anna", scale=0.1)
        deployment.start_worker("bruno", scale=0.1)
        display = deployment.start_subscriber("display")
        deployment.wait_until_ready()
        numbers = [deployment.place_order() for _ in range(8)]
        deployment.wait_for_status(numbers[0], "ready")

        restartable_rabbitmq.kill()
        restartable_rabbitmq.wipe()
        numbers += [deployment.place_order() for _ in range(2)]
        restartable_rabbitmq.start()
        numbers += [deployment.place_order() for _ in range(2)]

        for number in numbers:
            deployment.wait_for_status(number, "ready")
            assert [status for status, _ in deployment.history(number)][1:] == ["cooking", "ready"]
        assert intake.logged("order_resent", status="received")
        intake.wait_for("updates_republished", seconds=60)
        deployment.wait_until_outbox_is_empty()
        wait_until(
            lambda: all(tells(display, deployment, number) for number in numbers),
            seconds=30,
            doing="for the subscriber to receive every update",
        )
        assert all(process.running for process in deployment.started)


def tells(subscriber: Process, deployment: Deployment, number: str) -> bool:
    """Return whether a subscriber printed every status change of an order in sequence."""
    by = dict(deployment.history(number))
    lines = iter(subscriber.stdout.splitlines())
    return all(
        f"Notification for order {number}: Status changed from '{old}' to '{new}' by {by[new]}."
        in lines
        for old, new in MOVES
    )
