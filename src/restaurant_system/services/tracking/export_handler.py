"""The orders of a business date as a CSV file: for programs, or for the spreadsheets of people.

For programs it is that of RFC 4180. Spreadsheets separate cells and decimals as is usual in the
language of their user, for whom the names of columns and the values are translated.
"""

import csv
import io
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any

from fastapi import Query
from pydantic import BeforeValidator
from starlette.responses import Response, StreamingResponse

from restaurant_system.database import order_export, tracking_queries
from restaurant_system.database.reader import Reader
from restaurant_system.database.tracking_queries import Row
from restaurant_system.error_texts import ErrorText
from restaurant_system.models.access import Capability
from restaurant_system.models.business_day import BusinessDay
from restaurant_system.models.clock import Clock
from restaurant_system.models.currency import Currency
from restaurant_system.models.fields import invalid_value
from restaurant_system.models.order_items import ModifierKind
from restaurant_system.web.api import Feature
from restaurant_system.web.guarded_router import GuardedRouter
from restaurant_system.web.openapi import PROBLEMS
from restaurant_system.web.pages import texts_by_language

PATH = "/orders.csv"
ORDERS_READ_TOGETHER = 200
BYTE_ORDER_MARK = "\ufeff"  # Excel reads a file without it in the encoding of the machine
DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
# A spreadsheet takes a text with such a beginning for a formula (OWASP, CSV Injection).
FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")  # noqa: RUF001 - these, too
COLUMNS = (
    *("order_number", "business_date", "status", "order_type", "handoff", "table"),
    *("customer_name", "reference", "channel", "external_id", "items"),
    *("items_total", "charges", "total_amount", "amount_due", "currency"),
    *("placed_at", "wanted_at", "promised_at", "prepared_at", "handed_over_at"),
    *("prepared_by", "handed_over_by"),
)


MADE_BY_SERVICE = "order-service"  # no person did
TEXTS = texts_by_language()
Language = Annotated[str | None, Query(pattern=f"^({'|'.join(sorted(TEXTS))})$")]


@dataclass(frozen=True, slots=True)
class Format:
    """How a file is written: for programs, unless there are texts for people."""

    texts: Mapping[str, Any] | None = None

    @property
    def separator(self) -> str:
        """The character between two cells."""
        return "," if self.texts is None else str(self.texts["export"]["separator"])

    @property
    def head(self) -> Sequence[str]:
        """The names of the columns."""
        return COLUMNS if self.texts is None else [self.texts["export"][each] for each in COLUMNS]

    @property
    def without(self) -> str:
        """The word before what is left out of an item."""
        return "no" if self.texts is None else str(self.texts["export"]["without"])

    def value(self, kind: str, name: str | None) -> str:
        """Return the text of a value, such as a status."""
        return name or "" if self.texts is None or name is None else str(self.texts[kind][name])

    def number(self, text: str) -> str:
        """Return a number with the decimal separator."""
        return (
            text if self.texts is None else text.replace(".", self.texts["export"]["decimal_mark"])
        )

    def person(self, name: str | None) -> str | None:
        """Return who did something; people do not know the name of a service."""
        return None if self.texts is not None and name == MADE_BY_SERVICE else name


class CsvResponse(StreamingResponse):
    """A CSV file that is sent in parts."""

    media_type = "text/csv"


def _check_date(value: object) -> object:
    """Refuse what pydantic would also take for a date, such as a number of seconds."""
    if isinstance(value, str) and not DATE.fullmatch(value):
        raise invalid_value(ErrorText("must be a date such as 2024-12-16", "date_invalid"))
    return value


BusinessDate = Annotated[date | None, BeforeValidator(_check_date), Query(alias="date")]


class ExportHandler:
    """Exports the orders of a business date; what was erased is not in it any more."""

    def __init__(
        self, database: Reader, *, clock: Clock, business_day: BusinessDay, currency: Currency
    ) -> None:
        self._database = database
        self._clock = clock
        self._business_day = business_day
        self._currency = currency

    def feature(self) -> Feature:
        """Return the route of the file."""
        router = GuardedRouter(tags=["tracking"], responses=PROBLEMS)
        router.add_api_route(
            PATH,
            self.export,
            methods=["GET"],
            requires=Capability.READ_ORDERS,
            response_class=CsvResponse,
            summary="The orders of a business date as CSV",
            operation_id="export_orders",
        )
        return Feature(router)

    async def export(
        self, business_date: BusinessDate = None, language: Language = None
    ) -> Response:
        """Return a CSV file (RFC 4180, UTF-8 with a byte order mark) with a row for each order.

        `date` is a business date, by default the current one. Times are those of the restaurant's
        time zone, amounts have the decimals of its currency. A text that a spreadsheet would take
        for a formula begins with an apostrophe. Addresses, phone numbers and notes are left out.

        With a `language` the file is for the spreadsheets of its speakers: with their separators
        of cells and decimals, and names of columns, statuses and types as on the pages.
        """
        form = Format(None if language is None else TEXTS[language])
        wanted = business_date or self._business_day.date_of(self._clock())
        parts = self._parts(wanted, form)
        first = await anext(parts)  # an error is answered as such, as long as nothing is sent
        name = f"orders-{wanted.isoformat()}.csv"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return CsvResponse(_chained(first, parts), headers=headers)

    async def _parts(self, business_date: date, form: Format) -> AsyncIterator[str]:
        """Yield the file in parts; no connection is in use while a part is sent."""
        async with self._database.connection() as connection:
            ids = await order_export.order_ids(connection, business_date)
        head = BYTE_ORDER_MARK + _csv([form.head], form)
        for batch in _batches(ids):
            async with self._database.connection() as connection:
                orders = await order_export.orders(connection, batch)
                items = await tracking_queries.items(connection, batch)
            rows = [self._row(order, items[order["id"]], form) for order in orders]
            yield head + _csv(rows, form)
            head = ""
        if head:
            yield head

    def _row(self, order: Row, items: Sequence[dict[str, Any]], form: Format) -> Sequence[str]:
        """Return the cells of an order, in the order of `COLUMNS`."""
        total = order["total_amount"]
        items_total = total if order["items_total"] is None else order["items_total"]
        table = order["table_label"] or order["table_number"]
        amounts = (items_total, total - items_total, total, order["amount_due"])
        times = ("created_at", "ready_at", "promised_at", "completed_at", "handed_over_at")
        return [
            order["number"],
            order["business_date"].isoformat(),
            *(form.value(name, order[name]) for name in ("status", "type", "handoff")),
            *(_text(value) for value in (table, order["customer_name"], order["reference"])),
            *(_text(order[name]) for name in ("channel", "external_id")),
            "; ".join(_item(each, form.without) for each in items),  # begins with a number
            *(form.number(self._amount(each)) for each in amounts),
            self._currency.code or "",
            *(self._time(order[name]) for name in times),
            *(_text(form.person(order[name])) for name in ("processed_by", "handed_over_by")),
        ]

    def _amount(self, amount: Decimal | None) -> str:
        """Return an amount with the decimals of the currency, or with more that it has."""
        if amount is None:
            return ""
        quantized = amount.quantize(self._currency.unit)
        return f"{quantized if quantized == amount else amount:f}"

    def _time(self, moment: datetime | None) -> str:
        if moment is None:
            return ""
        return f"{moment.astimezone(self._business_day.timezone):%Y-%m-%d %H:%M:%S}"


def _batches(ids: Sequence[int]) -> Iterator[list[int]]:
    for start in range(0, len(ids), ORDERS_READ_TOGETHER):
        yield list(ids[start : start + ORDERS_READ_TOGETHER])


def _csv(rows: Sequence[Sequence[str]], form: Format) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=form.separator, lineterminator="\r\n").writerows(rows)
    return text.getvalue()


def _text(value: object) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    text = "" if value is None else str(value)
    return f"'{text}" if FORMULA.match(text) else text


def _item(item: dict[str, Any], without: str) -> str:
    """Describe an item: 2 x Margherita (Extra cheese, no onions)."""
    modifiers = ", ".join(_modifiers(item.get("modifiers", []), without))
    return f"{item['quantity']} x {item['name']}{f' ({modifiers})' if modifiers else ''}"


def _modifiers(modifiers: Sequence[dict[str, Any]], without: str) -> Iterator[str]:
    """Yield the names of modifiers, without instructions, which are free text like notes."""
    for modifier in modifiers:
        if modifier["kind"] == ModifierKind.INSTRUCTION:
            continue
        removal = f"{without} " if modifier["kind"] == ModifierKind.REMOVE else ""
        times = f"{modifier['quantity']} x " if modifier["quantity"] > 1 else ""
        yield f"{removal}{times}{modifier['name']}"
        yield from _modifiers(modifier["modifiers"], without)


async def _chained(first: str, rest: AsyncIterator[str]) -> AsyncIterator[str]:
    yield first
    async for part in rest:
        yield part
