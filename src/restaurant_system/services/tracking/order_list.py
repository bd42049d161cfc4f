"""The live list of orders for staff: those not finished, and those finished on the business date.

An order has one entry, with what a row of the list shows; what it does not have is left out.
Neither items nor notes nor addresses are in it; an order that is ready has its allergy note.
One that is to be cooked, or cooks, has its promised time, after which it is late.
`scheduled`, `held` and `uncollected` are there if they are true. An order is `uncollected`, not
fetched, if it was marked so or is ready for long.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from heapq import nlargest

from pydantic import JsonValue

from restaurant_system.database import order_list
from restaurant_system.database.order_list import MAX_FINISHED
from restaurant_system.database.reader import Reader
from restaurant_system.database.tracking_queries import Row
from restaurant_system.errors import OrderNotFound
from restaurant_system.models.business_day import BusinessDay
from restaurant_system.models.clock import Clock, optional_rfc_3339, rfc_3339, round_up_to_minute
from restaurant_system.models.money import json_number
from restaurant_system.models.status import OrderStatus
from restaurant_system.services.tracking.status_lookup import StatusLookup
from restaurant_system.web.event_stream import Entries

READY_SHOWN_FOR = timedelta(minutes=30)  # then an order counts as not fetched
READY_LISTED_FOR = timedelta(hours=12)  # after the end of its business date, too
WITH_ESTIMATE = (OrderStatus.RECEIVED, OrderStatus.COOKING)


class OrderList:
    """Reads the list; what is finished is read once, because only an erasure changes it."""

    def __init__(
        self,
        database: Reader,
        lookup: StatusLookup,
        *,
        clock: Clock,
        business_day: BusinessDay,
    ) -> None:
        self._database = database
        self._lookup = lookup
        self._clock = clock
        self._business_day = business_day
        self._finished_on: date | None = None
        self._finished: dict[int, tuple[str, JsonValue]] = {}

    async def poll(self, keys: Sequence[str]) -> Mapping[str, Entries]:
        """Return the list, by order number, for each of the keys."""
        now = self._clock()
        today = self._business_day.date_of(now)
        if today != self._finished_on:
            self._finished_on, self._finished = today, {}
        async with self._database.connection() as connection:
            # The finished orders are read last: an order that is finished meanwhile is in both.
            unfinished = await order_list.unfinished(
                connection, today, ready_since=now - READY_LISTED_FOR
            )
            finished = await order_list.finished(
                connection,
                today,
                since=self._business_day.current_start(now),
                known=self._finished,
            )
        self._finished |= {row["id"]: (row["number"], _entry(row)) for row in finished}
        estimates = await self._estimates(unfinished)
        entries: dict[str, JsonValue] = {
            row["number"]: {**_entry(row), **self._state(row, now), **estimates[row["number"]]}
            for row in unfinished
        }
        return dict.fromkeys(keys, entries | dict(self._newest_finished()))

    def _newest_finished(self) -> Iterable[tuple[str, JsonValue]]:
        """Return the finished orders of the list: those that are left out stay known."""
        if len(self._finished) <= MAX_FINISHED:
            return self._finished.values()
        return [self._finished[each] for each in nlargest(MAX_FINISHED, self._finished)]

    def _state(self, row: Row, now: datetime) -> dict[str, JsonValue]:
        """Return what tells apart the orders of one status."""
        match row["status"]:
            case OrderStatus.RECEIVED if row["released_at"] is None:
                return {"scheduled": True}
            case OrderStatus.RECEIVED if row["released_at"] < self._business_day.current_start(now):
                return {"held": True}
            case OrderStatus.RECEIVED | OrderStatus.COOKING:
                return {"promised_at": rfc_3339(row["promised_at"])}
            case OrderStatus.READY if row["handed_over_at"] is None:
                is_old = row["completed_at"] < now - READY_SHOWN_FOR
                note = row["allergy_note"]
                return {
                    **({"uncollected": True} if is_old or row["uncollected_at"] else {}),
                    **({} if note is None else {"allergy_note": note}),
                }
            case _:
                return {}

    async def _estimates(self, rows: Sequence[Row]) -> dict[str, dict[str, JsonValue]]:
        """Return, by order number, when orders are expected to be ready, if that is known."""
        found = await asyncio.gather(*map(self._estimate, rows))
        return {row["number"]: estimate for row, estimate in zip(rows, found, strict=True)}

    async def _estimate(self, row: Row) -> dict[str, JsonValue]:
        if row["status"] not in WITH_ESTIMATE:
            return {}
        try:
            estimate = (await self._lookup.find(row["number"])).estimated_completion
        except OrderNotFound:  # deleted meanwhile
            return {}
        if estimate is None:
            return {}
        return {"estimated_completion": rfc_3339(round_up_to_minute(estimate))}


def _entry(row: Row) -> dict[str, JsonValue]:
    entry: dict[str, JsonValue] = {
        "status": row["status"],
        "order_type": row["type"],
        "handoff": row["handoff"],
        "customer_name": row["customer_name"],
        "table_number": row["table_number"],
        "table": row["table_label"],
        "reference": row["reference"],
        "channel": row["channel"],
        "created_at": rfc_3339(row["created_at"]),
        "updated_at": rfc_3339(row["updated_at"]),
        "ready_at": optional_rfc_3339(row["ready_at"]),
        "completed_at": optional_rfc_3339(row["completed_at"]),
        "total_amount": json_number(row["total_amount"]),
        "amount_due": None if row["amount_due"] is None else json_number(row["amount_due"]),
        "processed_by": row["processed_by"],
        "handed_over_at": optional_rfc_3339(row["handed_over_at"]),
        "handed_over_by": row["handed_over_by"],
        "uncollected_at": optional_rfc_3339(row["uncollected_at"]),
        "has_allergy_note": row["allergy_note"] is not None or None,
    }
    return {name: value for name, value in entry.items() if value is not None}
