"""PINs: signing in on enrolled devices, refused PINs, and the end of sessions and devices."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import timedelta

import httpx
import pytest

from restaurant_system.database import audit, sessions, users
from restaurant_system.database.connection import Database
from restaurant_system.database.devices import Device
from restaurant_system.errors import (
    DeviceNotEnrolled,
    NameTaken,
    NotSignedIn,
    PinRefused,
    PinWrong,
    SignInFailed,
    TooManyAttempts,
)
from restaurant_system.models.access import (
    Capability,
    Credential,
    CredentialKind,
    Role,
    new_token,
)
from restaurant_system.models.clock import utc_now
from restaurant_system.services.access.administration import Devices
from restaurant_system.services.access.pins import DEVICE_FAILURES_FORGOTTEN_AFTER, Pins
from restaurant_system.services.access.sign_in import SignedIn, SignIn
from tests.support.access import (
    PASSWORD,
    PIN,
    PIN_SESSION_LIFETIME,
    TRIES_PER_DEVICE,
    TRIES_PER_PIN,
    guarded_site,
    make_keys,
    make_pins,
    make_sign_in,
    make_users,
)
from tests.support.responses import assert_problem
from tests.support.services import FakeClock, serve_site

HOME = "192.0.2.1"
OTHER_PIN = "7412"
NOW = utc_now()
TOMORROW = NOW + timedelta(days=1)


@pytest.fixture
async def people(database: Database, clock: FakeClock) -> SignIn:
    """Return what signs people in: Anna (staff), Bert and Carl (kitchen), Mia (manager)."""
    administration = make_users(database)
    roles = {"Anna": Role.STAFF, "Bert": Role.KITCHEN, "Carl": Role.KITCHEN, "Mia": Role.MANAGER}
    for name, role in roles.items():
        await administration.add(name, role, PASSWORD)
        await administration.set_pin(name, PIN)
    return make_sign_in(database, clock=clock)


@pytest.fixture
async def pins(people: SignIn, database: Database, clock: FakeClock) -> Pins:  # noqa: ARG001 - have PINs
    """Return what signs the people in with their PINs."""
    return make_pins(database, clock=clock)


async def open_session(database: Database) -> Credential:
    """Open a session of a manager, without the time that a password takes."""
    credential = Credential.of(CredentialKind.SESSION, new_token().encode())
    async with database.transaction() as tx:
        await users.add_user(tx, "Zara", Role.MANAGER, "")
        zara = await users.find_user(tx, "Zara")
        assert zara is not None
        await sessions.add(tx, credential.digest, zara.id, created_at=NOW, expires_at=TOMORROW)
    return credential


async def enrol(database: Database, name: str = "Kitchen tablet") -> Device:
    """Enrol a device."""
    devices, session = Devices(database), await open_session(database)
    token = await devices.enrol(name, session=session, previous=None)
    device = await devices.find(token.encode())
    assert device is not None
    return device


@pytest.fixture
async def device(database: Database) -> Device:
    """Enrol a device."""
    return await enrol(database)


async def fail(pins: Pins, device: Device, name: str = "Anna", times: int = 1) -> None:
    """Send wrong PINs."""
    for _ in range(times):
        with pytest.raises(PinWrong):
            await pins.sign_in(device, name, OTHER_PIN, HOME)


async def is_valid(people: SignIn, session: SignedIn) -> bool:
    """Return whether a session has an owner."""
    credential = Credential.of(CredentialKind.SESSION, session.token.encode())
    return await people.identify(credential) is not None


async def test_manager_with_a_pin_does_not_administer(
    people: SignIn, pins: Pins, device: Device
) -> None:
    session = await pins.sign_in(device, "mia", PIN, HOME)

    credential = Credential.of(CredentialKind.SESSION, session.token.encode())
    assert await people.identify(credential) == session.caller
    assert (session.caller.role, session.caller.device) == (Role.MANAGER, device.name)
    assert session.caller.capabilities == frozenset(Capability) - {Capability.ADMINISTER}


async def test_session_of_a_pin_is_short(
    people: SignIn, pins: Pins, device: Device, clock: FakeClock
) -> None:
    session = await pins.sign_in(device, "Anna", PIN, HOME)

    clock.now += PIN_SESSION_LIFETIME - timedelta(seconds=1)
    assert await is_valid(people, session)
    clock.now += timedelta(seconds=1)
    assert not await is_valid(people, session)


async def test_removed_device_ends_its_sessions_and_accepts_no_pin(
    people: SignIn, pins: Pins, device: Device, database: Database
) -> None:
    other = await enrol(database, "Counter")
    ended = await pins.sign_in(device, "Anna", PIN, HOME)
    kept = await pins.sign_in(other, "Anna", PIN, HOME)
    with_password = await people.sign_in("Anna", PASSWORD, HOME)

    await Devices(database).remove(device.id)

    assert [await is_valid(people, each) for each in (ended, kept, with_password)] == [
        False,
        True,
        True,
    ]
    with pytest.raises(DeviceNotEnrolled):  # removed since the request began
        await pins.sign_in(device, "Anna", PIN, HOME)
    with pytest.raises(DeviceNotEnrolled):
        await pins.sign_in(None, "Anna", PIN, HOME)


async def test_device_that_is_removed_meanwhile_keeps_no_session(
    people: SignIn, pins: Pins, device: Device, database: Database
) -> None:
    results = await asyncio.gather(
        *(pins.sign_in(device, name, PIN, HOME) for name in ("Anna", "Bert", "Carl")),
        Devices(database).remove(device.id),
        return_exceptions=True,
    )

    opened = [each for each in results if isinstance(each, SignedIn)]
    assert [await is_valid(people, each) for each in opened] == [False] * len(opened)
    assert {type(each) for each in results} <= {SignedIn, DeviceNotEnrolled, type(None)}


async def test_pin_is_refused_after_wrong_ones_whatever_the_time(
    pins: Pins, device: Device, database: Database, clock: FakeClock
) -> None:
    """On all devices, also if there are days in between; PINs of others are accepted."""
    other = await enrol(database, "Counter")
    for place in range(TRIES_PER_PIN):
        await fail(pins, (device, other)[place % 2])
        clock.now += timedelta(days=2)

    for each in (device, other):
        with pytest.raises(PinRefused):
            await pins.sign_in(each, "Anna", PIN, HOME)
    assert (await pins.sign_in(device, "Bert", PIN, HOME)).caller.name == "Bert"


async def test_parallel_wrong_pins_are_all_counted(pins: Pins, database: Database) -> None:
    """From different devices, so that no device is locked."""
    devices = [await enrol(database, str(place)) for place in range(8)]

    results = await asyncio.gather(
        *(pins.sign_in(each, "Anna", OTHER_PIN, HOME) for each in devices), return_exceptions=True
    )

    kinds = [type(each) for each in results]
    assert (kinds.count(PinWrong), kinds.count(PinRefused)) == (TRIES_PER_PIN, 8 - TRIES_PER_PIN)


@pytest.mark.parametrize("remedy", ["password", "new PIN", "right PIN"])
async def test_wrong_pins_are_forgotten(
    people: SignIn, pins: Pins, device: Device, database: Database, remedy: str
) -> None:
    await fail(pins, device, times=TRIES_PER_PIN - (remedy == "right PIN"))

    match remedy:
        case "password":
            await people.sign_in("Anna", PASSWORD, HOME)
        case "new PIN":
            await make_users(database).set_pin("anna", PIN)
        case _:
            await pins.sign_in(device, "Anna", PIN, HOME)

    await fail(pins, device)
    assert (await pins.sign_in(device, "Anna", PIN, HOME)).caller.name == "Anna"


async def test_wrong_pins_do_not_lock_the_password(
    people: SignIn, pins: Pins, device: Device
) -> None:
    """Else anybody at the tablet could lock everybody out."""
    for name in ("Anna", "Bert"):
        await fail(pins, device, name, times=2)
    await fail(pins, device, "Zoe")

    assert (await people.sign_in("Anna", PASSWORD, HOME)).caller.device is None
    with pytest.raises(SignInFailed):
        await people.sign_in("Anna", PIN, HOME)


async def test_wrong_pins_of_several_people_delay_their_device(
    pins: Pins, device: Device, database: Database, clock: FakeClock
) -> None:
    """For some time: everybody who uses the device waits."""
    await fail(pins, device, "Zoe", times=TRIES_PER_DEVICE - 1)
    await pins.sign_in(device, "Anna", PIN, HOME)
    await fail(pins, device, "Zoe")

    with pytest.raises(TooManyAttempts, match="wrong PINs; try again in 1 s"):
        await pins.sign_in(device, "Anna", PIN, HOME)
    other = await enrol(database, "Counter")
    assert (await pins.sign_in(other, "Anna", PIN, HOME)).caller.name == "Anna"
    clock.now += DEVICE_FAILURES_FORGOTTEN_AFTER + timedelta(seconds=1)
    await fail(pins, device, "Zoe")
    assert (await pins.sign_in(device, "Anna", PIN, HOME)).caller.name == "Anna"


async def test_old_pin_and_its_sessions_end(people: SignIn, pins: Pins, database: Database) -> None:
    """With a new PIN and without one, and for a user who is disabled or reset."""
    administration = make_users(database)
    acts: Sequence[Callable[[], Awaitable[object]]] = (
        lambda: administration.set_pin("Anna", OTHER_PIN),
        lambda: administration.set_pin("Anna", None),
        lambda: administration.reset("Anna", PASSWORD),
        lambda: administration.disable("Anna"),
    )
    for place, act in enumerate(acts):
        device = await enrol(database, str(place))
        await administration.set_pin("Anna", PIN)
        session, other = [await pins.sign_in(device, name, PIN, HOME) for name in ("Anna", "Bert")]

        await act()

        assert [await is_valid(people, each) for each in (session, other)] == [False, True], place
        with pytest.raises(PinWrong):
            await pins.sign_in(device, "Anna", PIN, HOME)


async def test_pin_that_is_changed_meanwhile_keeps_no_session(
    people: SignIn, pins: Pins, device: Device, database: Database
) -> None:
    results = await asyncio.gather(
        *(pins.sign_in(device, "Anna", PIN, HOME) for _ in range(3)),
        make_users(database).set_pin("Anna", OTHER_PIN),
        return_exceptions=True,
    )

    opened = [each for each in results if isinstance(each, SignedIn)]
    assert [await is_valid(people, each) for each in opened] == [False] * len(opened)


@pytest.fixture
async def client(
    database: Database, people: SignIn, pins: Pins
) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client of a guarded site."""
    async with (
        guarded_site(database, sign_in=people, pins=pins) as site,
        serve_site(site) as address,
        httpx.AsyncClient(base_url=address, timeout=30, verify=False) as client,  # noqa: S501 - no TLS
    ):
        yield client


async def sign_in(client: httpx.AsyncClient, name: str) -> None:
    """Sign in with the password."""
    response = await client.post("/session", json={"name": name, "password": PASSWORD})
    assert response.status_code == 200, response.text


async def enrol_client(client: httpx.AsyncClient, name: str = "Kitchen tablet") -> httpx.Response:
    """Enrol the client as a device."""
    await sign_in(client, "Mia")
    return await client.post("/devices", json={"name": name})


async def test_device_is_enrolled_used_and_removed_over_http(client: httpx.AsyncClient) -> None:
    """Enrolling signs the manager out. Names of staff are shown to an enrolled device only."""
    unknown = await client.get("/device")
    enrolled = await enrol_client(client)
    after = await client.get("/session")
    known = await client.get("/device")
    opened = await client.post("/device/session", json={"name": "bert", "pin": PIN})
    shown = await client.get("/session")
    await client.delete("/session")
    await sign_in(client, "Mia")
    listed = (await client.get("/devices")).json()["devices"]
    removed = await client.delete(f"/devices/{listed[0]['id']}")
    again = await client.delete(f"/devices/{listed[0]['id']}")
    refused = await client.post("/device/session", json={"name": "bert", "pin": PIN})

    assert unknown.json() == {"name": None, "people": []}
    assert enrolled.status_code == 204
    assert after.json()["name"] is None
    assert known.json() == {"name": "Kitchen tablet", "people": ["Anna", "Bert", "Carl", "Mia"]}
    assert known.headers["Cache-Control"] == "no-store"
    assert opened.json() == shown.json()
    assert (shown.json()["name"], shown.json()["device"]) == ("Bert", "Kitchen tablet")
    assert (listed[0]["name"], listed[0]["is_this"]) == ("Kitchen tablet", True)
    assert listed[0]["last_used_at"] == "2024-12-16T12:00:00.000Z"
    assert removed.status_code == 204
    assert_problem(again, 404)
    assert_problem(refused, 401)


async def test_cookies_of_a_device_are_for_this_site_alone(client: httpx.AsyncClient) -> None:
    plain = await enrol_client(client)
    client.cookies.delete("device")
    await sign_in(client, "Mia")
    tls_headers = {"X-Forwarded-Proto": "https"}
    tls = await client.post("/devices", json={"name": "Counter"}, headers=tls_headers)
    cookie = tls.headers.get_list("Set-Cookie")[0].partition(";")[0]
    used = await client.post(
        "/device/session",
        json={"name": "Bert", "pin": PIN},
        headers=tls_headers | {"Cookie": cookie},
    )

    assert {"__Host-session", "__Host-device"} <= {
        each.partition("=")[0] for each in used.headers.get_list("Set-Cookie")
    }
    for response, name in ((plain, "device"), (tls, "__Host-device"), (used, "__Host-device")):
        (found,) = [
            each for each in response.headers.get_list("Set-Cookie") if each.startswith(f"{name}=")
        ]
        attributes = set(found.split("; ")[1:])
        assert {"HttpOnly", "SameSite=lax", "Path=/", "Max-Age=34560000"} <= attributes
        assert ("Secure" in attributes) == (response is not plain)


async def test_device_that_is_enrolled_again_takes_the_place_of_the_old_one(
    client: httpx.AsyncClient,
) -> None:
    await enrol_client(client, "Kitchen")
    await enrol_client(client, "KITCHEN")
    (listed,) = await devices_of(client)
    cookie = dict(client.cookies)
    client.cookies.delete("device")
    taken = await enrol_client(client, "kitchen")

    assert listed == ("KITCHEN", True)
    assert_problem(taken, 409)
    assert "session" in cookie


async def devices_of(client: httpx.AsyncClient) -> list[tuple[str, bool]]:
    """Return the names of the devices that a manager sees, and whether each is the client."""
    await sign_in(client, "Mia")
    listed = (await client.get("/devices")).json()["devices"]
    return [(each["name"], each["is_this"]) for each in listed]


async def test_enrolling_ends_the_session_of_the_manager_in_the_same_transaction(
    people: SignIn, database: Database
) -> None:
    session = await people.sign_in("Mia", PASSWORD, HOME)
    credential = Credential.of(CredentialKind.SESSION, session.token.encode())
    devices = Devices(database)

    await devices.enrol("Kitchen", session=credential, previous=None)

    assert not await is_valid(people, session)
    session = await people.sign_in("Mia", PASSWORD, HOME)
    credential = Credential.of(CredentialKind.SESSION, session.token.encode())
    with pytest.raises(NameTaken):
        await devices.enrol("Kitchen", session=credential, previous=None)
    assert await is_valid(people, session)


async def test_two_devices_are_not_enrolled_with_one_name(database: Database) -> None:
    results = await asyncio.gather(
        *(enrol(database, name) for name in ("Kitchen", "kitchen")), return_exceptions=True
    )

    assert [type(each).__name__ for each in results].count("NameTaken") == 1


async def test_one_session_enrols_one_device(database: Database) -> None:
    session, devices = await open_session(database), Devices(database)

    results = await asyncio.gather(
        *(devices.enrol(name, session=session, previous=None) for name in ("Bar", "Kitchen")),
        return_exceptions=True,
    )

    assert [type(each) for each in results].count(NotSignedIn) == 1
    assert len(await devices.list()) == 1


async def test_session_that_a_reset_has_ended_sets_no_pin(
    client: httpx.AsyncClient, database: Database
) -> None:
    await sign_in(client, "Anna")
    await client.get("/session")  # from now on the service knows the caller, for 2 s
    await make_users(database).reset("Anna", PASSWORD)

    response = await client.put("/session/pin", json={"pin": OTHER_PIN})

    assert_problem(response, 401)
    async with database.connection() as connection:
        anna = await users.find_user(connection, "Anna")
    assert anna is not None
    assert anna.pin_hash is None


async def test_pin_administers_nothing_and_sets_no_pin(client: httpx.AsyncClient) -> None:
    await enrol_client(client)
    await client.post("/device/session", json={"name": "Mia", "pin": PIN})

    for method, path, body in (
        ("GET", "/devices", None),
        ("GET", "/pins", None),
        ("GET", "/audit", None),
        ("POST", "/devices", {"name": "Other"}),
        ("PUT", "/pins", {"name": "Anna", "pin": OTHER_PIN}),
        ("PUT", "/session/pin", {"pin": OTHER_PIN}),
    ):
        response = await client.request(method, path, json=body)
        assert_problem(response, 403)
        assert "password" in response.json()["detail"], path


async def test_program_enrols_no_device_and_has_no_pin(
    client: httpx.AsyncClient, database: Database
) -> None:
    key = await make_keys(database).add("Admin", [Capability.ADMINISTER])
    headers = {"Authorization": f"Bearer {key}"}

    enrolled = await client.post("/devices", json={"name": "Bot"}, headers=headers)
    own = await client.put("/session/pin", json={"pin": OTHER_PIN}, headers=headers)
    listed = await client.get("/pins", headers=headers)

    assert_problem(enrolled, 403)
    assert_problem(own, 403)
    assert listed.status_code == 200


async def test_person_sets_the_own_pin_and_a_manager_that_of_others(
    client: httpx.AsyncClient,
) -> None:
    await sign_in(client, "Anna")
    own = await client.put("/session/pin", json={"pin": OTHER_PIN})
    easy = await client.put("/session/pin", json={"pin": "1234"})
    await enrol_client(client)
    with_own = await client.post("/device/session", json={"name": "Anna", "pin": OTHER_PIN})
    for _ in range(TRIES_PER_PIN):
        await client.post("/device/session", json={"name": "Bert", "pin": OTHER_PIN})
    refused = await client.post("/device/session", json={"name": "Bert", "pin": PIN})
    await sign_in(client, "Mia")
    before = state_of_bert(await client.get("/pins"))
    given = await client.put("/pins", json={"name": "bert", "pin": OTHER_PIN})
    after = state_of_bert(await client.get("/pins"))
    unknown = await client.put("/pins", json={"name": "Zoe", "pin": OTHER_PIN})

    assert own.status_code == given.status_code == 204
    assert_problem(easy, 400)
    assert "1234" not in easy.text
    assert with_own.status_code == 200
    assert_problem(refused, 403)
    assert (before["is_refused"], after["is_refused"]) == (True, False)
    assert_problem(unknown, 404)


def state_of_bert(response: httpx.Response) -> Mapping[str, bool]:
    """Return the entry of Bert."""
    (found,) = [each for each in response.json()["people"] if each["name"] == "Bert"]
    return dict(found)


async def test_invalid_pin_opens_no_session(client: httpx.AsyncClient) -> None:
    await enrol_client(client)
    bodies: Sequence[tuple[dict[str, object], int]] = (
        ({"name": "Anna", "pin": "1"}, 401),
        ({"name": "Bert", "pin": "abcd"}, 401),
        ({"name": "Zoe", "pin": PIN}, 401),
        ({"name": "Anna", "pin": ""}, 400),
        ({"name": "Anna", "pin": 2580}, 400),
        ({"name": "Anna", "pin": "2" * 9}, 400),
        ({"name": "Anna"}, 400),
    )
    for body, status in bodies:
        response = await client.post("/device/session", json=body)

        assert_problem(response, status)
        assert "Set-Cookie" not in response.headers


async def test_devices_and_pins_are_recorded(
    client: httpx.AsyncClient, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """With the name of the device, and never a PIN."""
    await enrol_client(client)
    await client.post("/device/session", json={"name": "Anna", "pin": OTHER_PIN})
    await client.post("/device/session", json={"name": "Anna", "pin": PIN})
    await client.delete("/session")
    await sign_in(client, "Mia")
    await client.put("/pins", json={"name": "Anna", "pin": OTHER_PIN})
    await client.put("/pins", json={"name": "Anna", "pin": None})
    await client.delete(f"/devices/{(await client.get('/devices')).json()['devices'][0]['id']}")

    async with database.connection() as connection:
        rows = await audit.read(connection, before=None, limit=50)
    found = [
        (row["who"], row["action"], row["target"], row["details"])
        for row in reversed(rows)
        if row["request_id"] is not None
    ]
    on_tablet = '{"device": "Kitchen tablet"}'
    assert found == [
        ("Mia", "sign_in", None, "{}"),
        ("Mia", "enrol_device", "Kitchen tablet", "{}"),
        ("Mia", "sign_out", None, "{}"),
        (None, "sign_in_failed", "Anna", on_tablet),
        ("Anna", "sign_in", None, on_tablet),
        ("Anna", "sign_out", None, on_tablet),
        ("Mia", "sign_in", None, "{}"),
        ("Mia", "set_pin", "Anna", "{}"),
        ("Mia", "remove_pin", "Anna", "{}"),
        ("Mia", "remove_device", "Kitchen tablet", "{}"),
    ]
    assert not re.search(f"{PIN}|{OTHER_PIN}", caplog.text)
