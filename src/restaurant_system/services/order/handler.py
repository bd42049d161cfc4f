"""The HTTP routes of the order service."""

import re
from http import HTTPStatus
from typing import Literal, Protocol

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from restaurant_system.logger import get_logger
from restaurant_system.models.access import Caller, Capability
from restaurant_system.models.audit import Actor
from restaurant_system.models.order import Money, Move, NewOrder
from restaurant_system.models.status import OrderStatus
from restaurant_system.services.order.service import NAME, OrderService, PlacedOrder
from restaurant_system.web.access_control import caller_of
from restaurant_system.web.actors import actor, actor_of
from restaurant_system.web.api import Feature
from restaurant_system.web.endpoint import (
    Endpoint,
    EndpointRequest,
    EndpointResponse,
    respond_over_asgi,
)
from restaurant_system.web.guarded_router import GuardedRouter
from restaurant_system.web.headers import Headers, all_values
from restaurant_system.web.json_body import JSON, read_json, read_optional_json
from restaurant_system.web.openapi import (
    MOVE_PROBLEMS,
    PLACE_PROBLEMS,
    header_parameter,
    link_to,
    request_body,
)
from restaurant_system.web.problem import Refusal
from restaurant_system.web.request_checks import ConcurrencyLimit, valid_order_number
from restaurant_system.web.validation_errors import FieldError, loggable_fields

log = get_logger(NAME)

KEY_HEADER = "Idempotency-Key"
KEY_NAME = KEY_HEADER.lower().encode()  # as it arrives
KEY = re.compile(rb"[\x21-\x7e]{1,255}")


class UseCase(Protocol):
    """A move of an order that can be requested over HTTP."""

    async def __call__(
        self, number: str, move: Move, *, request_id: str, by: Actor | None
    ) -> OrderStatus:
        """Make the move; return the new status."""


class OrderPlaced(BaseModel):
    """The response to a new order."""

    order_number: str
    status: Literal[OrderStatus.RECEIVED] = OrderStatus.RECEIVED
    total_amount: Money
    tracking_url: str | None = Field(
        description="The customer's link; null in the replay of an order that has no link any more"
    )


def serialize(placed: PlacedOrder, _: Caller) -> EndpointResponse:
    """Serialize an `OrderPlaced` as pydantic does, but several times faster."""
    link = "null" if placed.tracking_url is None else f'"{placed.tracking_url}"'
    body = (
        f'{{"order_number":"{placed.order_number}","status":"{OrderStatus.RECEIVED}",'
        f'"total_amount":{float(placed.total_amount)},"tracking_url":{link}}}'
    )
    headers = [(b"location", f"/orders/{placed.order_number}/status".encode())]
    if placed.replayed:
        headers.append((b"idempotency-replayed", b"true"))
    return EndpointResponse(body.encode(), HTTPStatus.CREATED, headers)


class OrderMoved(BaseModel):
    """The response to a cancellation or a completion."""

    order_number: str
    status: OrderStatus


class OrderHandler:
    """Turns requests into calls of the `OrderService`, and results into responses."""

    def __init__(self, service: OrderService, max_concurrent: int) -> None:
        self._service = service
        self._limit = ConcurrencyLimit(max_concurrent)
        self._placing = Endpoint(
            "POST", "/orders", self.place, serialize, requires=Capability.PLACE_ORDERS
        )

    def feature(self) -> Feature:
        """Return the routes of orders, and the endpoint for new ones."""
        router = GuardedRouter(tags=["orders"])
        router.add_api_route(
            "/orders",
            self.documented_place,
            methods=["POST"],
            requires=self._placing.requires,
            status_code=HTTPStatus.CREATED,
            response_model=OrderPlaced,
            summary="Place an order",
            operation_id="place_order",
            responses={
                HTTPStatus.CREATED: {
                    "links": {
                        "cancel": link_to("cancel_order"),
                        "complete": link_to("complete_order"),
                    }
                },
                **PLACE_PROBLEMS,
            },
            openapi_extra={
                **request_body(NewOrder),
                "parameters": [header_parameter(KEY_HEADER, "The same key: the same order")],
            },
        )
        for path, endpoint, summary in (
            ("cancel", self.cancel, "Cancel an order that is received or cooking"),
            ("complete", self.complete, "Complete an order that is ready"),
        ):
            router.add_api_route(
                f"/orders/{{order_number}}/{path}",
                endpoint,
                methods=["POST"],
                requires=Capability.MOVE_ORDERS,
                response_model=OrderMoved,
                summary=summary,
                operation_id=f"{path}_order",
                responses=MOVE_PROBLEMS,
                openapi_extra=request_body(Move, required=False),
            )
        return Feature(router, endpoints=[self._placing])

    async def place(self, request: EndpointRequest) -> PlacedOrder:
        """Store an order, which is then published to the kitchen."""
        order, key = _read_order(request)
        async with self._limit:
            return await self._service.place(
                order,
                request_id=request.request_id,
                key=key,
                by=actor(request.caller, request.client),
            )

    async def documented_place(self, request: Request) -> Response:
        """Place an order by FastAPI's route, which exists for the documentation."""
        return await respond_over_asgi(self._placing, request)

    async def cancel(self, order_number: str, request: Request) -> Response:
        """Cancel an order; return its new status."""
        return await self._move(self._service.cancel, order_number, request)

    async def complete(self, order_number: str, request: Request) -> Response:
        """Complete an order; return its new status."""
        return await self._move(self._service.complete, order_number, request)

    async def _move(self, use_case: UseCase, order_number: str, request: Request) -> Response:
        number = valid_order_number(order_number)
        body = read_optional_json(request.headers.raw, await request.body(), Move)
        move = _made_by(caller_of(request), body)
        async with self._limit:
            status = await use_case(
                number, move, request_id=request.scope["request_id"], by=actor_of(request)
            )
        answer = OrderMoved(order_number=number, status=status)
        return Response(answer.model_dump_json(), media_type=JSON)


def _read_order(request: EndpointRequest) -> tuple[NewOrder, str | None]:
    try:
        order = read_json(request.headers, bytes(request.body), NewOrder)
        return order, _idempotency_key(request.headers)
    except Refusal as refusal:
        log.info(
            "validation_failed",
            message=f"An order was refused: {refusal.detail}",
            fields=loggable_fields(refusal.errors),
        )
        raise


def _made_by(caller: Caller, move: Move) -> Move:
    """Return a move that a person makes by that person's name, whatever the body states.

    A program may state whom it acts for; otherwise it acts by the name of its API key.
    """
    if caller.name is None or (caller.role is None and move.changed_by is not None):
        return move
    return move.model_copy(update={"changed_by": caller.name})


def _idempotency_key(headers: Headers) -> str | None:
    keys = all_values(KEY_NAME, headers)
    if not keys:
        return None
    if len(keys) > 1:
        raise _bad_key("must occur once")
    if not KEY.fullmatch(keys[0]):
        raise _bad_key("must have 1 to 255 visible ASCII characters")
    return keys[0].decode()


def _bad_key(fault: str) -> Refusal:
    return Refusal(
        HTTPStatus.BAD_REQUEST, "A header breaks a rule.", [FieldError(KEY_HEADER, fault)]
    )
