"""`GET /menu` with its ETag, and what people mark as sold out."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from restaurant_system.app.kitchen_display import kitchen_display
from restaurant_system.app.menu import menu_feature, menu_source
from restaurant_system.config import DatabaseSettings, OrderServiceSettings, Settings
from restaurant_system.database.connection import Database
from restaurant_system.errors import ConfigurationError
from restaurant_system.models.menu import NO_MENU
from restaurant_system.services.order.current_menu import CurrentMenu
from tests.support.logs import capture_logs
from tests.support.services import NOON, FakeClock, http_client, make_current_menu
from tests.support.waiting import eventually

LUNCH = """
tables: [1-3, Bar]
modifier_groups:
  - name: Toppings
    max: 2
    options: [{name: Egg, price: 1.5}, {name: Cress, default: true, kind: choice}]
sections:
  - name: Soups
    items:
      - {name: Minestrone, price: 6.90}
      - {name: Miso, price: 5, available: false}
      - name: Ramen
        sku: RAM
        description: Wheat noodles
        allergens: [gluten]
        prep_seconds: 240
        station: wok
        hours: [{days: [mon, tue], from: 11:00, to: 12:30}]
        variations: [{name: Small, sku: RAM-S, price: 9}, {name: Large, price: 11.50}]
        modifier_groups: [Toppings]
"""
AVAILABLE = {"available": True, "reason": None, "remaining": None, "until": None}
PLAIN: dict[str, Any] = {
    **AVAILABLE,
    "sku": None,
    "description": None,
    "allergens": [],
    "prep_seconds": None,
    "station": None,
    "hours": [],
    "variations": [],
    "modifier_groups": [],
}
TOPPINGS = [
    {**AVAILABLE, "name": "Egg", "price": 1.5, "default": False, "kind": "add"},
    {**AVAILABLE, "name": "Cress", "price": 0.0, "default": True, "kind": "choice"},
]
SMALL = {
    **AVAILABLE,
    "name": "Small",
    "order_name": "Ramen (Small)",
    "sku": "RAM-S",
    "price": 9.0,
}
LARGE = {
    **AVAILABLE,
    "name": "Large",
    "order_name": "Ramen (Large)",
    "sku": None,
    "price": 11.5,
}
RAMEN = {
    **AVAILABLE,
    "name": "Ramen",
    "order_name": "Ramen",
    "sku": "RAM",
    "price": None,
    "description": "Wheat noodles",
    "allergens": ["gluten"],
    "prep_seconds": 240,
    "station": "wok",
    "hours": [{"days": ["mon", "tue"], "from": "11:00", "to": "12:30"}],
    "variations": [SMALL, LARGE],
    "modifier_groups": [{"name": "Toppings", "min": 0, "max": 2, "options": TOPPINGS}],
}
MISO = {**PLAIN, "name": "Miso", "order_name": "Miso", "price": 5.0}
OFFERED = {
    "sections": [
        {
            "name": "Soups",
            "items": [
                {**PLAIN, "name": "Minestrone", "order_name": "Minestrone", "price": 6.9},
                {**MISO, "available": False, "reason": "menu"},
                RAMEN,
            ],
        }
    ],
    "currency": {"code": None, "decimals": 2},
    "tables": ["1", "2", "3", "Bar"],
    "next_business_day": "2024-12-17T00:00:00.000Z",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the file of a menu."""
    path = tmp_path / "menu.yaml"
    path.write_text(LUNCH)
    return path


@pytest.fixture
def current(database: Database, clock: FakeClock, path: Path) -> CurrentMenu:
    """Return the current menu of a process."""
    return make_current_menu(database, path, clock=clock)


@pytest.fixture
async def client(database: Database, current: CurrentMenu) -> AsyncIterator[httpx.AsyncClient]:
    """Return an HTTP client of a service with the menu."""
    async with http_client(menu_feature(database, current, may_be_alone=True)) as client:
        yield client


def rewrite(path: Path, menu: str) -> None:
    """Write another menu into its file."""
    path.write_text(menu)


async def get_with_etag(client: httpx.AsyncClient, tag: str) -> httpx.Response:
    """Send GET /menu with If-None-Match and the ETag that the client has."""
    return await client.get("/menu", headers={"If-None-Match": tag})


async def mark(client: httpx.AsyncClient, **body: object) -> httpx.Response:
    """Send POST /menu/availability."""
    return await client.post("/menu/availability", json=body)


def states(menu: Mapping[str, Any]) -> dict[str, tuple[str | None, int | None]]:
    """Return why something is not available, or how many are left, where there is something."""
    found = {}
    for section in menu["sections"]:
        for item in section["items"]:
            options = [option for group in item["modifier_groups"] for option in group["options"]]
            for each in (item, *item["variations"], *options):
                found[each.get("order_name", each["name"])] = (each["reason"], each["remaining"])
    return {name: state for name, state in found.items() if state != (None, None)}


async def test_menu_is_answered_304_until_its_file_changes(
    client: httpx.AsyncClient, path: Path
) -> None:
    first = await client.get("/menu")
    tag = first.headers["ETag"]
    assert (first.status_code, first.json()) == (200, OFFERED)
    assert first.headers["Content-Type"] == "application/json"
    for known in (tag, f"W/{tag}", f'"another", {tag}', "*"):
        answer = await get_with_etag(client, known)
        assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", tag)

    rewrite(path, LUNCH.replace("6.90", "7.20"))

    changed = await get_with_etag(client, tag)
    assert changed.status_code == 200
    assert changed.headers["ETag"] != tag
    assert changed.json()["sections"][0]["items"][0]["price"] == 7.2

    rewrite(path, LUNCH.replace("6.90", "free"))  # the last valid menu stays
    assert (await get_with_etag(client, changed.headers["ETag"])).status_code == 304


async def test_menu_follows_hours_and_the_ends_of_limits(
    client: httpx.AsyncClient, clock: FakeClock
) -> None:
    """At 12:30 the hours of the ramen end, at 13:00 the limit of the minestrone."""
    until = NOON + timedelta(hours=1)
    await mark(client, name="Minestrone", available=False, until=until.isoformat())
    closed = ("hours", None)
    ramen = {"Ramen": closed, "Ramen (Small)": closed, "Ramen (Large)": closed}
    sold_out, miso = {"Minestrone": ("sold_out", 0)}, {"Miso": ("menu", None)}

    seen = []
    for minutes in (29, 31, 61):
        clock.now = NOON + timedelta(minutes=minutes)
        seen.append(states((await client.get("/menu")).json()))

    assert seen == [sold_out | miso, sold_out | miso | ramen, miso | ramen]


async def test_sold_out_is_shown_for_item_variation_and_option_until_it_is_lifted(
    client: httpx.AsyncClient,
) -> None:
    tag = (await client.get("/menu")).headers["ETag"]
    before = states((await client.get("/menu")).json())

    for selector in ({"sku": "RAM-S"}, {"name": "ramen (large)"}, {"option": "egg"}):
        assert (await mark(client, **selector, available=False)).status_code == 200
    await mark(client, name="Minestrone", remaining=3)

    marked = await get_with_etag(client, tag)
    assert marked.status_code == 200
    sold_out = ("sold_out", 0)
    assert states(marked.json()) == before | {
        "Minestrone": (None, 3),
        "Ramen": ("sold_out", None),  # one of its variations must be chosen
        "Ramen (Small)": sold_out,
        "Ramen (Large)": sold_out,
        "Egg": sold_out,
    }
    limits = (await client.get("/menu/availability")).json()["limits"]
    assert [(each["sku"] or each["name"] or each["option"]) for each in limits] == [
        *("Minestrone", "Ramen (Large)", "Egg", "RAM-S")
    ]
    assert limits[0] == {
        "on_menu": True,
        "sku": None,
        "name": "Minestrone",
        "option": None,
        "available": True,
        "remaining": 3,
        "until": None,
        "changed_at": "2024-12-16T12:00:00.000Z",
        "changed_by": None,
    }

    for selector in ({"sku": "RAM-S"}, {"name": "Ramen (Large)"}, {"option": "Egg"}):
        assert (await mark(client, **selector, available=True)).status_code == 200
    await mark(client, name="Minestrone", available=True)

    assert (await get_with_etag(client, tag)).status_code == 304


FAULTY_CHANGES: list[tuple[dict[str, object], str, str]] = [
    ({"sku": "RAMEN"}, "sku", "is not on the menu"),
    ({"name": "Laksa"}, "name", "is not on the menu"),
    ({"name": "Miso"}, "name", "is unavailable in the menu file; change it there"),
    ({"option": "Leek"}, "option", "is not the name of an option in a modifier group"),
    ({"name": "Ramen", "sku": "RAM"}, "body", "must have exactly one of sku, name and option"),
    ({"name": "Ramen", "until": "2024-12-16T11:00:00Z"}, "until", "must be in the future"),
    ({"name": "Ramen", "until": "2034-12-16T11:00:00Z"}, "until", "must be at most 400 days"),
    ({"name": "Ramen", "until": "2024-12-17"}, "until", "must be a time with its offset"),
    ({"name": "Ramen", "until": "2024-W51-2T05:00:00Z"}, "until", "must be a time with its"),
    ({"name": "Ramen", "remaining": -1}, "remaining", "must be at least 0"),
    (
        {"name": "Ramen", "available": True, "remaining": 0},
        "body",
        "must have available: false with remaining: 0, or remaining above 0",
    ),
]


async def test_faulty_change_of_availability_is_refused_with_its_field(
    client: httpx.AsyncClient,
) -> None:
    for body, field, message in FAULTY_CHANGES:
        answer = await mark(client, **{"available": False, **body})

        assert answer.status_code == 400, body
        (error,) = answer.json()["errors"]
        assert error["field"] == field, body
        assert error["message"].startswith(message), body


async def test_name_that_sections_share_is_marked_with_its_section(
    client: httpx.AsyncClient, path: Path
) -> None:
    rewrite(path, LUNCH + "  - {name: Kids, items: [{name: Minestrone, price: 4}]}\n")

    refused = await mark(client, name="Minestrone", available=False)
    marked = await mark(client, name="Kids / Minestrone", available=False)

    assert refused.json()["errors"][0]["message"] == (
        "is the name of several items; send one of 'Soups / Minestrone', 'Kids / Minestrone'"
    )
    assert marked.status_code == 200
    found = states((await client.get("/menu")).json())
    assert "Soups / Minestrone" not in found
    assert found["Kids / Minestrone"] == ("sold_out", 0)


async def test_limit_follows_its_item_and_can_be_lifted_when_the_menu_has_it_no_more(
    client: httpx.AsyncClient, path: Path
) -> None:
    """An item that gets a sku stays sold out; of one that is renamed the limit is listed."""
    for name in ("Minestrone", "Ramen (Large)"):
        await mark(client, name=name, available=False)
    rewrite(path, LUNCH.replace("name: Minestrone,", "name: Minestrone, sku: MIN,"))
    assert states((await client.get("/menu")).json())["Minestrone"] == ("sold_out", 0)

    await mark(client, sku="MIN", remaining=3)
    assert states((await client.get("/menu")).json())["Minestrone"] == (None, 3)
    rewrite(path, LUNCH.replace("name: Minestrone,", "name: Minestrone, available: false,"))
    assert (await mark(client, name="Minestrone", available=True)).status_code == 400  # of the file
    rewrite(path, LUNCH.replace("name: Minestrone,", "name: Soup,").replace("Large", "Huge"))
    await client.get("/menu")

    limits = (await client.get("/menu/availability")).json()["limits"]
    found = [(each["name"] or each["sku"], each["on_menu"]) for each in limits]
    assert found == [("Soups / Ramen (Large)", False), ("MIN", False)]
    assert (await mark(client, sku="MIN", remaining=2)).status_code == 400
    for selector in ({"sku": "MIN"}, {"name": "Soups / Ramen (Large)"}):
        lifted = await mark(client, **selector, available=True)
        assert (lifted.status_code, lifted.json()["on_menu"]) == (200, False)
    await mark(client, name="Soup", available=False)
    rewrite(path, LUNCH.replace("name: Minestrone,", "name: Soup, available: false,"))
    assert (await mark(client, name="Soup", available=True)).status_code == 200
    assert (await client.get("/menu/availability")).json()["limits"] == []


async def test_all_processes_show_within_two_seconds_what_one_has_sold_out(
    client: httpx.AsyncClient, database: Database, path: Path
) -> None:
    """Screens ask every 0.75 s (`POLL_INTERVAL` in counter-menu.js), so 1.25 s are left."""
    other = make_current_menu(database, path)

    async def shows_it() -> bool:
        return "Minestrone" in states((await second.get("/menu")).json())

    async with http_client(menu_feature(database, other, may_be_alone=True)) as second:
        await other.refresh()
        following = asyncio.create_task(other.run())
        await asyncio.sleep(0.1)  # the other process has just read what is sold out
        await mark(client, name="Minestrone", available=False)
        began_at = time.monotonic()
        await eventually(shows_it, doing="for the other process")
        following.cancel()

    assert time.monotonic() - began_at < 1.25


@pytest.mark.parametrize("may_be_alone", [False, True])
async def test_change_is_answered_once_it_holds_in_all_processes(
    database: Database, dsn: str, path: Path, *, may_be_alone: bool
) -> None:
    """Also that of the all-in-one command, while an order service uses its database."""
    service = Database(dsn, DatabaseSettings(pool_min=1), application_name="order-service")
    await service.connect()
    current, other = (make_current_menu(database, path) for _ in range(2))
    await other.refresh()
    following = asyncio.create_task(other.run())
    await asyncio.sleep(0.1)  # the other process has just read what is sold out

    feature = menu_feature(database, current, may_be_alone=may_be_alone)
    async with http_client(feature) as client:
        response = await mark(client, name="Minestrone", available=False)
    await service.close()
    assert response.status_code == 200
    assert any(limit.remaining == 0 for limit in other.offer.limits.values())
    following.cancel()


async def test_without_a_configured_menu_an_empty_one_is_served(database: Database) -> None:
    current = make_current_menu(database, NO_MENU)
    async with http_client(menu_feature(database, current, may_be_alone=True)) as client:
        assert (await client.get("/menu")).json()["sections"] == []


def test_service_does_not_start_with_an_invalid_menu(tmp_path: Path) -> None:
    path = tmp_path / "menu.yaml"
    path.write_text("sections: free")
    settings = Settings(order_service=OrderServiceSettings(menu=path))

    with pytest.raises(ConfigurationError, match=r"menu\.yaml breaks a rule: .*sections must be"):
        menu_source(settings, otherwise=NO_MENU)
    path.unlink()
    with pytest.raises(ConfigurationError, match=r"Cannot read the menu .*menu\.yaml"):
        menu_source(settings, otherwise=NO_MENU)

    with capture_logs() as lines:
        kitchen_display(settings)  # tickets are shown without a menu, too
    assert [line["event"] for line in lines] == ["menu_rejected"]
