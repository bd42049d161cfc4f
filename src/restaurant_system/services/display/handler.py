"""The kitchen display over HTTP."""

import re
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Header
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from restaurant_system.errors import TooManyStations
from restaurant_system.models.order import OrderType, StrictModel
from restaurant_system.models.status import OrderStatus
from restaurant_system.models.ticket import EXPECTED, Action, Tap
from restaurant_system.models.worker import is_worker_name
from restaurant_system.services.display.stations import Stations
from restaurant_system.services.display.taps import Bumped, Recallable, Taps, TicketTapped
from restaurant_system.web import live
from restaurant_system.web.api import Feature
from restaurant_system.web.body import JSON, read_json
from restaurant_system.web.faults import Fault
from restaurant_system.web.openapi import MOVE_PROBLEMS, OPEN_PROBLEMS, PROBLEMS, request_body
from restaurant_system.web.origin import refuse_other_origins
from restaurant_system.web.path import order_number_in
from restaurant_system.web.problem import Refusal

KEY = re.compile(r"[\x21-\x7e]{1,200}")


class TicketMoved(BaseModel):
    """The answer to a tap: where the order stands now."""

    order_number: str
    status: OrderStatus


class OpenStation(StrictModel):
    """What is said when a station is opened."""

    order_types: Annotated[
        tuple[Annotated[OrderType, Field(strict=False)], ...],
        Field(min_length=1, max_length=len(OrderType), strict=False),
    ] = tuple(OrderType)


class OpenedStation(BaseModel):
    """The answer to that: where the station's tickets are shown."""

    station: str
    live: str


class DisplayHandler:
    """Turns requests of screens into what stations do."""

    def __init__(self, stations: Stations, taps: Taps, recallable: Recallable) -> None:
        self._stations = stations
        self._taps = taps
        self._recallable = recallable

    def feature(self) -> Feature:
        """Return the routes."""
        router = APIRouter(prefix="/kitchen/stations/{station}", tags=["kitchen"])
        router.add_api_route(
            "",
            self.open,
            methods=["POST"],
            response_model=OpenedStation,
            summary="Open a station, or find it open",
            operation_id="open_station",
            responses=OPEN_PROBLEMS,
            openapi_extra=request_body(OpenStation),
        )
        router.add_api_route("/live", self.watch, methods=["GET"], include_in_schema=False)
        router.add_api_route(
            "/bumped",
            self.bumped,
            methods=["GET"],
            summary="What a station could recall, the latest first",
            operation_id="bumped",
            responses=PROBLEMS,
        )
        router.add_api_route(
            "/tickets/{order_number}/{action}",
            self.tap,
            methods=["POST"],
            response_model=TicketMoved,
            summary="Tap on a ticket",
            operation_id="tap_ticket",
            responses=MOVE_PROBLEMS,
            openapi_extra=request_body(Tap),
        )
        return Feature(router)

    async def open(self, station: str, request: Request) -> Response:
        """Open a station: from now on it takes orders like any worker.

        A person asks for that, on a page of ours: a request from another site's page is refused.
        """
        refuse_other_origins(request.headers)
        wanted = read_json(request.headers.raw, await request.body(), OpenStation)
        name = _station_in(station)
        try:
            self._stations.open(name, tuple(dict.fromkeys(wanted.order_types)))
        except TooManyStations as error:
            raise Refusal(HTTPStatus.CONFLICT, str(error)) from None
        opened = OpenedStation(station=name, live=f"{request.url.path}/live")
        return Response(opened.model_dump_json(), media_type=JSON)

    async def watch(self, station: str, request: Request) -> Response:
        """Show the tickets of a station that is open, and each change of them."""
        rail = self._stations.rail(_station_in(station))
        if rail is None:
            raise Refusal(
                HTTPStatus.CONFLICT, "This station is not open; open it by a POST to its address."
            )
        return live.streamed(rail.feed.watch(live.last_seen(request)))

    async def bumped(self, station: str) -> list[Bumped]:
        """Answer what a station could recall."""
        return await self._recallable.at(_station_in(station))

    async def tap(
        self,
        station: str,
        order_number: str,
        action: Action,
        request: Request,
        idempotency_key: Annotated[str | None, Header()] = None,
    ) -> Response:
        """Answer where the order stands after a tap, or who was faster."""
        tap = read_json(request.headers.raw, await request.body(), Tap)
        tapped = TicketTapped(
            _station_in(station),
            order_number_in(order_number),
            action,
            _expected(tap, action),
            tap.as_of,
        )
        done = await self._taps.carry_out(
            tapped, key=_key_in(idempotency_key), request_id=request.scope["request_id"]
        )
        self._stations.wake(tapped.station)
        answer = TicketMoved(order_number=tapped.number, status=done.status)
        headers = {"Idempotency-Replayed": "true"} if done.replayed else None
        return Response(answer.model_dump_json(), headers=headers, media_type=JSON)


def _station_in(text: str) -> str:
    if not is_worker_name(text):
        raise Refusal(
            HTTPStatus.BAD_REQUEST,
            "The address breaks a rule.",
            [Fault("station", "must have 1 to 100 characters, and no control or format character")],
        )
    return text


def _expected(tap: Tap, action: Action) -> OrderStatus:
    if tap.expected not in EXPECTED[action]:
        possible = " or ".join(sorted(EXPECTED[action]))
        raise Refusal(
            HTTPStatus.BAD_REQUEST,
            "The body breaks a rule.",
            [
                Fault(
                    "expected",
                    f"must be {possible} to {action} an order",
                )
            ],
        )
    return tap.expected


def _key_in(stated: str | None) -> str | None:
    if stated is not None and not KEY.fullmatch(stated):
        raise Refusal(
            HTTPStatus.BAD_REQUEST,
            "A header breaks a rule.",
            [Fault("Idempotency-Key", "must have 1 to 200 visible ASCII characters")],
        )
    return stated
