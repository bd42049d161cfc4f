"""The HTTP routes of the order service."""

from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus
from typing import Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from restaurant_system.error_texts import ErrorText
from restaurant_system.logger import get_logger
from restaurant_system.models.access import Caller, Capability
from restaurant_system.models.currency import NO_CURRENCY, Currency
from restaurant_system.models.external_order import ExternalOrder
from restaurant_system.models.money import Money, json_text
from restaurant_system.models.order import Move, NewOrder
from restaurant_system.models.status import OrderStatus
from restaurant_system.services.order.examples import EXAMPLES
from restaurant_system.services.order.move_requests import (
    OrderMoved,
    is_by_person,
    made_by,
    read_move,
    respond,
)
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
from restaurant_system.web.headers import Headers
from restaurant_system.web.idempotency_key import HEADER, SCHEMA, checked_key, key_in
from restaurant_system.web.json_body import read_json
from restaurant_system.web.openapi import (
    MOVE_PROBLEMS,
    PLACE_PROBLEMS,
    header_parameter,
    link_to,
    request_body,
)
from restaurant_system.web.problem import INVALID_ADDRESS, Refusal
from restaurant_system.web.request_checks import ConcurrencyLimit, valid_order_number
from restaurant_system.web.validation_errors import (
    MAX_FIELD_ERRORS,
    FieldError,
    field_errors,
    loggable_fields,
)

log = get_logger(NAME)

T = TypeVar("T")

# Replaces what is not UTF-8 in the path of a request.
REPLACEMENT_CHARACTER = "\ufffd"

KEY_PARAMETER = header_parameter(
    HEADER,
    "The same key with the same order: the same response, and no second order. Make a new UUID for"
    " each order; shorter keys are refused, because another client may send them too.",
    SCHEMA,
)


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
        f'"total_amount":{json_text(placed.total_amount)},"tracking_url":{link}}}'
    )
    headers = [(b"location", f"/orders/{placed.order_number}/status".encode())]
    if placed.replayed:
        headers.append((b"idempotency-replayed", b"true"))
    return EndpointResponse(body.encode(), HTTPStatus.CREATED, headers)


class OrderWithdrawn(BaseModel):
    """The response to a cancellation by the channel's id or by an idempotency key."""

    order_number: str | None = Field(
        description="Null if the order has not arrived: it is refused when it arrives"
    )
    status: Literal[OrderStatus.CANCELLED] = OrderStatus.CANCELLED


class OrderHandler:
    """Turns requests into calls of the `OrderService`, and results into responses."""

    def __init__(
        self, service: OrderService, max_concurrent: int, currency: Currency = NO_CURRENCY
    ) -> None:
        self._service = service
        self._currency = currency
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
                **request_body(NewOrder, examples=EXAMPLES),
                "parameters": [KEY_PARAMETER],
            },
        )
        for path, endpoint, summary in (
            ("cancel", self.cancel, "Cancel an order; one that is ready only with a reason"),
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
        for path, withdraw, name in (
            ("by-external-id/{channel}/{external_id:path}", self.cancel_external, "external_order"),
            ("by-idempotency-key/{key:path}", self.cancel_by_key, "order_by_key"),
        ):
            router.add_api_route(
                f"/orders/{path}/cancel",
                withdraw,
                methods=["POST"],
                requires=Capability.MOVE_ORDERS,
                response_model=OrderWithdrawn,
                summary="Cancel an order, also before it arrives",
                operation_id=f"cancel_{name}",
                responses=MOVE_PROBLEMS,
                openapi_extra=request_body(Move, required=False),
            )
        return Feature(router, endpoints=[self._placing])

    async def place(self, request: EndpointRequest) -> PlacedOrder:
        """Store an order, which is then published to the kitchen."""
        order, key = _read_order(request, self._currency)
        async with self._limit:
            return await self._service.place(
                order,
                request_id=request.request_id,
                key=key,
                by=actor(request.caller, request.client),
                caller=request.caller,
            )

    async def documented_place(self, request: Request) -> Response:
        """Place an order: it is stored first, and then published to the kitchen.

        Send an `Idempotency-Key`, or a `channel` with an `external_id`: if the response is lost,
        the same request gets it again, and no second order is placed. An order with `ready_at` is
        published when its preparation must begin. A refusal lists everything that is wrong.
        """
        return await respond_over_asgi(self._placing, request)

    async def cancel(self, order_number: str, request: Request) -> Response:
        """Cancel an order; return its new status."""
        number = valid_order_number(order_number)
        status = await self._cancel(partial(self._service.cancel, number), request)
        return respond(OrderMoved(order_number=number, status=status))

    async def cancel_external(self, channel: str, external_id: str, request: Request) -> Response:
        """Cancel an order by the id that it has at its channel; return its number.

        Percent-encode the id. If the order has not arrived, it is refused when it arrives.
        """
        order = _read_external_order(channel, external_id)
        number = await self._cancel(partial(self._service.cancel_external, order), request)
        return respond(OrderWithdrawn(order_number=number))

    async def cancel_by_key(self, key: str, request: Request) -> Response:
        """Cancel an order by its Idempotency-Key, also if its response was lost.

        Percent-encode the key. If the order has not arrived, it is refused if it arrives while the
        key is kept.
        """
        number = await self._cancel(partial(self._service.cancel_by_key, checked_key(key)), request)
        return respond(OrderWithdrawn(order_number=number))

    async def _cancel(self, use_case: Callable[..., Awaitable[T]], request: Request) -> T:
        caller, move = caller_of(request), await read_move(request, Move)
        async with self._limit:
            return await use_case(
                made_by(caller, move),
                request_id=request.scope["request_id"],
                by=actor_of(request),
                by_person=is_by_person(caller, move),
            )

    async def complete(self, order_number: str, request: Request) -> Response:
        """Complete an order; return its new status."""
        number = valid_order_number(order_number)
        move = await read_move(request, Move)
        async with self._limit:
            status = await self._service.complete(
                number,
                made_by(caller_of(request), move),
                request_id=request.scope["request_id"],
                by=actor_of(request),
            )
        return respond(OrderMoved(order_number=number, status=status))


def _read_order(request: EndpointRequest, currency: Currency) -> tuple[NewOrder, str | None]:
    try:
        order = read_json(request.headers, bytes(request.body), NewOrder, currency)
        return order, key_in(request.headers)
    except Refusal as first:
        refusal = _with_fault_of_key(first, request.headers)
        log.info(
            "validation_failed",
            message=f"An order was refused: {refusal.detail}",
            fields=loggable_fields(refusal.errors),
        )
        raise refusal from None


def _with_fault_of_key(refusal: Refusal, headers: Headers) -> Refusal:
    """Return the refusal of an order, and of its key if that is invalid, too."""
    is_complete = len(refusal.errors) == MAX_FIELD_ERRORS or any(
        each.field == HEADER for each in refusal.errors
    )
    if refusal.status != HTTPStatus.BAD_REQUEST or is_complete:
        return refusal
    try:
        key_in(headers)
    except Refusal as other:
        detail = refusal.detail.with_text(f"{refusal.detail} So does the header {HEADER}.")
        return Refusal(refusal.status, detail, [*refusal.errors, *other.errors])
    return refusal


def _read_external_order(channel: str, external_id: str) -> ExternalOrder:
    if REPLACEMENT_CHARACTER in external_id:
        message = "must be percent-encoded UTF-8, without U+FFFD"
        fault = FieldError("external_id", ErrorText(message, "not_percent_encoded"))
        raise Refusal(HTTPStatus.BAD_REQUEST, INVALID_ADDRESS, [fault])
    try:
        return ExternalOrder(channel=channel, external_id=external_id)
    except ValidationError as error:
        faults = field_errors(error.errors(include_url=False, include_input=False))
        raise Refusal(HTTPStatus.BAD_REQUEST, INVALID_ADDRESS, faults) from None
