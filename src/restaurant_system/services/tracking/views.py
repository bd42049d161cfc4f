"""What guests watch: the board on the wall, and their own order, with nobody's name in it."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from pydantic import JsonValue

from restaurant_system.config import KitchenSettings
from restaurant_system.database import live_view_queries
from restaurant_system.database.connection import Database
from restaurant_system.errors import OrderNotFound
from restaurant_system.models.clock import Clock, rfc_3339
from restaurant_system.services.tracking.standing import Standing, Standings
from restaurant_system.shutdown import Shutdown
from restaurant_system.web.live import Entries, Source

LOOK = 0.5  # s between two looks at what is watched
MOST_PREPARING = 200  # numbers that a wall has room for, page by page
MOST_READY = 60
ON_SHOW = timedelta(minutes=30)  # for an order that is ready; perhaps nobody completes them here
BOARD = "board"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Views:
    """The views, as live events, for as long as it runs."""

    def __init__(self, database: Database, *, clock: Clock, kitchen: KitchenSettings) -> None:
        self._database = database
        self._clock = clock
        self._standings = Standings(database, clock=clock, kitchen=kitchen)
        self._board = Source(self._look_at_board, every=LOOK)
        self._tracks = Source(self._look_at_tracks, every=LOOK)

    async def run(self, shutdown: Shutdown) -> None:
        """Look at what is watched; at the wish to stop, send the watchers away."""
        async with asyncio.TaskGroup() as group:
            for source in (self._board, self._tracks):
                group.create_task(source.run(shutdown))

    def board(self, last: str | None) -> AsyncIterator[bytes]:
        """Watch the board: an entry for each number, with its status."""
        return self._board.watch(BOARD, last)

    async def track(self, number: str, last: str | None) -> AsyncIterator[bytes]:
        """Watch one order: how it stands, and its steps; raises `OrderNotFound`."""
        await self._standings.of(number)
        return self._tracks.watch(number, last)

    async def _look_at_board(self, keys: Sequence[str]) -> Mapping[str, Entries]:
        since = self._clock() - ON_SHOW
        async with self._database.connection() as connection:
            preparing = await live_view_queries.preparing(connection, limit=MOST_PREPARING)
            ready = await live_view_queries.ready(connection, since=since, limit=MOST_READY)
        board = {row["number"]: _on_the_board(row, None) for row in preparing}
        board |= {row["number"]: _on_the_board(row, row["completed_at"]) for row in ready}
        return dict.fromkeys(keys, board)

    async def _look_at_tracks(self, numbers: Sequence[str]) -> Mapping[str, Entries]:
        """Look at all orders that are watched; one that is gone is not shown any more."""
        found = await asyncio.gather(*(self._standing(number) for number in numbers))
        async with self._database.connection() as connection:
            steps = await live_view_queries.steps(connection, numbers)
        return {
            standing.order_number: _on_its_way(standing, steps[standing.order_number])
            for standing in found
            if standing is not None and standing.order_number in steps
        }

    async def _standing(self, number: str) -> Standing | None:
        try:
            return await self._standings.of(number)
        except OrderNotFound:
            return None


def _on_the_board(row: live_view_queries.Row, ready_at: datetime | None) -> JsonValue:
    return {
        "status": row["status"],
        "order_type": row["type"],
        "ready_at": None if ready_at is None else rfc_3339(ready_at),
    }


def _on_its_way(standing: Standing, steps: Sequence[live_view_queries.Row]) -> Entries:
    due = standing.estimated_completion
    return {
        "order": {
            "order_number": standing.order_number,
            "order_type": steps[0]["type"],
            "status": standing.current_status,
            "estimated_completion": None if due is None else rfc_3339(_up_to_the_minute(due)),
        },
        "steps": [{"status": row["status"], "at": rfc_3339(row["changed_at"])} for row in steps],
    }


def _up_to_the_minute(moment: datetime) -> datetime:
    """Round up: an order that waits is estimated anew at every look, and that alone is no news."""
    return moment + (EPOCH - moment) % timedelta(minutes=1)
