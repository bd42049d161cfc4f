"""Compose the notification subscriber, which prints every status change."""

import sys

from restaurant_system.app import health_checks, watchdog
from restaurant_system.app.monitoring import metrics_port
from restaurant_system.app.runtime import (
    background_task,
    broker_alone,
    connect_broker,
    report_started,
    signer,
)
from restaurant_system.app.telemetry import traced
from restaurant_system.config import Settings
from restaurant_system.messaging.broker import UpdateSource
from restaurant_system.messaging.retry_policy import RetryPolicy
from restaurant_system.services.notification.subscriber import NAME, NotificationSubscriber
from restaurant_system.shutdown import Shutdown


async def run_notification_subscriber(
    settings: Settings, shutdown: Shutdown, name: str | None
) -> None:
    """Print status changes until a stop is requested."""
    async with (
        background_task(watchdog.report_alive()),
        metrics_port(settings, NAME) as serve_metrics,
        traced(settings, NAME),
        broker_alone(settings, NAME) as broker,
    ):
        await connect_broker(broker)
        subscriber = build_subscriber(settings, broker, RetryPolicy(settings.delivery), name)
        checks = {
            "broker": health_checks.of_broker(broker),
            "consumer": health_checks.of_consumer(lambda: subscriber.is_consuming),
        }
        async with serve_metrics(broker, {}, checks):
            report_started(NAME, shutdown)
            await subscriber.run(shutdown)


def build_subscriber(
    settings: Settings, broker: UpdateSource, policy: RetryPolicy, name: str | None
) -> NotificationSubscriber:
    """Build a subscriber that prints on stdout."""
    return NotificationSubscriber(broker, policy, name, sys.stdout, signer(settings))
