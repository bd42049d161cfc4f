"""Orders of what is sold out, limited or priced by the menu, at placement."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from restaurant_system.app.menu import menu_feature
from restaurant_system.database.connection import Database
from restaurant_system.errors import DatabaseUnavailable
from restaurant_system.models.access import Caller, Capability, Role
from restaurant_system.models.order import NewOrder
from restaurant_system.services.order import service as order_service
from restaurant_system.services.order.current_menu import CurrentMenu
from restaurant_system.services.order.handler import OrderHandler
from restaurant_system.services.order.service import OrderService
from restaurant_system.web.json_body import parse_json
from restaurant_system.web.problem import Refusal
from tests.support.deployments import JSON
from tests.support.orders import make_item, make_order_body
from tests.support.services import http_client, make_current_menu, make_order_service

MENU = """
sections:
  - name: Pizza
    items: [{name: Margherita, sku: MAR, price: 9.50}, {name: Diavola, price: 11}]
"""
COUNTS = """
SELECT (SELECT count(*) FROM orders) AS orders, (SELECT sum(last_number) FROM order_counters) AS
       numbers, (SELECT sum(quantity) FROM order_items) AS sold,
       (SELECT sum(remaining) FROM menu_availability) AS remaining,
       (SELECT count(*) FROM idempotency_keys) AS keys, (SELECT count(*) FROM outbox) AS messages
"""
KEY = "0123456789abcdef"
DIAVOLA = {"name": "Diavola", "price": 11}


class Till:
    """A process that takes orders and marks what is sold out, with its client."""

    def __init__(self, client: httpx.AsyncClient, menu: CurrentMenu, service: OrderService) -> None:
        self.client = client
        self.menu = menu
        self.service = service

    async def mark(self, **body: object) -> None:
        """Mark something as sold out, limited or available."""
        answer = await self.client.post("/menu/availability", json=body)
        assert answer.status_code == 200, answer.text

    async def order(
        self, *items: dict[str, object], key: str | None = None, **fields: object
    ) -> httpx.Response:
        """Place an order of items."""
        headers = JSON if key is None else JSON | {"Idempotency-Key": key}
        body = make_order_body(items=[make_item(**item) for item in items], **fields)
        return await self.client.post("/orders", content=body, headers=headers)


@pytest.fixture
async def tills(database: Database, tmp_path: Path) -> AsyncIterator[tuple[Till, Till]]:
    """Return two processes with one menu."""
    path = tmp_path / "menu.yaml"
    path.write_text(MENU)
    menus = [make_current_menu(database, path) for _ in range(2)]
    services = [make_order_service(database, menu=menu) for menu in menus]
    sites = [
        http_client(
            menu_feature(database, menu, may_be_alone=True), OrderHandler(service, 50).feature()
        )
        for menu, service in zip(menus, services, strict=True)
    ]
    async with sites[0] as first, sites[1] as second:
        for menu in menus:
            await menu.refresh()
        yield Till(first, menus[0], services[0]), Till(second, menus[1], services[1])


async def counts(database: Database) -> dict[str, int | None]:
    """Return how many orders, numbers, pieces, portions, keys and messages there are."""
    async with database.connection() as connection:
        row = await connection.fetchrow(COUNTS)
    assert row is not None
    return dict(row)


def statuses(answers: Sequence[httpx.Response]) -> list[int]:
    """Return the statuses of responses."""
    return [answer.status_code for answer in answers]


async def test_sold_out_item_is_refused_by_sku_and_by_name_without_a_trace(
    tills: tuple[Till, Till], database: Database
) -> None:
    till, _ = tills
    await till.mark(sku="MAR", available=False)

    refused = [
        await till.order(DIAVOLA, item)
        for item in (
            {"sku": "MAR", "name": "Pizza Margherita", "price": 9.50},
            {"name": "Margherita", "price": 9.50},
        )
    ]
    accepted = await till.order(DIAVOLA)

    assert statuses(refused) == [400, 400]
    for answer in refused:
        assert answer.json()["errors"] == [
            {
                "field": "items.1",
                "message": "is sold out (Margherita)",
                "code": "sold_out",
                "params": {"name": "Margherita"},
            }
        ]
    assert accepted.json()["order_number"].endswith("_001")
    assert (await counts(database))["orders"] == 1


async def test_repeated_order_gets_its_first_answer_though_its_item_is_sold_out_now(
    tills: tuple[Till, Till],
) -> None:
    """Also from a process that has not noticed, and for an item that was counted down to 0."""
    till, other = tills
    limited = {"sku": "MAR", "price": 9.50}
    await till.mark(sku="MAR", remaining=2)
    await other.menu.refresh()
    names: list[dict[str, Any]] = [{"key": KEY}, {"channel": "shop", "external_id": "7"}]

    first = [await till.order(limited, **name) for name in names]
    repeated = [await each.order(limited, **name) for each in (till, other) for name in names]
    await other.menu.refresh()
    repeated += [await other.order(limited, **name) for name in names]

    assert statuses(first) == [201, 201]
    assert [answer.json() for answer in repeated] == [answer.json() for answer in first] * 3
    assert (await other.order(limited)).status_code == 400


async def test_repeated_order_takes_no_portion_from_another_that_is_stored_with_it(
    tills: tuple[Till, Till],
) -> None:
    """Two orders in one transaction, and one portion: the first is stored already."""
    till, _ = tills
    order = parse_json(make_order_body(items=[make_item(sku="MAR", price=9.5)]), NewOrder)
    await till.mark(sku="MAR", remaining=2)
    first = await till.service.place(order, request_id="r", key=KEY)

    repeated, second = await asyncio.gather(
        till.service.place(order, request_id="r", key=KEY),
        till.service.place(order, request_id="r", key=None),
    )

    assert (repeated.order_number, repeated.replayed) == (first.order_number, True)
    assert second.order_number.endswith("_002")


async def test_last_portions_are_sold_once_to_concurrent_orders_of_two_processes(
    tills: tuple[Till, Till], database: Database
) -> None:
    """A refused order leaves no row, no gap in the numbers and no used key."""
    await tills[0].mark(sku="MAR", remaining=7)
    for till in tills:
        await till.menu.refresh()
    two = {"sku": "MAR", "price": 9.50, "quantity": 2}

    answers = await asyncio.gather(
        *(tills[place % 2].order(two, DIAVOLA, key=f"till-{place:016}") for place in range(12)),
        *(tills[place % 2].order(DIAVOLA) for place in range(6)),
    )

    assert sorted(statuses(answers[:12])) == [201] * 3 + [400] * 9
    assert statuses(answers[12:]) == [201] * 6
    refused = next(answer for answer in answers[:12] if answer.status_code == 400)
    assert refused.json()["errors"] == [
        {
            "field": "items.0",
            "message": "is more than what is left: 1 (Margherita)",
            "code": "too_few_left",
            "params": {"name": "Margherita", "remaining": 1},
        }
    ]
    assert await counts(database) == {
        "orders": 9,
        "numbers": 9,
        "sold": 3 * 2 + 9,
        "remaining": 1,
        "keys": 3,
        "messages": 9,
    }
    await tills[0].mark(sku="MAR", remaining=2)
    place = next(place for place in range(12) if answers[place].status_code == 400)
    assert (await tills[0].order(two, DIAVOLA, key=f"till-{place:016}")).status_code == 201


async def test_portions_are_not_sold_if_the_order_is_not_stored(
    tills: tuple[Till, Till], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    till, _ = tills
    await till.mark(sku="MAR", remaining=3)

    async def lost(*_: object, **__: object) -> None:
        raise DatabaseUnavailable("The connection broke.")

    with monkeypatch.context() as patch:
        patch.setattr(order_service, "_record_placements", lost)
        failed = await till.order({"sku": "MAR", "price": 9.50})

    assert failed.status_code == 503
    found = await counts(database)
    assert (found["orders"], found["remaining"]) == (0, 3)


async def test_price_of_the_menu_holds_for_a_sku_unless_staff_sends_another(
    tills: tuple[Till, Till],
) -> None:
    """On the fast path and over ASGI; without access control no caller is known to be staff."""
    till, _ = tills
    body = make_order_body(items=[make_item(sku="MAR", name="Margherita", price=0.01)])

    answers = [
        await till.client.post(f"/orders{query}", content=body, headers=JSON)
        for query in ("", "?asgi")
    ]

    assert statuses(answers) == [400, 400]
    fault = {
        "field": "items.0.price",
        "message": "must be 9.50, the menu's price of 'Margherita'",
        "code": "price_differs_from_menu",
        "params": {"name": "Margherita", "price": 9.5},
    }
    assert [answer.json()["errors"] for answer in answers] == [[fault], [fault]]
    assert (await till.order({"name": "Margherita", "price": 0.01})).status_code == 201
    staff = Caller.person("Ada", Role.STAFF)
    placed = await till.service.place(
        parse_json(body, NewOrder), request_id="r", key=None, caller=staff
    )
    assert placed.total_amount == Decimal("0.01")
    anonymous = Caller(None, None, frozenset({Capability.PLACE_ORDERS}))
    cheap = make_order_body(items=[make_item(**DIAVOLA)], charges=[{"name": "Promo", "amount": -9}])
    with pytest.raises(Refusal, match="menu"):
        await till.service.place(
            parse_json(cheap, NewOrder), request_id="r", key=None, caller=anonymous
        )
