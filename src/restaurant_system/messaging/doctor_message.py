"""The message that `doctor` sends round through a broker."""

from datetime import UTC, datetime

from restaurant_system.messaging import topology
from restaurant_system.models.message import Message, new_message_id

TYPE = "doctor.test"


def make_test_message(queue: str) -> Message:
    """Return a message with a unique body, addressed to one queue.

    Its queue is temporary. A kitchen that received it would dead-letter it, as its type is unknown.
    """
    message_id = new_message_id()
    return Message(
        exchange=topology.DEFAULT.name,
        routing_key=queue,
        type=TYPE,
        body=b'{"test": "%s"}' % str(message_id).encode(),
        message_id=message_id,
        correlation_id=str(message_id),
        app_id="doctor",
        timestamp=datetime.now(UTC),
    )
