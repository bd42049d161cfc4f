"""What people do is recorded, in the transaction in which they do it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from restaurant_system.database import audit
from restaurant_system.database.connection import Database
from restaurant_system.models.access import Capability, Role
from restaurant_system.models.audit import Actor
from restaurant_system.services.access import cleanup
from restaurant_system.services.access.administration import ApiKeys, Users
from tests.support.access import PASSWORD, guarded_site, make_users, quick_passwords
from tests.support.deployments import JSON
from tests.support.orders import make_order_body
from tests.support.services import NOON, serve_site
from tests.support.waiting import eventually

CLIENT = "192.0.2.7"
HEADERS = JSON | {"X-Forwarded-For": CLIENT}
KEYED = {"Idempotency-Key": "order-of-table-12"}


@pytest.fixture
async def client(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client of a guarded site with the users Anna (staff) and Mia (manager)."""
    await make_users(database).add("Anna", Role.STAFF, PASSWORD)
    await make_users(database).add("Mia", Role.MANAGER, PASSWORD)
    async with (
        guarded_site(database, public=frozenset({Capability.PLACE_ORDERS})) as site,
        serve_site(site) as address,
        httpx.AsyncClient(base_url=address, timeout=30, verify=False, headers=HEADERS) as client,  # noqa: S501 - no TLS
    ):
        yield client


async def sign_in(client: httpx.AsyncClient, name: str) -> None:
    """Sign in."""
    response = await client.post("/session", json={"name": name, "password": PASSWORD})
    assert response.status_code == 200


async def place(client: httpx.AsyncClient, path: str = "/orders", **headers: str) -> str:
    """Place an order; return its number."""
    response = await client.post(path, content=make_order_body(), headers=headers)
    assert response.status_code == 201, response.text
    number: str = response.json()["order_number"]
    return number


async def entries(database: Database, *actions: str) -> list[dict[str, Any]]:
    """Return the entries with these actions (by default all), the oldest first."""
    async with database.connection() as connection:
        rows = await audit.read(connection, before=None, limit=200)
    return [dict(row) for row in reversed(rows) if not actions or row["action"] in actions]


async def test_orders_that_a_person_places_and_moves_are_recorded(
    client: httpx.AsyncClient, database: Database
) -> None:
    """On the fast path and over ASGI; with who, what, when, from where."""
    await sign_in(client, "anna")
    fast, slow = await place(client), await place(client, "/orders?asgi")
    cancelled = await client.post(f"/orders/{fast}/cancel", headers={"X-Request-ID": "cancel-1"})
    assert cancelled.status_code == 200
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE orders SET status = 'cooking', processed_by = 'mario' WHERE number = $1", slow
        )
        await connection.execute(
            "UPDATE orders SET status = 'ready', completed_at = now() WHERE number = $1", slow
        )
    assert (await client.post(f"/orders/{slow}/complete")).status_code == 200

    found = await entries(database, "place_order", "cancel_order", "complete_order")

    assert [(each["action"], each["target"]) for each in found] == [
        ("place_order", fast),
        ("place_order", slow),
        ("cancel_order", fast),
        ("complete_order", slow),
    ]
    assert {(each["who"], each["role"], each["client"]) for each in found} == {
        ("Anna", "staff", CLIENT)
    }
    history = (await client.get(f"/orders/{slow}/history")).json()
    assert [history[0]["changed_by"], history[-1]["changed_by"]] == ["Anna", "Anna"]
    assert found[2]["request_id"] == "cancel-1"
    assert all(isinstance(each["at"], datetime) for each in found)


async def test_repeated_and_refused_acts_are_not_recorded(
    client: httpx.AsyncClient, database: Database
) -> None:
    await sign_in(client, "anna")
    number = await place(client, **KEYED)
    assert await place(client, **KEYED) == number
    for _ in range(2):
        await client.post(f"/orders/{number}/cancel")
    await client.post("/orders/ORD_20241216_999/cancel")

    found = await entries(database, "place_order", "cancel_order")

    assert [each["action"] for each in found] == ["place_order", "cancel_order"]


async def test_act_that_cannot_be_recorded_does_not_take_effect(
    client: httpx.AsyncClient, database: Database
) -> None:
    await sign_in(client, "anna")
    number = await place(client)
    async with database.connection() as connection:
        await connection.execute("ALTER TABLE audit_log ADD CHECK (action !~ 'order') NOT VALID")

    answers = [
        await client.post(f"/orders/{number}/cancel"),
        await client.post("/orders", content=make_order_body()),
    ]

    assert [answer.status_code for answer in answers] == [500, 500]
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT number, status FROM orders")
    assert [tuple(row) for row in rows] == [(number, "received")]


async def test_programs_and_anonymous_callers_are_not_recorded(
    client: httpx.AsyncClient, database: Database
) -> None:
    key = await ApiKeys(database).add("Till", [Capability.PLACE_ORDERS])
    await place(client)
    await place(client, Authorization=f"Bearer {key}")

    assert await entries(database, "place_order") == []
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT changed_by FROM order_status_log")
    assert [row["changed_by"] for row in rows] == ["order-service", "order-service"]


async def test_orders_that_share_a_transaction_are_each_recorded_under_who_placed_them(
    client: httpx.AsyncClient, database: Database
) -> None:
    await sign_in(client, "anna")
    cookies = dict(client.cookies)
    client.cookies.clear()
    anna = {"Cookie": f"session={cookies['session']}"}

    numbers = await asyncio.gather(
        *(place(client, **(anna if position % 2 else {})) for position in range(20))
    )

    placed = dict.fromkeys(numbers[1::2], "Anna") | dict.fromkeys(numbers[::2], "order-service")
    async with database.connection() as connection:
        rows = await connection.fetch(
            """SELECT number, changed_by FROM order_status_log
               JOIN orders ON orders.id = order_id"""
        )
    assert {row["number"]: row["changed_by"] for row in rows} == placed
    recorded = {each["target"] for each in await entries(database, "place_order")}
    assert recorded == set(numbers[1::2])


async def test_taps_are_recorded_with_their_station(
    client: httpx.AsyncClient, database: Database
) -> None:
    await sign_in(client, "anna")
    number = await place(client)

    tapped = await client.post(
        f"/kitchen/stations/grill/tickets/{number}/start", json={"expected": "received"}
    )

    assert tapped.status_code == 200, tapped.text
    (found,) = await entries(database, "start_ticket")
    assert (found["who"], found["target"]) == ("Anna", number)
    assert found["details"] == '{"station": "grill"}'


async def test_opening_a_station_is_recorded_once(
    client: httpx.AsyncClient, database: Database
) -> None:
    """A page opens its station again after each reload and reconnect."""
    await sign_in(client, "anna")

    answers = [await client.post("/kitchen/stations/grill", json={}) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    (found,) = await entries(database, "open_station")
    assert (found["who"], found["target"], found["client"]) == ("Anna", "grill", CLIENT)


async def test_station_whose_opening_cannot_be_recorded_is_closed(
    client: httpx.AsyncClient, database: Database
) -> None:
    await sign_in(client, "anna")
    async with database.connection() as connection:
        await connection.execute("ALTER TABLE audit_log ADD CHECK (action !~ 'open') NOT VALID")

    opened = await client.post("/kitchen/stations/grill", json={})
    async with client.stream("GET", "/kitchen/stations/grill/live") as watched:
        assert (opened.status_code, watched.status_code) == (500, 409)


async def test_sessions_and_wrong_passwords_are_recorded(
    client: httpx.AsyncClient, database: Database
) -> None:
    """A name that no user has is not recorded: it may be a password."""
    for name in ("ANNA", "hunter2"):
        await client.post("/session", json={"name": name, "password": "wrong password"})
    await sign_in(client, "Anna")
    await client.delete("/session")
    await client.delete("/session")

    found = await entries(database, "sign_in", "sign_in_failed", "sign_out")

    assert [(each["action"], each["who"], each["target"]) for each in found] == [
        ("sign_in_failed", None, "Anna"),
        ("sign_in_failed", None, None),
        ("sign_in", "Anna", None),
        ("sign_out", "Anna", None),
    ]
    assert {each["client"] for each in found} == {CLIENT}


async def test_administration_is_recorded(database: Database) -> None:
    by = Actor("root", "command line")
    users = Users(database, quick_passwords(), by=by, clock=lambda: NOON)
    keys = ApiKeys(database, by=by, clock=lambda: NOON)
    await users.add("Anna", Role.STAFF, PASSWORD)
    await users.reset("ANNA", "a new password")
    await users.disable("anna")
    key = await keys.add("Till", [Capability.PLACE_ORDERS, Capability.METRICS])
    other = await keys.reset("till")
    await keys.disable("TILL")

    found = await entries(database)

    assert [(each["action"], each["target"], each["details"]) for each in found] == [
        ("add_user", "Anna", '{"role": "staff"}'),
        ("reset_user", "Anna", "{}"),
        ("disable_user", "Anna", "{}"),
        ("add_key", "Till", '{"scopes": ["place_orders", "metrics"]}'),
        ("reset_key", "Till", "{}"),
        ("disable_key", "Till", "{}"),
    ]
    assert {(each["who"], each["role"], each["at"]) for each in found} == {
        ("root", "command line", NOON)
    }
    assert not any(secret in str(found) for secret in (PASSWORD, key, other))


@pytest.mark.parametrize("change", ["UPDATE audit_log SET who = 'x'", "DELETE FROM audit_log"])
async def test_entries_are_never_changed(database: Database, change: str) -> None:
    await make_users(database).add("Anna", Role.STAFF, PASSWORD)

    with pytest.raises(asyncpg.CheckViolationError, match="never changed"):
        async with database.connection() as connection:
            await connection.execute(change)


async def test_old_entries_are_deleted_in_batches_and_no_others(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are younger than 30 days cannot be."""
    monkeypatch.setattr(cleanup, "LIMIT", 2)
    ages = [400, 399, 398, 397, 366, 364, 31, 29]
    async with database.connection() as connection:
        await connection.execute(
            """INSERT INTO audit_log (at, action, target)
               SELECT now() - age * interval '1 day', 'sign_in', age
               FROM unnest($1::int[]) WITH ORDINALITY AS aged (age, place) ORDER BY place""",
            ages,
        )

    async def targets() -> list[int]:
        return [int(each["target"]) for each in await entries(database)]

    async def are_deleted() -> bool:
        return await targets() == [364, 31, 29]

    year = timedelta(days=365)
    async with asyncio.TaskGroup() as group:
        processes = [
            group.create_task(cleanup.delete_old_entries(database, year)) for _ in range(2)
        ]
        await eventually(are_deleted, doing="for the deletion of old entries")
        for process in processes:
            process.cancel()
    async with database.connection() as connection:
        assert await audit.delete_old(connection, timedelta(days=30), 10) == 2
        with pytest.raises(asyncpg.CheckViolationError):
            await audit.delete_old(connection, timedelta(days=28), 10)
    assert await targets() == [29]


async def test_manager_reads_the_record_page_by_page(client: httpx.AsyncClient) -> None:
    await sign_in(client, "anna")
    numbers = [await place(client) for _ in range(3)]
    refused = await client.get("/audit")
    await sign_in(client, "mia")

    async def page(**query: int) -> Mapping[str, Any]:
        response = await client.get("/audit", params=query)
        assert response.status_code == 200, response.text
        found: Mapping[str, Any] = response.json()
        return found

    first = await page(limit=5)
    second = await page(limit=200, before=first["next_before"])

    assert refused.status_code == 403
    assert [each["action"] for each in first["entries"]][:2] == ["sign_out", "sign_in"]
    assert [each["target"] for each in first["entries"]][2:] == numbers[::-1]
    assert [each["action"] for each in second["entries"]] == ["sign_in", "add_user", "add_user"]
    assert second["next_before"] is None
    assert "Ada" not in str(first)
