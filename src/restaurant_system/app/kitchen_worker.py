"""Compose the kitchen worker: one simulated cook."""

from dataclasses import dataclass
from uuid import uuid4

from restaurant_system.app import health_checks, watchdog
from restaurant_system.app.monitoring import PRIMARY, metrics_port
from restaurant_system.app.runtime import (
    Runtime,
    background_task,
    open_runtime,
    running_relay,
    signer,
)
from restaurant_system.config import Settings
from restaurant_system.messaging.relay import Relay
from restaurant_system.models.clock import utc_now
from restaurant_system.models.order import OrderType
from restaurant_system.services.kitchen.simulated_cook import SimulatedCook
from restaurant_system.shutdown import Shutdown
from restaurant_system.worker.lifecycle import KitchenWorker
from restaurant_system.worker.order_processor import ClaimRules

NAME = "kitchen-worker"


@dataclass(frozen=True, slots=True)
class Cook:
    """A simulated cook: the name, and the order types that it cooks."""

    name: str
    order_types: tuple[OrderType, ...] = tuple(OrderType)


async def run_kitchen_worker(settings: Settings, shutdown: Shutdown, cook: Cook) -> None:
    """Cook orders until a stop is requested."""
    async with (
        background_task(watchdog.report_alive()),
        metrics_port(settings, NAME) as serve_metrics,
        open_runtime(settings, NAME, shutdown) as runtime,
        running_relay(runtime, runtime.broker) as relay,
    ):
        worker = build_worker(runtime, relay, cook)
        checks = {
            "database": health_checks.of_database(runtime.database),
            "broker": health_checks.of_broker(runtime.broker),
            "consumer": health_checks.of_consumer(lambda: worker.is_consuming),
        }
        async with serve_metrics(runtime.broker, {PRIMARY: runtime.database}, checks):
            runtime.report_started()
            await worker.run(runtime.shutdown)


def build_worker(runtime: Runtime, relay: Relay, cook: Cook) -> KitchenWorker:
    """Build a worker that simulates a cook."""
    rules = ClaimRules(
        cook.name,
        cook.order_types,
        runtime.settings.kitchen,
        utc_now,
        runtime.settings.business_day,
    )
    return KitchenWorker(
        runtime.database,
        runtime.broker,
        runtime.retry_policy,
        SimulatedCook(runtime.database, relay, rules),
        rules,
        session=uuid4(),
        signer=signer(runtime.settings),
    )
