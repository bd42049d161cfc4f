"""The HTTP routes for what people do with orders that are ready."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Header
from starlette.requests import Request
from starlette.responses import Response

from restaurant_system.models.access import Capability
from restaurant_system.models.order import MoveOfReadyOrder
from restaurant_system.services.order.move_requests import (
    OrderMoved,
    made_by,
    read_move,
    respond,
)
from restaurant_system.services.order.ready_orders import (
    ActOnReadyOrder,
    ReadyAction,
    ReadyOrders,
)
from restaurant_system.web.access_control import caller_of
from restaurant_system.web.actors import actor_of
from restaurant_system.web.api import Feature
from restaurant_system.web.guarded_router import GuardedRouter
from restaurant_system.web.idempotency_key import ACTION_KEY_RULE, action_key
from restaurant_system.web.openapi import MOVE_PROBLEMS, request_body
from restaurant_system.web.request_checks import valid_order_number

SUMMARIES = {
    ReadyAction.HAND_OVER: "Hand over an order that is ready; it is completed 12 s later",
    ReadyAction.UNDO_HAND_OVER: "Undo a hand-over, until the order is completed",
    ReadyAction.MARK_UNCOLLECTED: "Mark an order as not fetched: it leaves the board",
    ReadyAction.UNDO_UNCOLLECTED: "Show an order that was marked as not fetched on the board again",
    ReadyAction.SEND_BACK: "Send an order that is ready back to the kitchen",
    ReadyAction.UNDO_SEND_BACK: "Undo that an order was sent back to the kitchen, within 10 s",
}


class ReadyOrderHandler:
    """Turns requests into actions on ready orders."""

    def __init__(self, orders: ReadyOrders) -> None:
        self._orders = orders

    def feature(self) -> Feature:
        """Return one route for each action."""
        router = GuardedRouter(tags=["orders"])
        for action, summary in SUMMARIES.items():
            router.add_api_route(
                f"/orders/{{order_number}}/{action}",
                self._endpoint(action),
                methods=["POST"],
                requires=Capability.MOVE_ORDERS,
                response_model=OrderMoved,
                summary=summary,
                operation_id=action.name.lower(),
                responses=MOVE_PROBLEMS,
                openapi_extra=request_body(MoveOfReadyOrder, required=False),
            )
        return Feature(router)

    def _endpoint(self, action: ReadyAction) -> Callable[..., Awaitable[Response]]:
        async def perform(
            order_number: str,
            request: Request,
            idempotency_key: Annotated[str | None, Header(description=ACTION_KEY_RULE)] = None,
        ) -> Response:
            """Perform the action; an order that is so already stays so."""
            number = valid_order_number(order_number)
            act = ActOnReadyOrder(
                number=number,
                action=action,
                move=made_by(caller_of(request), await read_move(request, MoveOfReadyOrder)),
                request_id=request.scope["request_id"],
                by=actor_of(request),
            )
            result = await self._orders.perform(act, key=action_key(idempotency_key))
            moved = OrderMoved(order_number=number, status=result.status)
            return respond(moved, is_replayed=result.replayed)

        return perform
