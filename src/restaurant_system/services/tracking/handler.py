"""The tracking service over HTTP."""

from asyncio import Future
from datetime import date, datetime
from http import HTTPStatus
from json.encoder import encode_basestring
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, PlainSerializer
from starlette.requests import Request
from starlette.responses import Response

from restaurant_system.models.clock import rfc_3339
from restaurant_system.models.order import ORDER_NUMBER, Money, OrderType
from restaurant_system.models.status import OrderStatus
from restaurant_system.models.worker import WorkerStatus
from restaurant_system.services.tracking.service import BadCursor, TrackingService
from restaurant_system.services.tracking.standing import Standing
from restaurant_system.web.api import Feature
from restaurant_system.web.faults import Fault
from restaurant_system.web.hot import Answer, Asked, HotRoad, over_asgi
from restaurant_system.web.openapi import PROBLEMS, link_to
from restaurant_system.web.path import order_number_in
from restaurant_system.web.problem import Refusal

Timestamp = Annotated[datetime, PlainSerializer(rfc_3339, when_used="json")]

STATUS = "/orders/{order_number}/status"
FIRST_LISTED = "$response.body#/orders/0/order_number"
FROM_A_LIST = {name: link_to(name, FIRST_LISTED) for name in ("status", "history", "order")}


class StatusAnswer(BaseModel):
    """Where an order stands."""

    order_number: str
    current_status: OrderStatus
    updated_at: Timestamp
    estimated_completion: Timestamp | None
    processed_by: str | None


def written(standing: Standing) -> Answer:
    """Write a `StatusAnswer` as pydantic does, at a fraction of the cost."""
    due, cook = standing.estimated_completion, standing.processed_by
    due_at = "null" if due is None else f'"{rfc_3339(due)}"'
    cooked_by = "null" if cook is None else encode_basestring(cook)
    body = (
        f'{{"order_number":"{standing.order_number}","current_status":"{standing.current_status}",'
        f'"updated_at":"{rfc_3339(standing.updated_at)}","estimated_completion":{due_at},'
        f'"processed_by":{cooked_by}}}'
    )
    return Answer(body.encode())


class HistoryEntry(BaseModel):
    """One move of an order."""

    status: OrderStatus
    timestamp: Timestamp
    changed_by: str


class WorkerAnswer(BaseModel):
    """A cook, and whether it can be counted on."""

    worker_name: str
    status: WorkerStatus
    orders_processed: int
    last_seen: Timestamp


class ItemAnswer(BaseModel):
    """One line of an order."""

    name: str
    quantity: int
    price: Money
    notes: str | None


class OrderAnswer(BaseModel):
    """A whole order."""

    order_number: str
    customer_name: str
    order_type: OrderType
    table_number: int | None
    delivery_address: str | None
    items: list[ItemAnswer]
    notes: str | None
    total_amount: Money
    priority: int
    status: OrderStatus
    processed_by: str | None
    created_at: Timestamp
    updated_at: Timestamp
    completed_at: Timestamp | None
    estimated_completion: Timestamp | None


class OrdersAnswer(BaseModel):
    """A page of orders, newest first."""

    orders: list[OrderAnswer]
    next_cursor: str | None


class Percentiles(BaseModel):
    """Seconds within which so many percent of the orders were ready."""

    p50: float
    p90: float
    p99: float


class HourAnswer(BaseModel):
    """How many orders came within an hour."""

    hour: Timestamp
    orders: int


class StatsAnswer(BaseModel):
    """A business date's figures; `queues` is null when the broker is away.

    An order is late from the age on that the configuration names for its type; `late_share`, from 0
    to 1, is of a type's orders that were not cancelled.
    """

    business_date: date
    by_status: dict[OrderStatus, int]
    by_type: dict[OrderType, int]
    queues: dict[str, int] | None
    preparation_seconds: dict[OrderType, Percentiles]
    per_hour: list[HourAnswer]
    late_share: dict[OrderType, float]


class TrackingHandler:
    """Turns requests into questions, and what is known into answers."""

    def __init__(self, service: TrackingService) -> None:
        self._service = service
        self._status = HotRoad.of(
            "GET", STATUS, self.status, written, parameter=ORDER_NUMBER.pattern
        )

    def feature(self) -> Feature:
        """Return the routes; that of an order's status stands in front of FastAPI."""
        router = APIRouter(tags=["tracking"], responses=PROBLEMS)
        for path, endpoint, name, summary in (
            ("/orders/{order_number}/history", self.history, "history", "The moves of an order"),
            ("/orders/{order_number}", self.order, "order", "A whole order with its items"),
            (
                "/workers/status",
                self.workers,
                "workers",
                "The workers online, and those last heard from",
            ),
            ("/stats", self.stats, "stats", "The figures of the business date"),
        ):
            router.add_api_route(
                path, endpoint, methods=["GET"], summary=summary, operation_id=name
            )
        router.add_api_route(
            "/orders",
            self.orders,
            methods=["GET"],
            summary="Orders, newest first",
            operation_id="orders",
            responses={HTTPStatus.OK: {"links": FROM_A_LIST}},
        )
        router.add_api_route(
            STATUS,
            self.documented_status,
            methods=["GET"],
            response_model=StatusAnswer,
            summary="Where an order stands",
            operation_id="status",
        )
        router.add_api_route(
            STATUS, self.documented_status, methods=["HEAD"], include_in_schema=False
        )
        return Feature(router, hot=[self._status])

    def status(self, asked: Asked) -> Future[Standing]:
        """Find out where an order stands."""
        return self._service.status(asked.parameter)

    async def documented_status(self, order_number: str, request: Request) -> Response:
        """Show FastAPI a route, and its parameter; `status` answers for what can be a number."""
        order_number_in(order_number)
        return await over_asgi(self._status, request)

    async def history(self, order_number: str) -> list[HistoryEntry]:
        """Answer what became of an order, oldest first."""
        moves = await self._service.history(order_number_in(order_number))
        return [HistoryEntry(**move) for move in moves]

    async def workers(self) -> list[WorkerAnswer]:
        """Answer who cooks."""
        return [
            WorkerAnswer(
                worker_name=worker.name,
                status=worker.status,
                orders_processed=worker.orders_processed,
                last_seen=worker.last_seen,
            )
            for worker in await self._service.workers()
        ]

    async def order(self, order_number: str) -> OrderAnswer:
        """Answer with a whole order."""
        return OrderAnswer(**await self._service.order(order_number_in(order_number)))

    async def orders(
        self,
        status: OrderStatus | None = None,
        order_type: OrderType | None = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        cursor: str | None = None,
    ) -> OrdersAnswer:
        """Answer with a page; `next_cursor` of one is the `cursor` of the next."""
        try:
            page = await self._service.orders(
                status=status, order_type=order_type, limit=limit, cursor=cursor
            )
        except BadCursor:
            fault = Fault("cursor", "must be the next_cursor of an earlier answer")
            raise Refusal(HTTPStatus.BAD_REQUEST, "The request breaks a rule.", [fault]) from None
        return OrdersAnswer(
            orders=[OrderAnswer(**order) for order in page.orders], next_cursor=page.next_cursor
        )

    async def stats(self) -> StatsAnswer:
        """Answer with the day's figures."""
        return StatsAnswer(**await self._service.stats())
