"""The HTTP routes of the kitchen display."""

from http import HTTPStatus
from typing import Annotated

from fastapi import Header
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from restaurant_system import tracing
from restaurant_system.error_texts import ErrorText
from restaurant_system.models.access import Capability
from restaurant_system.models.audit import Actor
from restaurant_system.models.fields import StrictModel
from restaurant_system.models.order import OrderType
from restaurant_system.models.status import OrderStatus
from restaurant_system.models.ticket import EXPECTED_STATUSES, OF_ITEM, Action, Tap
from restaurant_system.models.worker import is_worker_name
from restaurant_system.services.display.stations import Stations
from restaurant_system.services.display.taps import BumpedTicket, Taps, TapTicket
from restaurant_system.web.access_checks import CLIENT
from restaurant_system.web.actors import actor_of
from restaurant_system.web.api import Feature
from restaurant_system.web.event_stream import EventStreamResponse, last_event_id
from restaurant_system.web.guarded_router import GuardedRouter
from restaurant_system.web.idempotency_key import ACTION_KEY_RULE, action_key
from restaurant_system.web.json_body import INVALID_BODY, JSON, read_body
from restaurant_system.web.openapi import MOVE_PROBLEMS, OPEN_PROBLEMS, PROBLEMS, request_body
from restaurant_system.web.problem import INVALID_ADDRESS, Refusal
from restaurant_system.web.request_checks import valid_order_number
from restaurant_system.web.validation_errors import FieldError


class TapResponse(BaseModel):
    """The status on the ticket after a tap; a start that can be undone is written later."""

    order_number: str
    status: OrderStatus


class OpenStation(StrictModel):
    """The body that opens a station: the types of orders that it takes."""

    order_types: Annotated[
        tuple[Annotated[OrderType, Field(strict=False)], ...],
        Field(min_length=1, max_length=len(OrderType), strict=False),
    ] = tuple(OrderType)


class OpenedStation(BaseModel):
    """An open station, and the address of its live view."""

    station: str
    live: str


class DisplayHandler:
    """Handle the requests of the screens of stations."""

    def __init__(self, stations: Stations, taps: Taps) -> None:
        self._stations = stations
        self._taps = taps

    def feature(self) -> Feature:
        """Build the HTTP routes of the kitchen display."""
        router = GuardedRouter(prefix="/kitchen/stations/{station}", tags=["kitchen"])
        router.add_api_route(
            "",
            self.open,
            methods=["POST"],
            requires=Capability.TICKETS,
            response_model=OpenedStation,
            summary="Open a station",
            operation_id="open_station",
            responses=OPEN_PROBLEMS,
            openapi_extra=request_body(OpenStation),
        )
        router.add_api_route(
            "/live",
            self.watch,
            methods=["GET"],
            requires=Capability.TICKETS,
            include_in_schema=False,
        )
        router.add_api_route(
            "/bumped",
            self.bumped,
            methods=["GET"],
            requires=Capability.TICKETS,
            summary="List the tickets that a station can recall, the latest first",
            operation_id="list_bumped_tickets",
            responses=PROBLEMS,
        )
        router.add_api_route(
            "/tickets/{order_number}/{action}",
            self.tap,
            methods=["POST"],
            requires=Capability.TICKETS,
            response_model=TapResponse,
            summary="Perform an action on a ticket",
            operation_id="tap_ticket",
            responses=MOVE_PROBLEMS,
            openapi_extra=request_body(Tap),
        )
        return Feature(router)

    async def open(self, station: str, request: Request) -> Response:
        """Open a station: from now on it takes orders like any worker."""
        body = await read_body(request, OpenStation)
        name = _parse_station(station)
        order_types = tuple(dict.fromkeys(body.order_types))
        is_new = self._stations.open(name, order_types, request.scope[CLIENT])
        by = actor_of(request)
        if is_new and by is not None:
            await self._record_opening(name, by, request.scope["request_id"])
        opened = OpenedStation(station=name, live=f"{request.url.path}/live")
        return Response(opened.model_dump_json(), media_type=JSON)

    async def _record_opening(self, station: str, by: Actor, request_id: str) -> None:
        """Record who opens a station; close it if that fails."""
        try:
            await self._taps.record_opening(station, by, request_id)
        except BaseException:
            self._stations.close(station)
            raise

    async def watch(self, station: str, request: Request) -> Response:
        """Stream the tickets of a station as server-sent events, once it is open."""
        rail = await self._stations.rail_once_open(_parse_station(station))
        if rail is None:
            message = "This station is not open; open it by a POST to its address."
            raise Refusal(HTTPStatus.CONFLICT, ErrorText(message, "station_not_open"))
        return EventStreamResponse(rail.watch(last_event_id(request)))

    async def bumped(self, station: str) -> list[BumpedTicket]:
        """Return the tickets that a station can recall."""
        return await self._taps.list_bumped(_parse_station(station))

    async def tap(
        self,
        station: str,
        order_number: str,
        action: Action,
        request: Request,
        idempotency_key: Annotated[str | None, Header(description=ACTION_KEY_RULE)] = None,
    ) -> Response:
        """Perform an action on a ticket and return the status on it."""
        body = await read_body(request, Tap)
        tap = TapTicket(
            _parse_station(station),
            valid_order_number(order_number),
            action,
            _check_expected(body, action),
            body.as_of,
            _check_item(body, action),
        )
        rail = self._stations.rail(tap.station)
        if rail is not None:  # the tap has a trace of its own
            tracing.add_link(rail.trace_of(tap.number))
            tracing.set_order_number(tap.number)
        result = await self._taps.perform(
            tap,
            key=action_key(idempotency_key),
            request_id=request.scope["request_id"],
            by=actor_of(request),
        )
        self._stations.refresh(tap.station)
        response = TapResponse(order_number=tap.number, status=result.status)
        headers = {"Idempotency-Replayed": "true"} if result.replayed else None
        return Response(response.model_dump_json(), headers=headers, media_type=JSON)


def _parse_station(text: str) -> str:
    if not is_worker_name(text):
        message = (
            "must have 1 to 100 characters, a visible one among them, and no control or format"
            " character"
        )
        fault = FieldError("station", ErrorText(message, "station_name_invalid"))
        raise Refusal(HTTPStatus.BAD_REQUEST, INVALID_ADDRESS, [fault])
    return text


def _check_item(tap: Tap, action: Action) -> int | None:
    if (tap.item is not None) == (action in OF_ITEM):
        return tap.item
    fault = ErrorText("is missing", "item_missing")
    if tap.item is not None:
        message = f"must be left out to {action} an order"
        fault = ErrorText(message, "item_needless", action=action)
    raise Refusal(HTTPStatus.BAD_REQUEST, INVALID_BODY, [FieldError("item", fault)])


def _check_expected(tap: Tap, action: Action) -> OrderStatus:
    if tap.expected not in EXPECTED_STATUSES[action]:
        possible = sorted(EXPECTED_STATUSES[action])
        message = f"must be {' or '.join(possible)} to {action} an order"
        expected = ", ".join(possible)
        text = ErrorText(message, "status_not_for_action", action=action, expected=expected)
        raise Refusal(HTTPStatus.BAD_REQUEST, INVALID_BODY, [FieldError("expected", text)])
    return tap.expected
