"""Prints every status change."""

import sys

from restaurant_system.config import Settings
from restaurant_system.foundation import begin, broker_alone, reach, signer
from restaurant_system.messaging.broker import UpdateSource
from restaurant_system.services.notification.subscriber import NotificationSubscriber
from restaurant_system.shutdown import Shutdown


async def print_notifications(settings: Settings, shutdown: Shutdown, name: str | None) -> None:
    """Print status changes until asked to stop."""
    async with broker_alone(settings, "notification-subscriber") as broker:
        await reach(broker)
        begin("notification-subscriber", shutdown)
        await subscriber(settings, broker, name).run(shutdown)


def subscriber(
    settings: Settings, broker: UpdateSource, name: str | None
) -> NotificationSubscriber:
    """Return a subscriber that prints on stdout."""
    return NotificationSubscriber(broker, name, sys.stdout, signer(settings))
