"""HTTP routes of the tracking service."""

import io
from asyncio import Future
from datetime import date, datetime
from http import HTTPStatus
from json.encoder import encode_basestring
from typing import Annotated, Any

import segno
from fastapi import Query
from pydantic import (
    BaseModel,
    ConfigDict,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    model_serializer,
)
from starlette.requests import Request
from starlette.responses import Response

from restaurant_system.database.tracking_queries import OrderFilter
from restaurant_system.error_texts import ErrorText
from restaurant_system.models.access import Caller, Capability
from restaurant_system.models.clock import rfc_3339
from restaurant_system.models.fields import Channel, ExternalId, Reference, without_unset
from restaurant_system.models.kitchen_warning import WarningKind
from restaurant_system.models.money import Money
from restaurant_system.models.order import (
    OPTIONAL_OF_ORDER,
    ORDER_NUMBER,
    Handoff,
    OrderType,
)
from restaurant_system.models.order_items import OPTIONAL_OF_ITEM, ModifierKind
from restaurant_system.models.status import OrderStatus
from restaurant_system.models.worker import WorkerStatus
from restaurant_system.services.tracking.service import OPTIONAL, BadCursor, TrackingService
from restaurant_system.services.tracking.status_lookup import OrderProgress
from restaurant_system.web.api import Feature
from restaurant_system.web.endpoint import (
    Endpoint,
    EndpointRequest,
    EndpointResponse,
    respond_over_asgi,
)
from restaurant_system.web.guarded_router import PUBLIC, GuardedRouter
from restaurant_system.web.json_body import JSON
from restaurant_system.web.openapi import PROBLEMS, link_to
from restaurant_system.web.problem import INVALID_REQUEST, Refusal
from restaurant_system.web.request_checks import valid_order_number
from restaurant_system.web.validation_errors import FieldError

Timestamp = Annotated[datetime, PlainSerializer(rfc_3339, when_used="json")]

STATUS = "/orders/{order_number}/status"
FIRST_ORDER = "$response.body#/orders/0/order_number"
ORDER_LINKS = {name: link_to(name, FIRST_ORDER) for name in ("status", "history", "order")}


QUIET_ZONE = 4  # modules around a QR code (ISO/IEC 18004)


class SvgResponse(Response):
    """An image in SVG."""

    media_type = "image/svg+xml"


class StatusResponse(BaseModel):
    """The current status of an order.

    For callers that may not read orders, `updated_at` and `processed_by` are null.
    """

    order_number: str
    current_status: OrderStatus
    updated_at: Timestamp | None
    estimated_completion: Timestamp | None
    processed_by: str | None


def serialize(progress: OrderProgress, caller: Caller) -> EndpointResponse:
    """Serialize like `StatusResponse`, byte for byte, but several times as fast.

    When it was changed and who cooks it is left out for a caller that may not read orders.
    """
    due, worker = progress.estimated_completion, progress.processed_by
    due_at = "null" if due is None else f'"{rfc_3339(due)}"'
    updated_at = processed_by = "null"
    if Capability.READ_ORDERS in caller.capabilities:
        updated_at = f'"{rfc_3339(progress.updated_at)}"'
        processed_by = "null" if worker is None else encode_basestring(worker)
    body = (
        f'{{"order_number":"{progress.order_number}","current_status":"{progress.current_status}",'
        f'"updated_at":{updated_at},"estimated_completion":{due_at},'
        f'"processed_by":{processed_by}}}'
    )
    return EndpointResponse(body.encode())


class HistoryEntry(BaseModel):
    """One status change of an order."""

    status: OrderStatus
    timestamp: Timestamp
    changed_by: str


class WorkerResponse(BaseModel):
    """A worker and whether it is online."""

    worker_name: str
    status: WorkerStatus
    orders_processed: int
    last_seen: Timestamp


class ModifierResponse(BaseModel):
    """A modifier of an item, or of another modifier."""

    name: str
    kind: ModifierKind
    quantity: int
    price: Money
    modifiers: "list[ModifierResponse]"


class ChargeResponse(BaseModel):
    """A fee, or a discount, whose amount is negative."""

    name: str
    amount: Money


class ItemResponse(BaseModel):
    """One item of an order; optional fields that were not sent are left out."""

    name: str
    quantity: int
    price: Money
    notes: str | None
    modifiers: list[ModifierResponse] = []
    guest: str | None = None
    course: int | None = None
    sku: str | None = None

    @model_serializer(mode="wrap")
    def _without_unset(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_unset(serialize(self), OPTIONAL_OF_ITEM)


class OrderResponse(BaseModel):
    """An order with its items; optional fields that were not sent are left out.

    `items_total` is what the items cost, if there are charges; else it is the total amount. A
    `scheduled` order is sent to the kitchen later, at `released_at`.
    """

    order_number: str
    customer_name: str | None
    order_type: OrderType
    table_number: int | None
    delivery_address: str | None
    items: list[ItemResponse]
    notes: str | None
    total_amount: Money
    priority: int
    status: OrderStatus
    processed_by: str | None
    created_at: Timestamp
    updated_at: Timestamp
    completed_at: Timestamp | None
    estimated_completion: Timestamp | None
    scheduled: bool
    released_at: Timestamp | None
    handoff: Handoff | None = None
    table: str | None = None
    allergy_note: str | None = None
    reference: str | None = None
    channel: str | None = None
    external_id: str | None = None
    phone: str | None = None
    ready_at: Timestamp | None = None
    charges: list[ChargeResponse] = []
    amount_due: Money | None = None
    items_total: Money | None = None
    handed_over_at: Timestamp | None = None
    uncollected_at: Timestamp | None = None
    cancel_reason: str | None = None

    @model_serializer(mode="wrap")
    def _without_unset(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_unset(serialize(self), OPTIONAL_OF_ORDER.union(OPTIONAL, ["cancel_reason"]))


class LinkedItemResponse(BaseModel):
    """One item of an order, as its tracking link shows it: without instructions and notes."""

    name: str
    quantity: int
    price: Money
    modifiers: list[ModifierResponse] = []

    @model_serializer(mode="wrap")
    def _without_unset(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_unset(serialize(self), OPTIONAL_OF_ITEM)


class StepResponse(BaseModel):
    """One status change of an order, as its tracking link shows it."""

    status: OrderStatus
    timestamp: Timestamp


class LinkedOrderResponse(BaseModel):
    """What the tracking link of an order shows: no name, no address, no notes.

    Charges, `ready_at` and `amount_due` that were not sent are left out.
    """

    order_number: str
    order_type: OrderType
    status: OrderStatus
    updated_at: Timestamp
    estimated_completion: Timestamp | None
    ready_at: Timestamp | None = None
    charges: list[ChargeResponse] = []
    amount_due: Money | None = None
    total_amount: Money
    items: list[LinkedItemResponse]
    steps: list[StepResponse]

    @model_serializer(mode="wrap")
    def _without_unset(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_unset(serialize(self), OPTIONAL_OF_ORDER)


class OrdersResponse(BaseModel):
    """A page of orders, newest first."""

    orders: list[OrderResponse]
    next_cursor: str | None


class Percentiles(BaseModel):
    """Seconds within which 50, 90 and 99 percent of the orders were ready."""

    p50: float
    p90: float
    p99: float


class HourResponse(BaseModel):
    """The number of orders placed within an hour."""

    hour: Timestamp
    orders: int


class WarningResponse(BaseModel):
    """What somebody should look at now, and a sentence about it for people.

    It is about `count` orders, messages (`queue_not_consumed`) or tickets
    (`station_without_screen`). `orders` are the numbers of the first 50 overdue or held orders.
    Held ones are cooked if they are released, and otherwise should be cancelled.
    """

    model_config = ConfigDict(from_attributes=True)

    kind: WarningKind
    message: str
    since: Timestamp | None
    count: int
    order_types: list[OrderType]
    queue: str | None
    station: str | None
    orders: list[str]


class StatsResponse(BaseModel):
    """Statistics of a business date; `queues` is null while the broker is unreachable.

    `warnings` are about the orders of all business dates, the most urgent first.

    An order is late once it is older than `kitchen.late_seconds` of its type or, if it was ordered
    for a time, once that has passed. `late_share`, from 0 to 1, refers to the orders of a type that
    were due: not cancelled, and ready or promised for a time that has passed.
    """

    warnings: list[WarningResponse]
    business_date: date
    by_status: dict[OrderStatus, int]
    by_type: dict[OrderType, int]
    queues: dict[str, int] | None
    preparation_seconds: dict[OrderType, Percentiles]
    per_hour: list[HourResponse]
    late_share: dict[OrderType, float]


class TrackingHandler:
    """Translates requests into queries, and their results into responses.

    Links for customers begin with `public_url`; if it is empty, with the address of the request.
    """

    def __init__(self, service: TrackingService, public_url: str = "") -> None:
        self._service = service
        self._public_url = public_url
        self._status = Endpoint(
            "GET",
            STATUS,
            self.status,
            serialize,
            requires=Capability.READ_STATUS,
            parameter=ORDER_NUMBER.pattern,
        )

    def feature(self) -> Feature:
        """Return the routes, and the endpoint for the status of an order."""
        router = GuardedRouter(tags=["tracking"], responses=PROBLEMS)
        for path, endpoint, name, summary in (
            (
                "/orders/{order_number}/history",
                self.history,
                "history",
                "Status changes of an order",
            ),
            ("/orders/{order_number}", self.order, "order", "An order with its items"),
            (
                "/workers/status",
                self.workers,
                "workers",
                "Online workers, and those with the latest heartbeats",
            ),
            ("/stats", self.stats, "stats", "Statistics of the business date"),
        ):
            router.add_api_route(
                path,
                endpoint,
                methods=["GET"],
                requires=Capability.READ_ORDERS,
                summary=summary,
                operation_id=name,
            )
        router.add_api_route(
            "/orders",
            self.orders,
            methods=["GET"],
            response_model=OrdersResponse,
            requires=Capability.READ_ORDERS,
            summary="Orders, newest first",
            operation_id="orders",
            responses={HTTPStatus.OK: {"links": ORDER_LINKS}},
        )
        router.add_api_route(
            "/orders/{order_number}/tracking/{token}",
            self.linked_order,
            methods=["GET"],
            requires=PUBLIC,  # the token admits
            summary="What the tracking link of an order shows, without personal data",
            operation_id="linked_order",
        )
        router.add_api_route(
            "/orders/{order_number}/qr.svg",
            self.qr_code,
            methods=["GET"],
            requires=Capability.READ_ORDERS,
            response_class=SvgResponse,
            summary="The tracking link of an order as a QR code",
            operation_id="qr_code",
        )
        router.add_api_route(
            STATUS,
            self.documented_status,
            methods=["GET"],
            requires=self._status.requires,
            response_model=StatusResponse,
            summary="The current status of an order",
            operation_id="status",
        )
        router.add_api_route(
            STATUS,
            self.documented_status,
            methods=["HEAD"],
            requires=self._status.requires,
            include_in_schema=False,
        )
        return Feature(router, endpoints=[self._status])

    def status(self, request: EndpointRequest) -> Future[OrderProgress]:
        """Look up the current status of an order."""
        return self._service.status(request.parameter)

    async def documented_status(self, order_number: str, request: Request) -> Response:
        """Return the current status of an order, and when it is expected to be ready."""
        valid_order_number(order_number)
        return await respond_over_asgi(self._status, request)

    async def history(self, order_number: str) -> list[HistoryEntry]:
        """Return the status changes of an order, oldest first."""
        changes = await self._service.history(valid_order_number(order_number))
        return [HistoryEntry(**change) for change in changes]

    async def workers(self) -> list[WorkerResponse]:
        """Return the workers with their status."""
        return [
            WorkerResponse(
                worker_name=worker.name,
                status=worker.status,
                orders_processed=worker.orders_processed,
                last_seen=worker.last_seen,
            )
            for worker in await self._service.workers()
        ]

    async def order(self, order_number: str) -> OrderResponse:
        """Return an order with its items."""
        return OrderResponse(**await self._service.order(valid_order_number(order_number)))

    async def qr_code(self, order_number: str, request: Request) -> Response:
        """Return a QR code that a customer's phone opens the tracking link with.

        The link is a secret, so that the code is not to be stored.
        """
        path = await self._service.tracking_path(valid_order_number(order_number))
        code = segno.make_qr((self._public_url or str(request.base_url).rstrip("/")) + path)
        image = io.BytesIO()
        code.save(image, kind="svg", border=QUIET_ZONE, light="#fff", omitsize=True, xmldecl=False)
        return SvgResponse(image.getvalue(), headers={"Cache-Control": "no-store"})

    async def linked_order(self, order_number: str, token: str) -> LinkedOrderResponse:
        """Return the steps, the items and the total of an order by the token of its link."""
        number = valid_order_number(order_number)
        return LinkedOrderResponse(**await self._service.linked_order(number, token))

    async def orders(
        self,
        *,
        status: OrderStatus | None = None,
        order_type: OrderType | None = None,
        reference: Reference | None = None,
        channel: Channel | None = None,
        external_id: ExternalId | None = None,
        scheduled: bool | None = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        cursor: str | None = None,
    ) -> Response:
        """Return a page of orders; its `next_cursor` is the `cursor` of the next page.

        A page has at most `limit` orders, and fewer if they are large. With `scheduled=true` it has
        only orders that are sent to the kitchen later, with `scheduled=false` only others.
        """
        wanted = OrderFilter(
            status=status,
            order_type=order_type,
            reference=reference,
            channel=channel,
            external_id=external_id,
            scheduled=scheduled,
        )
        try:
            page = await self._service.orders(wanted, limit=limit, cursor=cursor)
        except BadCursor:
            message = "must be the next_cursor of an earlier response"
            fault = FieldError("cursor", ErrorText(message, "cursor_invalid"))
            raise Refusal(HTTPStatus.BAD_REQUEST, INVALID_REQUEST, [fault]) from None
        response = OrdersResponse(
            orders=[OrderResponse(**order) for order in page.orders], next_cursor=page.next_cursor
        )
        # FastAPI would validate again. With another `Accept` the address is a page.
        return Response(response.model_dump_json(), headers={"Vary": "Accept"}, media_type=JSON)

    async def stats(self) -> StatsResponse:
        """Return the statistics of the current business date."""
        stats = await self._service.stats()
        warnings = [WarningResponse.model_validate(each) for each in stats.pop("warnings")]
        return StatsResponse(warnings=warnings, **stats)
