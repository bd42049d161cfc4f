"""The HTTP route that releases an order by hand."""

from pydantic import BaseModel
from starlette.requests import Request

from restaurant_system.models.access import Capability
from restaurant_system.models.status import OrderStatus
from restaurant_system.services.order.release import Release
from restaurant_system.web.actors import actor_of
from restaurant_system.web.api import Feature
from restaurant_system.web.guarded_router import GuardedRouter
from restaurant_system.web.openapi import MOVE_PROBLEMS
from restaurant_system.web.request_checks import valid_order_number


class OrderReleased(BaseModel):
    """The response to a release: the order waits for a cook from now on."""

    order_number: str
    status: OrderStatus = OrderStatus.RECEIVED


class ReleaseHandler:
    """Lets people cook a scheduled or a held order now."""

    def __init__(self, orders: Release) -> None:
        self._orders = orders

    def feature(self) -> Feature:
        """Return the route."""
        router = GuardedRouter(tags=["orders"])
        router.add_api_route(
            "/orders/{order_number}/release",
            self.release,
            methods=["POST"],
            requires=Capability.MOVE_ORDERS,
            summary="Cook a scheduled order, or one of an earlier business date, now",
            operation_id="release_order",
            responses=MOVE_PROBLEMS,
        )
        return Feature(router)

    async def release(self, order_number: str, request: Request) -> OrderReleased:
        """Release an order; its message is published, and the next free cook takes it."""
        number = valid_order_number(order_number)
        await self._orders.release(
            number, request_id=request.scope["request_id"], by=actor_of(request)
        )
        return OrderReleased(order_number=number)
