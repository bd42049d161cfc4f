"""Users and API keys over HTTP: what managers may do, what is refused, what is recorded."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest

from restaurant_system.database import audit, users
from restaurant_system.database.connection import Database
from restaurant_system.models.access import Capability, Role
from tests.support.access import PASSWORD, PIN, guarded_site, make_keys, make_sign_in, make_users
from tests.support.database import WAITS_FOR_LOCK
from tests.support.responses import assert_problem
from tests.support.services import serve_site
from tests.support.waiting import eventually

CLIENT = "192.0.2.7"
NEW_PASSWORD = "  a new password "  # noqa: S105 - of users of tests
Headers = dict[str, str]


@pytest.fixture
async def client(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client of a guarded site with the managers Mia and Max, and Anna of the staff."""
    for name, role in (("Mia", Role.MANAGER), ("Max", Role.MANAGER), ("Anna", Role.STAFF)):
        await make_users(database).add(name, role, PASSWORD)
    async with (
        guarded_site(database) as site,
        serve_site(site) as address,
        httpx.AsyncClient(
            base_url=address,
            timeout=30,
            verify=False,  # noqa: S501 - no TLS
            headers={"X-Forwarded-For": CLIENT},
        ) as client,
    ):
        yield client


async def try_sign_in(client: httpx.AsyncClient, name: str, password: str) -> httpx.Response:
    """Send a name and a password."""
    response = await client.post("/session", json={"name": name, "password": password})
    client.cookies.clear()
    return response


async def sign_in(client: httpx.AsyncClient, name: str, password: str = PASSWORD) -> Headers:
    """Sign in; return the header with the cookie."""
    response = await try_sign_in(client, name, password)
    assert response.status_code == 200, response.text
    return {"Cookie": response.headers["Set-Cookie"].partition(";")[0]}


async def post(
    client: httpx.AsyncClient, path: str, headers: Headers, /, **body: object
) -> httpx.Response:
    """Send a request of a manager."""
    return await client.post(path, json=body, headers=headers)


def with_key(key: str) -> Headers:
    """Return the header with an API key."""
    return {"Authorization": f"Bearer {key}"}


async def entries_of(database: Database, who: str) -> list[dict[str, Any]]:
    """Return what a person or a program has done, the oldest first."""
    async with database.connection() as connection:
        rows = await audit.read(connection, before=None, limit=200)
    return [dict(row) for row in reversed(rows) if row["who"] == who]


async def test_manager_adds_disables_and_resets_users(
    client: httpx.AsyncClient, database: Database
) -> None:
    """A generated password is in one response alone; sessions end with what they rely on."""
    mia = await sign_in(client, "Mia")
    added = await post(
        client,
        "/users",
        mia | {"X-Request-ID": "add-1"},
        name=" Zoe ",
        role="kitchen",
        password=NEW_PASSWORD,
    )
    generated = await post(client, "/users", mia, name="Bert", role="staff")
    zoe = await sign_in(client, "zoe", NEW_PASSWORD)
    bert = await sign_in(client, "bert", generated.json()["password"])
    await make_users(database).set_pin("Zoe", PIN)
    with_pin = (await client.get("/users", headers=mia)).json()["users"]
    disabled = await post(client, "/users/disable", mia, name="ZOE")
    reset = await post(client, "/users/reset", mia, name="bert")
    refused = await try_sign_in(client, "Zoe", NEW_PASSWORD)
    listed = await client.get("/users", headers=mia)
    enabled = await post(client, "/users/reset", mia, name="zoe", password=PASSWORD)
    after = (await client.get("/users", headers=mia)).json()["users"]

    assert (added.status_code, added.json()) == (201, {"name": "Zoe", "password": None})
    assert (generated.status_code, generated.json()["name"]) == (201, "Bert")
    assert {each.headers["Cache-Control"] for each in (generated, reset, listed)} == {"no-store"}
    assert disabled.status_code == 204
    assert reset.json()["password"] not in (None, generated.json()["password"])
    assert_problem(refused, 401)
    assert (enabled.status_code, enabled.json()) == (200, {"name": "Zoe", "password": None})
    for old in (zoe, bert):
        async with database.connection() as connection:
            token = old["Cookie"].partition("=")[2]
            found = await connection.fetchval(
                "SELECT count(*) FROM sessions WHERE token_hash = sha256($1)", token.encode()
            )
        assert found == 0
    await sign_in(client, "Bert", reset.json()["password"])
    await sign_in(client, "Zoe", PASSWORD)

    names = ["Anna", "Bert", "Max", "Mia", "Zoe"]
    assert [each["name"] for each in listed.json()["users"]] == names
    assert [each["has_pin"] for each in with_pin] == [False, False, False, False, True]
    assert [each["disabled_at"] is not None for each in listed.json()["users"]][-1]
    assert (after[-1]["disabled_at"], after[-1]["has_pin"]) == (None, False)
    assert (after[-1]["role"], after[-1]["created_at"][-1]) == ("kitchen", "Z")
    recorded = await entries_of(database, "Mia")
    assert [
        (each["action"], each["target"], json.loads(each["details"])) for each in recorded[1:]
    ] == [
        ("add_user", "Zoe", {"role": "kitchen"}),
        ("add_user", "Bert", {"role": "staff"}),
        ("disable_user", "Zoe", {}),
        ("reset_user", "Bert", {}),
        ("reset_user", "Zoe", {}),
    ]
    assert {(each["role"], each["client"]) for each in recorded} == {("manager", CLIENT)}
    assert recorded[1]["request_id"] == "add-1"
    assert_no_secret(recorded, NEW_PASSWORD, generated.json()["password"])


async def test_manager_adds_disables_and_resets_api_keys(
    client: httpx.AsyncClient, database: Database
) -> None:
    """A key is in one response alone. A program with the scope `administer` may do the same."""
    mia = await sign_in(client, "Mia")
    scopes = ["read_orders", "administer", "read_orders"]
    added = await post(client, "/api-keys", mia, name=" Till 3 ", scopes=scopes)
    till = with_key(added.json()["key"])
    by_till = await post(client, "/api-keys", till, name="Board", scopes=["metrics"])
    reset = await post(client, "/api-keys/reset", till, name="board")
    old, new = [
        await client.get("/metrics", headers=with_key(each.json()["key"]))
        for each in (by_till, reset)
    ]
    disabled = await post(client, "/api-keys/disable", mia, name="BOARD")
    listed = await client.get("/api-keys", headers=till)

    assert (added.status_code, by_till.status_code, reset.status_code) == (201, 201, 200)
    assert added.headers["Cache-Control"] == reset.headers["Cache-Control"] == "no-store"
    assert list(added.json()) == ["key"]
    assert (old.status_code, new.status_code, disabled.status_code) == (401, 200, 204)
    board, found = listed.json()["api_keys"]
    assert (found["name"], found["scopes"]) == ("Till 3", ["read_orders", "administer"])
    assert (board["disabled_at"] is None, found["disabled_at"]) == (False, None)
    keys = [each.json()["key"] for each in (added, by_till, reset)]
    assert not any(key in listed.text for key in keys)
    by_mia, by_program = [await entries_of(database, who) for who in ("Mia", "Till 3")]
    assert [(each["action"], each["target"]) for each in by_mia[1:]] == [
        ("add_key", "Till 3"),
        ("disable_key", "Board"),
    ]
    assert [(each["action"], each["role"], each["client"]) for each in by_program] == [
        ("add_key", None, CLIENT),
        ("reset_key", None, CLIENT),
    ]
    assert_no_secret([*by_mia, *by_program], *keys)


def assert_no_secret(recorded: list[dict[str, Any]], *secrets: str) -> None:
    """Assert that the record contains none of these."""
    assert not any(secret in str(recorded) for secret in secrets)


async def test_invalid_unknown_and_taken_names_are_refused_without_effect(
    client: httpx.AsyncClient, database: Database
) -> None:
    await make_keys(database).add("Till", [Capability.METRICS])
    mia = await sign_in(client, "Mia")
    user, key = {"name": "Zoe", "role": "staff"}, {"name": "Board", "scopes": ["metrics"]}
    invalid: list[tuple[str, dict[str, Any], list[str]]] = [
        ("/users", {}, ["name", "role"]),
        ("/users", user | {"name": "\u202e", "role": "boss"}, ["name", "role"]),
        ("/users", user | {"password": "brief"}, ["password"]),
        ("/users", user | {"password": ""}, ["password"]),
        ("/users", user | {"admin": True}, ["admin"]),
        ("/users/reset", {"name": "Anna", "password": "tab\tin the middle"}, ["password"]),
        ("/users/disable", {"name": 1}, ["name"]),
        ("/api-keys", {"name": "Board", "scopes": []}, ["scopes"]),
        ("/api-keys", key | {"scopes": ["metrics", "read_status", "x"]}, ["scopes.1", "scopes.2"]),
        ("/api-keys/reset", {"name": ""}, ["name"]),
    ]
    refused: list[tuple[str, dict[str, Any], int]] = [
        ("/users", user | {"name": "ANNA"}, 409),
        ("/api-keys", key | {"name": "TILL"}, 409),
        ("/users/disable", {"name": "Zoe"}, 404),
        ("/users/reset", {"name": "Zoe"}, 404),
        ("/api-keys/disable", {"name": "Board"}, 404),
        ("/api-keys/reset", {"name": "Board"}, 404),
    ]

    document = (await client.get("/openapi.json", headers=mia)).json()
    for path, body, fields in invalid:
        response = await post(client, path, mia, **body)
        assert_problem(response, 400)
        assert [each["field"] for each in response.json()["errors"]] == fields, path
        assert not any(word in response.text for word in ("brief", "read_status"))
        if fields == ["password"]:
            assert "must have 8 to 200 characters" in response.text
    for path, body, status in refused:
        response = await post(client, path, mia, **body)
        assert_problem(response, status)
        documented = document["paths"][path]["post"]["responses"].keys()
        assert documented & {"200", "201", "204"}
        assert {"400", str(status)} <= documented
        assert body["name"] in response.json()["detail"]

    assert [each["action"] for each in await entries_of(database, "Mia")] == ["sign_in"]


async def test_last_manager_is_not_disabled(client: httpx.AsyncClient, database: Database) -> None:
    """Also if two managers disable each other at once; disabled ones and other roles do not count.

    The one who is disabled first may do nothing any more, though the process still knows the
    session.
    """
    mia = await sign_in(client, "Mia")
    async with database.transaction() as tx:
        await users.lock(tx)
        await users.disable_user(tx, "Mia")
        at_once = asyncio.create_task(post(client, "/users/disable", mia, name="Max"))

        async def has_got_further() -> bool:
            async with database.connection() as connection:
                return at_once.done() or await connection.fetchval(WAITS_FOR_LOCK)

        await eventually(has_got_further, doing="for the request to wait")

    assert_problem(await at_once, 401)
    key = with_key(await make_keys(database).add("Script", [Capability.ADMINISTER]))
    last = await post(client, "/users/disable", key, name="MAX")
    assert_problem(last, 409)
    assert "add another manager first" in last.json()["detail"]
    assert (await post(client, "/users/disable", key, name="Anna")).status_code == 204
    assert (await post(client, "/users/reset", key, name="Max")).status_code == 200
    await make_users(database).disable("Max")  # by a command, which can undo it


async def test_ended_right_to_administer_changes_nothing_any_more(
    client: httpx.AsyncClient, database: Database
) -> None:
    """Though the process still knows the caller: else a disabled manager could come back."""
    accounts, keys = make_users(database), make_keys(database)
    first, second = [await keys.add(name, [Capability.ADMINISTER]) for name in ("First", "Second")]
    ended = [
        (await sign_in(client, "Mia"), accounts.disable("Mia")),
        (await sign_in(client, "Max"), accounts.reset("Max", NEW_PASSWORD)),
        (with_key(first), keys.disable("First")),
        (with_key(second), keys.reset("Second")),
    ]
    for caller, end in ended:
        assert (await client.get("/users", headers=caller)).status_code == 200
        await end

        answers = [
            await post(client, "/users", caller, name="Zoe", role="manager"),
            await post(client, "/users/reset", caller, name="Mia"),
            await post(client, "/users/disable", caller, name="Anna"),
            await post(client, "/api-keys", caller, name="Zoe", scopes=["administer"]),
            await post(client, "/api-keys/reset", caller, name="First"),
            await post(client, "/api-keys/disable", caller, name="Second"),
        ]

        assert [answer.status_code for answer in answers] == [401] * len(answers)


async def test_change_that_cannot_be_recorded_does_not_take_effect(database: Database) -> None:
    accounts, keys = make_users(database), make_keys(database)
    await accounts.add("Anna", Role.STAFF, PASSWORD)
    await keys.add("Till", [Capability.METRICS])
    await make_sign_in(database).sign_in("Anna", PASSWORD, CLIENT)
    before = await state_of(database)
    async with database.connection() as connection:
        await connection.execute("ALTER TABLE audit_log ADD CHECK (false) NOT VALID")

    for change in (
        accounts.add("Zoe", Role.STAFF, PASSWORD),
        accounts.reset("Anna", NEW_PASSWORD),
        accounts.disable("Anna"),
        keys.add("Board", [Capability.METRICS]),
        keys.reset("Till"),
        keys.disable("Till"),
    ):
        with pytest.raises(asyncpg.CheckViolationError):
            await change

    assert await state_of(database) == before


async def state_of(database: Database) -> list[str]:
    """Return everything that is stored about users, sessions and keys."""
    async with database.connection() as connection:
        return [
            await connection.fetchval(f"SELECT string_agg(t::text, ' ' ORDER BY t) FROM {table} t")  # noqa: S608 - constants
            for table in ("users", "sessions", "api_keys")
        ]
