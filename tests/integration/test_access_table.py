"""Who may do what: each line of the contract's table, as each caller, on ASGI and the fast path."""

import itertools
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import httpx
import pytest

from restaurant_system.database.connection import Database
from restaurant_system.models.access import SCOPES, Capability, Role
from tests.support.access import PASSWORD, guarded_site, make_keys, make_users
from tests.support.database import execute
from tests.support.deployments import JSON
from tests.support.orders import make_item, make_order_body
from tests.support.services import serve_site

NUMBER = "ORD_20241216_001"  # of no order: what an admitted caller gets is 404 or better
LETTER = "0" * 8 + "-0000-4000-8000-" + "0" * 12  # of no dead letter
TOKEN = "0" * 32  # of no tracking link
ALLOWED, SIGN_IN, FORBIDDEN = "allowed", "sign in", "forbidden"

# Callers, and in each line what they get: anonymous, kitchen, staff, manager.
CALLERS = ("anonymous", "kitchen", "staff", "manager")
EVERYBODY = (ALLOWED, ALLOWED, ALLOWED, ALLOWED)
KITCHEN_TOO = (SIGN_IN, ALLOWED, ALLOWED, ALLOWED)
STAFF_ONLY = (SIGN_IN, FORBIDDEN, ALLOWED, ALLOWED)
MANAGER_ONLY = (SIGN_IN, FORBIDDEN, FORBIDDEN, ALLOWED)
BY_SIGNATURE = (SIGN_IN, SIGN_IN, SIGN_IN, SIGN_IN)  # a session or an API key does not help
CHANGES_OF_CALLERS = {
    f"POST {path}{act}" for path in ("/users", "/api-keys") for act in ("", "/disable", "/reset")
}
TABLE = {
    "POST /orders": STAFF_ONLY,
    f"GET /orders/{NUMBER}/status": EVERYBODY,
    f"HEAD /orders/{NUMBER}/status": EVERYBODY,
    "POST /integrations/deliverect/orders": BY_SIGNATURE,
    "GET /board": EVERYBODY,
    "GET /manifest/kitchen": EVERYBODY,
    "GET /live/board": EVERYBODY,
    "GET /menu": EVERYBODY,
    "GET /menu/availability": STAFF_ONLY,
    "POST /menu/availability": STAFF_ONLY,
    "GET /health": EVERYBODY,
    "GET /health/live": EVERYBODY,
    "GET /health/ready": EVERYBODY,
    "POST /session": EVERYBODY,
    "GET /session": EVERYBODY,
    "DELETE /session": EVERYBODY,
    "GET /sign-in": EVERYBODY,
    "POST /sign-out": EVERYBODY,
    "GET /assets/base.css": EVERYBODY,
    "GET /assets/restaurant.js": EVERYBODY,
    f"GET /track/{NUMBER}": EVERYBODY,
    f"GET /live/track/{NUMBER}": EVERYBODY,
    f"GET /track/{NUMBER}/{TOKEN}": EVERYBODY,
    f"GET /live/track/{NUMBER}/{TOKEN}": EVERYBODY,
    f"GET /orders/{NUMBER}/tracking/{TOKEN}": EVERYBODY,
    "GET /kitchen": KITCHEN_TOO,
    "POST /kitchen/stations/grill": KITCHEN_TOO,
    "GET /kitchen/stations/grill/live": KITCHEN_TOO,
    "GET /kitchen/stations/grill/bumped": KITCHEN_TOO,
    "GET /kitchen/scheduled": KITCHEN_TOO,
    "GET /kitchen/stations": KITCHEN_TOO,
    f"POST /kitchen/stations/grill/tickets/{NUMBER}/start": KITCHEN_TOO,
    f"POST /kitchen/stations/grill/tickets/{NUMBER}/bump": KITCHEN_TOO,
    f"POST /kitchen/stations/grill/tickets/{NUMBER}/recall": KITCHEN_TOO,
    f"POST /kitchen/stations/grill/tickets/{NUMBER}/rush": KITCHEN_TOO,
    f"POST /kitchen/stations/grill/tickets/{NUMBER}/acknowledge": KITCHEN_TOO,
    "GET /": STAFF_ONLY,
    "GET /dashboard": STAFF_ONLY,
    "GET /pass": STAFF_ONLY,
    "GET /live/dashboard": STAFF_ONLY,
    "GET /orders": STAFF_ONLY,
    "GET /orders.csv": STAFF_ONLY,
    f"GET /orders/{NUMBER}": STAFF_ONLY,
    f"GET /orders/{NUMBER}/history": STAFF_ONLY,
    "GET /stats": STAFF_ONLY,
    "GET /workers/status": STAFF_ONLY,
    f"POST /orders/{NUMBER}/cancel": STAFF_ONLY,
    f"POST /orders/{NUMBER}/complete": STAFF_ONLY,
    "POST /orders/by-external-id/uber/84H9B/cancel": STAFF_ONLY,
    "POST /orders/by-idempotency-key/order-4711-of-till-2/cancel": STAFF_ONLY,
    f"POST /orders/{NUMBER}/release": STAFF_ONLY,
    f"POST /orders/{NUMBER}/hand-over": STAFF_ONLY,
    f"POST /orders/{NUMBER}/hand-over/undo": STAFF_ONLY,
    f"POST /orders/{NUMBER}/uncollected": STAFF_ONLY,
    f"POST /orders/{NUMBER}/uncollected/undo": STAFF_ONLY,
    f"POST /orders/{NUMBER}/send-back": STAFF_ONLY,
    f"POST /orders/{NUMBER}/send-back/undo": STAFF_ONLY,
    f"GET /orders/{NUMBER}/qr.svg": STAFF_ONLY,
    "GET /live/orders": STAFF_ONLY,
    "GET /device": EVERYBODY,
    "POST /device/session": EVERYBODY,
    "PUT /session/pin": (SIGN_IN, ALLOWED, ALLOWED, ALLOWED),
    "GET /access": MANAGER_ONLY,
    "GET /devices": MANAGER_ONLY,
    "POST /devices": MANAGER_ONLY,
    "DELETE /devices/1": MANAGER_ONLY,
    "GET /pins": MANAGER_ONLY,
    "PUT /pins": MANAGER_ONLY,
    "GET /users": MANAGER_ONLY,
    "GET /api-keys": MANAGER_ONLY,
    **dict.fromkeys(CHANGES_OF_CALLERS, MANAGER_ONLY),
    "GET /audit": MANAGER_ONLY,
    "GET /dead-letters": MANAGER_ONLY,
    f"GET /dead-letters/{LETTER}": MANAGER_ONLY,
    f"POST /dead-letters/{LETTER}/requeue": MANAGER_ONLY,
    f"POST /dead-letters/{LETTER}/discard": MANAGER_ONLY,
    "POST /dead-letters/requeue": MANAGER_ONLY,
    "POST /dead-letters/discard": MANAGER_ONLY,
    "POST /privacy/export": MANAGER_ONLY,
    "POST /privacy/erase": MANAGER_ONLY,
    "GET /docs": MANAGER_ONLY,
    "GET /docs/docs.js": MANAGER_ONLY,
    "GET /openapi.json": MANAGER_ONLY,
    "GET /metrics": MANAGER_ONLY,
}
# A scope opens these, and nothing else of what is not open to everybody.
BY_SCOPE = {
    "place_orders": {"POST /orders"},
    "tickets": {line for line, allowed in TABLE.items() if allowed is KITCHEN_TOO},
    "read_orders": {
        *("GET /", "GET /dashboard", "GET /pass", "GET /live/dashboard"),
        *("GET /orders", f"GET /orders/{NUMBER}", f"GET /orders/{NUMBER}/history"),
        *("GET /orders.csv", "GET /stats", "GET /workers/status"),
        *(f"GET /orders/{NUMBER}/qr.svg", "GET /live/orders"),
    },
    "move_orders": {
        *(f"POST /orders/{NUMBER}/{move}" for move in ("cancel", "complete", "release")),
        *(
            f"POST /orders/{NUMBER}/{act}{undo}"
            for act in ("hand-over", "uncollected", "send-back")
            for undo in ("", "/undo")
        ),
        *("GET /menu/availability", "POST /menu/availability"),
        "POST /orders/by-external-id/uber/84H9B/cancel",
        "POST /orders/by-idempotency-key/order-4711-of-till-2/cancel",
    },
    "metrics": {"GET /docs", "GET /docs/docs.js", "GET /openapi.json", "GET /metrics"},
    "administer": {
        *("GET /audit", "GET /access", "GET /devices", "DELETE /devices/1"),
        *("GET /pins", "PUT /pins"),
        *("GET /users", "GET /api-keys", *CHANGES_OF_CALLERS),
        *("POST /privacy/export", "POST /privacy/erase"),
        *(line for line in TABLE if " /dead-letters" in line),
    },
}
PATHS = ("", "?asgi")  # a query is left to ASGI
# Through a proxy, so that the documentation is not open as it is for this machine.
FORWARDED = {"X-Forwarded-For": "192.0.2.7"}


@dataclass(frozen=True)
class Guarded:
    """A guarded site over HTTP, and the headers of each caller."""

    client: httpx.AsyncClient
    headers: Mapping[str, Mapping[str, str]]

    async def send(self, line: str, headers: Mapping[str, str]) -> int:
        """Send the request of a line, and return the status of its response."""
        method, _, path = line.partition(" ")
        content = make_order_body() if line.startswith("POST /orders") else b"{}"
        body = {"content": content} if method == "POST" else {}
        sent = JSON | FORWARDED | dict(headers)
        async with self.client.stream(method, path, headers=sent, **body) as response:  # type: ignore[arg-type]
            return response.status_code


def outcome(status: int) -> str:
    """Return what the caller gets."""
    return {401: SIGN_IN, 403: FORBIDDEN}.get(status, ALLOWED)


async def sign_in(client: httpx.AsyncClient, name: str) -> Mapping[str, str]:
    """Sign in; return the header with the cookie."""
    response = await client.post("/session", json={"name": name, "password": PASSWORD})
    assert response.status_code == 200, response.text
    cookie = response.headers["Set-Cookie"].partition(";")[0]
    client.cookies.clear()
    return MappingProxyType({"Cookie": cookie})


@pytest.fixture
async def guarded(database: Database) -> AsyncIterator[Guarded]:
    """Serve a guarded site, with a signed-in person of each role and a key of each scope."""
    for role in Role:
        await make_users(database).add(role, role, PASSWORD)
    keys: dict[str, Mapping[str, str]] = {
        scope: {"Authorization": f"Bearer {await make_keys(database).add(scope, [scope])}"}
        for scope in SCOPES
    }
    async with (
        guarded_site(database) as site,
        serve_site(site) as address,
        httpx.AsyncClient(base_url=address, timeout=30, verify=False) as client,  # noqa: S501 - no TLS
    ):
        people: dict[str, Mapping[str, str]] = {role: await sign_in(client, role) for role in Role}
        yield Guarded(client, {"anonymous": {}} | people | keys)


# One after the other, because each caller's site would take longer to start than all requests.
async def test_each_caller_may_do_what_the_table_says(guarded: Guarded) -> None:
    ends_session = {"DELETE /session", "POST /sign-out"}
    expected = {
        (line, caller): allowed
        for line, outcomes in TABLE.items()
        for caller, allowed in zip(CALLERS, outcomes, strict=True)
        if line not in ends_session or caller == "anonymous"
    }

    found = {
        (line, caller): outcome(await guarded.send(line, guarded.headers[caller]))
        for line, caller in expected
    }

    assert found == expected


async def test_each_scope_of_an_api_key_opens_its_routes_only(guarded: Guarded) -> None:
    closed = [line for line, outcomes in TABLE.items() if outcomes not in (EVERYBODY, BY_SIGNATURE)]
    expected = {
        (line, scope): ALLOWED if line in BY_SCOPE[scope] else FORBIDDEN
        for line in closed
        for scope in SCOPES
    }

    found = {
        (line, scope): outcome(await guarded.send(line, guarded.headers[scope]))
        for line, scope in expected
    }

    assert found == expected


PARAMETERS = {
    "{order_number}": NUMBER,
    "{token}": TOKEN,
    "{station}": "grill",
    "{action}": "start",
    "{device_id}": "1",
    "{letter_id}": LETTER,
    "{channel}": "uber",
    "{external_id}": "84H9B",
    "{key}": "order-4711-of-till-2",
    "{platform}": "deliverect",
}
FOR_PEOPLE = {"POST /devices": ["administer"], "PUT /session/pin": []}


async def test_document_says_for_each_operation_what_the_table_says(guarded: Guarded) -> None:
    """Which scopes and sessions, whether none is needed, and the responses to others."""
    manager = dict(guarded.headers["manager"])
    document = (await guarded.client.get("/openapi.json", headers=manager)).json()
    schemes = document["components"]["securitySchemes"]
    assert (schemes["api_key"]["type"], schemes["api_key"]["scheme"]) == ("http", "bearer")
    assert (schemes["session"]["in"], schemes["session"]["name"]) == ("cookie", "session")

    declared = {}
    for path, operations in document["paths"].items():
        for name, value in PARAMETERS.items():
            path = path.replace(name, value)  # noqa: PLW2901
        for method, operation in operations.items():
            declared[f"{method.upper()} {path}"] = operation
    assert declared.keys() <= TABLE.keys()

    for line, operation in declared.items():
        security, responses = operation["security"], operation["responses"].keys()
        is_open = TABLE[line] is EVERYBODY
        scopes = [scope for scope, lines in BY_SCOPE.items() if line in lines]
        assert (security == [] or {} in security) == is_open, line
        keys = [each["api_key"] for each in security if "api_key" in each]
        sessions = [each["session"] for each in security if "session" in each]
        names = {name for each in security for name in each}
        if TABLE[line] is BY_SIGNATURE:
            assert "deliverect_signature" in names <= schemes.keys()
            assert not names & {"api_key", "session"}
        if line in FOR_PEOPLE:
            assert (keys, sessions) == ([], [FOR_PEOPLE[line]])
        else:
            assert keys in ([], [scopes]), line
            assert sessions in ([], [scopes]), line
        assert is_open or ("401" in responses and "403" in responses), line
        assert ("403" in responses) == (not is_open or not line.startswith("GET ")), line
        assert "429" in responses, line


async def test_placing_is_guarded_on_both_paths_and_for_repeated_headers(guarded: Guarded) -> None:
    """A query is left to ASGI. From the second request on, the fast path knows the headers."""
    statuses = {
        "anonymous": 401,
        "kitchen": 403,
        "staff": 201,
        "manager": 201,
        "place_orders": 201,
        "read_orders": 403,
    }

    answers = {
        (caller, query): [
            await guarded.client.post(
                f"/orders{query}",
                content=make_order_body(),
                headers=JSON | dict(guarded.headers[caller]),
            )
            for _ in range(3)
        ]
        for caller, query in itertools.product(statuses, PATHS)
    }

    assert {
        request: [answer.status_code for answer in repeated]
        for request, repeated in answers.items()
    } == {(caller, query): [statuses[caller]] * 3 for caller, query in answers}
    for query in PATHS:
        refused = answers["anonymous", query][-1]
        assert refused.headers["WWW-Authenticate"] == "Bearer"
        assert "/sign-in" in refused.json()["detail"]


async def test_only_status_and_estimate_are_shown_to_those_who_may_not_read_orders(
    guarded: Guarded, database: Database
) -> None:
    """A query is left to ASGI."""
    may_read_orders = {
        "anonymous": False,
        "kitchen": False,
        "place_orders": False,
        "staff": True,
        "manager": True,
        "read_orders": True,
    }
    number, _ = await place_personal_order(guarded)
    await execute(database, BEGIN_TO_COOK)

    answers = {
        (caller, query): [
            await guarded.client.get(
                f"/orders/{number}/status{query}", headers=dict(guarded.headers[caller])
            )
            for _ in range(3)
        ]
        for caller, query in itertools.product(may_read_orders, PATHS)
    }

    assert {
        request: [answer.json() for answer in repeated] for request, repeated in answers.items()
    } == {
        (caller, query): [
            {
                "order_number": number,
                "current_status": "cooking",
                "updated_at": "2024-12-16T12:00:00.000Z" if may_read_orders[caller] else None,
                "estimated_completion": "2124-12-16T12:08:00.000Z",
                "processed_by": "bartholomew" if may_read_orders[caller] else None,
            }
        ]
        * 3
        for caller, query in answers
    }


BY_NUMBER = [
    line.removeprefix("GET ")
    for line, outcomes in TABLE.items()
    if line.startswith("GET ") and outcomes[0] is ALLOWED and TOKEN not in line
]


async def test_order_number_alone_shows_no_more_than_status_and_estimate_on_any_route(
    guarded: Guarded, database: Database
) -> None:
    """The customer's link shows the items besides, and nothing about the customer."""
    number, link = await place_personal_order(guarded)
    await execute(database, BEGIN_TO_COOK)
    token = link.rpartition("/")[2]

    by_number = {
        path: await first_part_of(guarded.client, path.replace(NUMBER, number))
        for path in BY_NUMBER
    }
    board = await first_part_of(guarded.client, "/live/board?order_types=delivery")
    by_link = {
        path: await first_part_of(guarded.client, path)
        for path in (f"/orders/{number}/tracking/{token}", f"/live{link}", link)
    }

    of_the_order = ("Quux", "Zanzibar", "twice", "Agatha", "Calzone", "12.34", "order_type")
    hidden = (*of_the_order, "bartholomew", "2024-12-16T12:00", token)
    assert [path for path, text in by_number.items() if contains(text, hidden)] == []
    assert not contains(board, hidden)
    assert number in board
    shows_number = {path for path, text in by_number.items() if number in text}
    assert shows_number == {f"/orders/{NUMBER}/status", f"/live/track/{NUMBER}"}
    personal = ("Quux", "Zanzibar", "twice", "Agatha", "bartholomew", token)
    assert [path for path, text in by_link.items() if contains(text, personal)] == []
    assert [path for path, text in by_link.items() if "Calzone" in text] == [*by_link][:2]


BEGIN_TO_COOK = """
UPDATE orders SET status = 'cooking', processed_by = 'bartholomew',
    updated_at = '2024-12-16T12:00:00Z', estimated_completion = '2124-12-16T12:08:00Z'
"""


async def place_personal_order(guarded: Guarded) -> tuple[str, str]:
    """Place an order with personal data as staff; return its number and its link."""
    body = make_order_body(
        customer_name="Wilhelmina Quux",
        order_type="delivery",
        delivery_address="77 Zanzibar Crescent, Nowhere",
        notes="knock twice",
        items=[make_item(name="Calzone", price=12.34, notes="for aunt Agatha")],
    )
    headers = JSON | dict(guarded.headers["staff"])
    placed = await guarded.client.post("/orders", content=body, headers=headers)
    assert placed.status_code == 201, placed.text
    return placed.json()["order_number"], placed.json()["tracking_url"]


async def first_part_of(client: httpx.AsyncClient, path: str) -> str:
    """Return the body of a response to an anonymous caller, or the first part of a stream."""
    async with client.stream("GET", path, headers=FORWARDED) as response:
        assert response.status_code == (307 if path.startswith("/assets/") else 200), path
        if response.is_redirect:
            return ""
        if response.headers["Content-Type"].startswith("text/event-stream"):
            return await anext(response.aiter_text())
        return (await response.aread()).decode()


def contains(text: str, words: Sequence[str]) -> bool:
    """Tell whether a text contains any of these words."""
    return any(word in text for word in words)


async def test_live_view_of_an_order_has_only_the_status_for_those_who_may_not_read_it(
    guarded: Guarded,
) -> None:
    staff = JSON | dict(guarded.headers["staff"])
    placed = await guarded.client.post("/orders", content=make_order_body(), headers=staff)
    number = placed.json()["order_number"]

    shown = {
        caller: await first_entries(guarded, f"/live/track/{number}", caller)
        for caller in ("anonymous", "kitchen", "staff")
    }

    status = {"order_number", "status", "estimated_completion"}
    assert {caller: entries.keys() for caller, entries in shown.items()} == {
        "anonymous": {"order"},
        "kitchen": {"order"},
        "staff": {"order", "steps"},
    }
    assert {caller: entries["order"].keys() for caller, entries in shown.items()} == {
        "anonymous": status,
        "kitchen": status,
        "staff": status | {"order_type", "handoff", "ready_at"},
    }


async def first_entries(guarded: Guarded, path: str, caller: str) -> dict[str, Any]:
    """Open a live view; return the entries of its first event."""
    headers = dict(guarded.headers[caller])
    async with guarded.client.stream("GET", path, headers=headers) as stream:
        async for line in stream.aiter_lines():
            if line.startswith("data: "):
                entries: dict[str, Any] = json.loads(line.removeprefix("data: ")).get("entries", {})
                return entries
    raise AssertionError("the live view ended without an event")


async def test_everybody_may_place_orders_if_ordering_is_public(database: Database) -> None:
    """Except for a person whose role does not allow it; and not with the id of a platform."""
    await make_users(database).add("Kitty", Role.KITCHEN, PASSWORD)
    public = frozenset({Capability.PLACE_ORDERS})
    async with (
        guarded_site(database, public=public) as site,
        serve_site(site) as address,
        httpx.AsyncClient(base_url=address, timeout=30, verify=False) as client,  # noqa: S501 - no TLS
    ):
        kitty = await sign_in(client, "kitty")
        body = make_order_body()
        placed = [await client.post("/orders", content=body, headers=JSON) for _ in range(2)]
        taken = make_order_body(channel="eats", external_id="7")
        refused_ids = [
            await client.post(f"/orders{query}", content=taken, headers=JSON)
            for query in ("", "?asgi")
        ]
        shop = await make_keys(database).add("shop", [Capability.PLACE_ORDERS])
        by_key = await client.post(
            "/orders", content=taken, headers=JSON | {"Authorization": f"Bearer {shop}"}
        )
        refused = await client.post("/orders", content=body, headers=JSON | dict(kitty))
        listed = await client.get("/orders")

    assert [each.status_code for each in (*placed, by_key)] == [201, 201, 201]
    for each in refused_ids:
        assert each.status_code == 400
        assert [error["field"] for error in each.json()["errors"]] == ["channel", "external_id"]
    assert (refused.status_code, listed.status_code) == (403, 401)


async def test_open_site_is_open_to_everybody(database: Database) -> None:
    async with (
        guarded_site(database, is_open=True) as site,
        serve_site(site) as address,
        httpx.AsyncClient(base_url=address, timeout=30, verify=False) as client,  # noqa: S501 - no TLS
    ):
        open_site = Guarded(client, {})
        found = {line: outcome(await open_site.send(line, {})) for line in TABLE}

    closed = {line for line, result in found.items() if result is not ALLOWED}
    # The metrics are closed to a proxy; only a person enrols a device, and only a known caller
    # changes who may call once access is controlled.
    by_signature = {line for line, outcomes in TABLE.items() if outcomes is BY_SIGNATURE}
    expected = {"GET /metrics", "PUT /session/pin", "POST /devices", *CHANGES_OF_CALLERS}
    expected |= by_signature
    assert closed == expected


async def test_documentation_and_metrics_are_open_to_programs_on_this_machine(
    guarded: Guarded,
) -> None:
    for path in ("/docs", "/metrics"):
        direct = await guarded.client.get(path)
        forwarded = await guarded.client.get(path, headers=FORWARDED)

        assert (path, direct.status_code, forwarded.status_code) == (path, 200, 401)


async def test_page_leads_to_the_sign_in_page_and_back(guarded: Guarded) -> None:
    response = await guarded.client.get(
        "/kitchen?station=grill&x=//evil", headers={"Accept": "text/html,*/*"}
    )

    assert response.status_code == 303
    assert response.headers["Location"] == (
        "/sign-in?next=%2Fkitchen%3Fstation%3Dgrill%26x%3D%2F%2Fevil"
    )


async def test_move_by_a_person_is_recorded_under_the_persons_name(guarded: Guarded) -> None:
    staff = JSON | dict(guarded.headers["staff"])
    key = JSON | dict(guarded.headers["move_orders"])
    client = guarded.client

    async def cancel(headers: Mapping[str, str], body: str) -> str:
        placed = await client.post("/orders", content=make_order_body(), headers=staff)
        number = placed.json()["order_number"]
        moved = await client.post(f"/orders/{number}/cancel", content=body, headers=headers)
        assert moved.status_code == 200, moved.text
        history = await client.get(f"/orders/{number}/history", headers=staff)
        changed_by: str = history.json()[-1]["changed_by"]
        return changed_by

    assert await cancel(staff, '{"changed_by": "somebody else"}') == "staff"
    assert await cancel(key, "") == "move_orders"
    assert await cancel(key, '{"changed_by": "Anna at till 3"}') == "Anna at till 3"
