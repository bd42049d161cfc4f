"""The orders of a business date as a CSV file."""

import csv
import io
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from restaurant_system.database.connection import Database
from restaurant_system.models.order import Move
from restaurant_system.models.status import OrderStatus
from restaurant_system.services.tracking import export_handler
from tests.support.orders import make_item, make_order
from tests.support.responses import invalid_fields
from tests.support.rows import insert_order
from tests.support.services import (
    NOON,
    FakeClock,
    http_client,
    make_order_export,
    make_order_service,
    move_through,
)

ZONE = "Asia/Kolkata"  # 5 h 30 min ahead of UTC
EGG = {"name": "Egg", "price": Decimal("1.5")}
SALAD = {"modifiers": [{"name": "Onions", "kind": "remove"}, EGG]}
ORDER = {
    "customer_name": "+1 Cash, Ltd",
    "reference": "=2+5",
    "items": [make_item(name='Pie, "large"', quantity=2), make_item(name="Salad", **SALAD)],
    "charges": [{"name": "Discount", "amount": Decimal(-1)}],
}


async def export(database: Database, **query: str) -> httpx.Response:
    """Request the export, at noon in UTC."""
    feature = make_order_export(database, clock=FakeClock(), timezone=ZONE, currency="KWD")
    async with http_client(feature.feature()) as client:
        return await client.get("/orders.csv", params=query)


def rows_of(response: httpx.Response, delimiter: str = ",") -> list[dict[str, Any]]:
    """Read the rows of a file, as a spreadsheet does."""
    text = response.content.decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))


async def test_export_has_the_orders_of_the_business_date_for_a_spreadsheet(
    database: Database,
) -> None:
    """Its times are those of the restaurant; no text is taken for a formula."""
    clock = FakeClock(NOON - timedelta(hours=18))  # before midnight in the zone: another date
    intake = make_order_service(database, clock=clock, timezone=ZONE)
    await intake.place(make_order(), request_id="r", key=None)
    clock.now = NOON
    number = (await intake.place(make_order(**ORDER), request_id="r", key=None)).order_number
    await intake.place(make_order(), request_id="r", key=None)
    moves = (OrderStatus.COOKING, OrderStatus.READY)
    await move_through(database, number, *moves, by="-anna", at=NOON + timedelta(minutes=9))

    response = await export(database)

    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    named = 'attachment; filename="orders-2024-12-16.csv"'
    assert response.headers["content-disposition"] == named
    assert response.content.startswith(b"\xef\xbb\xbforder_number,business_date,status,")
    assert response.content.count(b"\r\n") == response.content.count(b"\n") == 3
    first, second = rows_of(response)
    assert tuple(first) == export_handler.COLUMNS
    assert first | second == second  # the same columns
    assert {name: value for name, value in first.items() if value} == {
        "order_number": number,
        "business_date": "2024-12-16",
        "status": "ready",
        "order_type": "takeout",
        "customer_name": "'+1 Cash, Ltd",
        "reference": "'=2+5",
        "items": '2 x Pie, "large"; 1 x Salad (no Onions, Egg)',
        "items_total": "30.000",
        "charges": "-1.000",
        "total_amount": "29.000",
        "currency": "KWD",
        "placed_at": "2024-12-16 17:30:00",
        "promised_at": "2024-12-16 17:45:00",
        "prepared_at": "2024-12-16 17:39:00",
        "prepared_by": "'-anna",
    }


async def test_export_in_a_language_is_for_its_spreadsheets(database: Database) -> None:
    """German: semicolons, decimal commas, translated words; completed without a mark."""
    intake = make_order_service(database, clock=FakeClock(), timezone=ZONE)
    number = (await intake.place(make_order(**ORDER), request_id="r", key=None)).order_number
    await move_through(database, number, OrderStatus.COOKING, OrderStatus.READY, at=NOON)
    await intake.complete(number, Move(), request_id="r")

    (of_program,) = rows_of(await export(database))
    (of_people,) = rows_of(await export(database, language="de"), delimiter=";")
    (english,) = rows_of(await export(database, language="en"))
    refused = await export(database, language="fr")

    assert of_program["handed_over_at"] == "2024-12-16 17:30:00"
    assert of_program["handed_over_by"] == "order-service"
    assert {name: value for name, value in of_people.items() if value} == {
        "Bestellung": number,
        "Geschäftstag": "2024-12-16",
        "Stand": "Ausgegeben",
        "Art": "Abholung",
        "Name": "'+1 Cash, Ltd",
        "Referenz": "'=2+5",
        "Positionen": '2 x Pie, "large"; 1 x Salad (ohne Onions, Egg)',
        "Summe der Positionen": "30,000",
        "Gebühren": "-1,000",
        "Summe": "29,000",
        "Währung": "KWD",
        "Aufgegeben": "2024-12-16 17:30:00",
        "Zugesagt für": "2024-12-16 17:45:00",
        "Fertig": "2024-12-16 17:30:00",
        "Ausgegeben": "2024-12-16 17:30:00",
        "Zubereitet von": "mario",
    }
    assert (english["State"], english["Total"]) == ("Completed", "29.000")
    assert invalid_fields(refused) == ["language"]


async def test_export_of_many_orders_is_complete_and_has_those_of_its_date_only(
    database: Database,
) -> None:
    count = 2 * export_handler.ORDERS_READ_TOGETHER + 1
    async with database.connection() as connection:
        for place in range(count):
            number = f"ORD_20241209_{place + 1:03d}"
            await insert_order(connection, number=number, business_date=date(2024, 12, 9))

    rows = rows_of(await export(database, date="2024-12-09"))
    none = await export(database, date="2024-12-10")

    assert len({row["order_number"] for row in rows}) == len(rows) == count
    assert rows_of(none) == []
    assert none.content.startswith(b"\xef\xbb\xbforder_number,")


@pytest.mark.parametrize("wanted", ["", "0", "16.12.2024", "2024-02-30", "2024-12-16T00:00:00"])
async def test_export_of_no_date_is_refused(database: Database, wanted: str) -> None:
    response = await export(database, date=wanted)

    assert response.status_code == 400
    assert invalid_fields(response) == ["date"]
