"""Compose the kitchen worker: one simulated cook."""

from dataclasses import dataclass
from uuid import uuid4

from restaurant_system.app.monitoring import PRIMARY, metrics_port
from restaurant_system.app.runtime import Runtime, open_runtime, running_relay, signer
from restaurant_system.config import Settings
from restaurant_system.messaging.relay import Relay
from restaurant_system.models.clock import utc_now
from restaurant_system.models.order import OrderType
from restaurant_system.services.kitchen.simulated_cook import SimulatedCook
from restaurant_system.shutdown import Shutdown
from restaurant_system.worker.lifecycle import KitchenWorker


@dataclass(frozen=True, slots=True)
class Cook:
    """A simulated cook: the name, and the order types that it cooks."""

    name: str
    order_types: tuple[OrderType, ...] = tuple(OrderType)


async def run_kitchen_worker(settings: Settings, shutdown: Shutdown, cook: Cook) -> None:
    """Cook orders until a stop is requested."""
    async with (
        open_runtime(settings, "kitchen-worker", shutdown) as runtime,
        running_relay(runtime, runtime.broker) as relay,
        metrics_port(settings, runtime.service, runtime.broker, {PRIMARY: runtime.database}),
    ):
        runtime.report_started()
        await build_worker(runtime, relay, cook).run(runtime.shutdown)


def build_worker(runtime: Runtime, relay: Relay, cook: Cook) -> KitchenWorker:
    """Build a worker that simulates a cook."""
    kitchen = runtime.settings.kitchen
    return KitchenWorker(
        runtime.database,
        runtime.broker,
        runtime.retry_policy,
        SimulatedCook(
            runtime.database, relay, worker_name=cook.name, kitchen=kitchen, clock=utc_now
        ),
        name=cook.name,
        order_types=cook.order_types,
        kitchen=kitchen,
        session=uuid4(),
        signer=signer(runtime.settings),
    )
