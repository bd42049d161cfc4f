"""H: orders per second that are parsed, validated and answered over HTTP, without storage.

The product's handler, on the fast path, with a service that responds at once. `answering.py PORT`
serves until it is stopped; the load generator measures it.
"""

import contextlib
import sys
from typing import cast

from restaurant_system import logger
from restaurant_system.app.runtime import tune_garbage_collector
from restaurant_system.cli.running import run
from restaurant_system.models.access import Caller
from restaurant_system.models.audit import Actor
from restaurant_system.models.order import NewOrder
from restaurant_system.services.order.handler import OrderHandler
from restaurant_system.services.order.service import OrderService, PlacedOrder
from restaurant_system.shutdown import Shutdown
from restaurant_system.web import api, server

MAX_CONCURRENT = 64
LINK = "/track/ORD_20241216_1234/00112233445566778899aabbccddeeff"


class NoStorage:
    """An order service that stores nothing."""

    async def place(
        self,
        order: NewOrder,
        *,
        request_id: str,  # noqa: ARG002
        key: str | None,  # noqa: ARG002
        by: Actor | None,  # noqa: ARG002
        caller: Caller | None,  # noqa: ARG002
    ) -> PlacedOrder:
        """Return the same order number for each order."""
        return PlacedOrder("ORD_20241216_1234", order.total_amount, LINK)


async def serve(port: int, service: object, shutdown: Shutdown) -> None:
    """Serve the HTTP handler of orders with the given order service until the stop."""
    handler = OrderHandler(cast("OrderService", service), MAX_CONCURRENT)
    with contextlib.closing(server.listen("127.0.0.1", port)) as listening:
        shutdown.stop_cancelling()
        tune_garbage_collector()  # as every service does
        async with server.running(listening, shutdown) as running:
            await running.serve(api.build("Order service", [handler.feature()]))


if __name__ == "__main__":
    logger.configure(service="benchmark", level="INFO", style="json", stream=sys.stdout)
    run(lambda shutdown: serve(int(sys.argv[1]), NoStorage(), shutdown))
