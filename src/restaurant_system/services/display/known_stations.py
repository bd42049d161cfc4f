"""List the stations that a screen can show, for the page on which people choose one."""

from collections.abc import Iterable
from enum import StrEnum

from pydantic import BaseModel

from restaurant_system.database import workers
from restaurant_system.database.connection import Database
from restaurant_system.models.access import Capability
from restaurant_system.models.clock import rfc_3339
from restaurant_system.models.order import OrderType
from restaurant_system.models.worker import Worker, WorkerStatus
from restaurant_system.services.display.stations import Stations
from restaurant_system.web.api import Feature
from restaurant_system.web.guarded_router import GuardedRouter
from restaurant_system.web.openapi import PROBLEMS


class StationState(StrEnum):
    """Whether a station is open here, its name is in use elsewhere, or it can be opened."""

    OPEN = "open"
    IN_USE = "in_use"  # in another process
    CLOSED = "closed"


class KnownStation(BaseModel):
    """A station, and whether its name can be taken."""

    name: str
    order_types: list[OrderType]
    state: StationState
    last_seen: str | None


class KnownStations:
    """Lists stations: a request opens none."""

    def __init__(self, database: Database, stations: Stations) -> None:
        self._database = database
        self._stations = stations

    def feature(self) -> Feature:
        """Return the route."""
        router = GuardedRouter(tags=["kitchen"])
        router.add_api_route(
            "/kitchen/stations",
            self.list,
            methods=["GET"],
            requires=Capability.TICKETS,
            summary="List the stations that are open, and those that were",
            operation_id="list_stations",
            responses=PROBLEMS,
        )
        return Feature(router)

    async def list(self) -> list[KnownStation]:
        """Return the open stations, and those that were seen last, by name."""
        async with self._database.connection() as connection:
            recent = {each.name: each for each in await workers.list_stations(connection)}
        opened = self._stations.order_types()
        known = [
            _known(name, types, recent.get(name), StationState.OPEN)
            for name, types in opened.items()
        ]
        known += [
            _known(name, worker.order_types, worker, _state_of(worker))
            for name, worker in recent.items()
            if name not in opened
        ]
        return sorted(known, key=lambda each: each.name)


def _state_of(worker: Worker) -> StationState:
    is_online = worker.status is WorkerStatus.ONLINE
    return StationState.IN_USE if is_online else StationState.CLOSED


def _known(
    name: str, order_types: Iterable[OrderType], worker: Worker | None, state: StationState
) -> KnownStation:
    return KnownStation(
        name=name,
        order_types=list(order_types),
        state=state,
        last_seen=None if worker is None else rfc_3339(worker.last_seen),
    )
