"""Sessions: sign in, sign out, lock-out, revocation, and an unavailable database."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest
from argon2 import PasswordHasher

from restaurant_system.database import sessions, users
from restaurant_system.database.connection import Database
from restaurant_system.errors import (
    DatabaseUnavailable,
    NameTaken,
    NameUnknown,
    NotSignedIn,
    SignInFailed,
    TooManyAttempts,
)
from restaurant_system.models.access import Caller, Capability, Credential, CredentialKind, Role
from restaurant_system.models.clock import utc_now
from restaurant_system.services.access.attempts import client_subject
from restaurant_system.services.access.passwords import Passwords
from restaurant_system.services.access.sign_in import SignIn
from restaurant_system.web.access_control import (
    ACCESS_CONTROL,
    CALLER,
    FRESH_FOR,
    KEPT_FOR,
    AccessControl,
    while_admitted,
)
from tests.support.access import (
    FREE_TRIES,
    FREE_TRIES_PER_ADDRESS,
    LONGEST_LOCK_OUT,
    PASSWORD,
    SESSION_LIFETIME,
    guarded_site,
    make_keys,
    make_sign_in,
    make_users,
)
from tests.support.logs import capture_logs
from tests.support.responses import assert_problem
from tests.support.services import FakeClock, serve_site
from tests.support.waiting import eventually

HOME, ELSEWHERE = "192.0.2.1", "198.51.100.1"


@pytest.fixture
async def people(database: Database, clock: FakeClock) -> SignIn:
    """Return what signs people in, with the staff Anna and Bert."""
    for name in ("Anna", "Bert"):
        await make_users(database).add(name, Role.STAFF, PASSWORD)
    return make_sign_in(database, clock=clock)


@pytest.fixture
async def client(database: Database, people: SignIn) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client of a guarded site."""
    async with (
        guarded_site(database, sign_in=people) as site,
        serve_site(site) as address,
        httpx.AsyncClient(base_url=address, timeout=30, verify=False) as client,  # noqa: S501 - no TLS
    ):
        yield client


async def fail(people: SignIn, name: str = "Anna", address: str = HOME, times: int = 1) -> None:
    """Sign in with a wrong password, a number of times."""
    for _ in range(times):
        with pytest.raises(SignInFailed):
            await people.sign_in(name, "wrong password", address)


async def locked_for(people: SignIn, name: str = "Anna", address: str = HOME) -> int:
    """Return the seconds for which a right password is refused."""
    with pytest.raises(TooManyAttempts) as refusal:
        await people.sign_in(name, PASSWORD, address)
    return refusal.value.seconds


async def test_session_is_opened_shown_and_ended_over_http(client: httpx.AsyncClient) -> None:
    anonymous = await client.get("/session")
    opened = await client.post("/session", json={"name": " aNNa ", "password": PASSWORD})
    shown = await client.get("/session")
    listed = await client.get("/orders")
    token = client.cookies["session"]
    ended = await client.delete("/session")
    again = await client.get("/orders", headers={"Cookie": f"session={token}"})

    assert anonymous.json() == {
        "name": None,
        "role": None,
        "capabilities": ["read_status"],
        "device": None,
    }
    assert opened.json() == shown.json()
    assert (shown.json()["name"], shown.json()["role"]) == ("Anna", "staff")
    assert "read_orders" in shown.json()["capabilities"]
    assert "administer" not in shown.json()["capabilities"]
    assert listed.status_code == 200
    assert ended.status_code == 204
    assert "session" not in client.cookies
    assert_problem(again, 401)


async def test_cookie_is_for_this_site_alone(client: httpx.AsyncClient) -> None:
    """Behind a proxy that speaks TLS, only over TLS."""
    body = {"name": "Anna", "password": PASSWORD}
    plain = await client.post("/session", json=body)
    tls = await client.post("/session", json=body, headers={"X-Forwarded-Proto": "https"})

    for response, name in ((plain, "session"), (tls, "__Host-session")):
        cookie, *attributes = response.headers["Set-Cookie"].split("; ")
        assert cookie.startswith(f"{name}=")
        assert {"HttpOnly", "SameSite=lax", "Path=/", "Max-Age=43200"} <= set(attributes)
        assert ("Secure" in attributes) == (response is tls)


async def test_sign_out_button_ends_the_session(client: httpx.AsyncClient) -> None:
    await client.post("/session", json={"name": "Anna", "password": PASSWORD})
    headers = {"Cookie": f"session={client.cookies['session']}"}

    response = await client.post("/sign-out")

    assert (response.status_code, response.headers["Location"]) == (303, "/sign-in")
    assert (await client.get("/orders", headers=headers)).status_code == 401


async def test_new_session_of_a_browser_replaces_the_old_one(client: httpx.AsyncClient) -> None:
    await client.post("/session", json={"name": "Anna", "password": PASSWORD})
    old = {"Cookie": f"session={client.cookies['session']}"}

    await client.post("/session", json={"name": "Bert", "password": PASSWORD})

    assert (await client.get("/session")).json()["name"] == "Bert"
    client.cookies.clear()
    assert (await client.get("/session", headers=old)).json()["name"] is None


REFUSED_SIGN_INS = [
    ({"name": "Anna", "password": "wrong password"}, 401),
    ({"name": "Zoe", "password": PASSWORD}, 401),
    ({"name": "Anna", "password": "x"}, 401),
    ({"name": "Anna\u0000", "password": PASSWORD}, 400),
    ({"name": "", "password": PASSWORD}, 400),
    ({"name": "Anna"}, 400),
    ({"name": "Anna", "password": PASSWORD, "role": "manager"}, 400),
    ({"name": "x" * 101, "password": PASSWORD}, 400),
]


async def test_sign_in_is_refused(client: httpx.AsyncClient) -> None:
    for body, status in REFUSED_SIGN_INS:
        response = await client.post("/session", json=body)

        assert_problem(response, status)
        assert "Set-Cookie" not in response.headers, body
        assert PASSWORD not in response.text, body


async def test_lock_out_is_a_429_that_says_when_to_try_again(client: httpx.AsyncClient) -> None:
    body = {"name": "Anna", "password": "wrong password"}
    for _ in range(FREE_TRIES):
        await client.post("/session", json=body)

    response = await client.post("/session", json=body)

    assert_problem(response, 429)
    assert response.headers["Retry-After"] == "1"


async def test_each_wrong_password_of_an_account_doubles_the_delay(
    people: SignIn, clock: FakeClock
) -> None:
    await fail(people, times=FREE_TRIES)
    delays = []
    for place in range(6):
        delays.append(await locked_for(people, address=f"192.0.2.{100 + place}"))
        clock.now += timedelta(seconds=delays[-1])
        await fail(people, address=f"192.0.2.{100 + place}")

    assert delays == [1, 2, 4, 8, LONGEST_LOCK_OUT.seconds, LONGEST_LOCK_OUT.seconds]


async def test_attempt_during_a_lock_out_does_not_lengthen_it(
    people: SignIn, clock: FakeClock
) -> None:
    await fail(people, times=FREE_TRIES)

    with capture_logs() as lines:
        assert [await locked_for(people) for _ in range(3)] == [1, 1, 1]
    assert [line["event"] for line in lines] == ["sign_in_locked"]
    clock.now += timedelta(seconds=1)
    assert (await people.sign_in("Anna", PASSWORD, HOME)).caller.name == "Anna"


async def test_right_password_forgets_the_wrong_ones_of_the_account(people: SignIn) -> None:
    await fail(people, times=FREE_TRIES - 1)
    await people.sign_in("Anna", PASSWORD, HOME)

    await fail(people, times=FREE_TRIES - 1, address=ELSEWHERE)
    await people.sign_in("Anna", PASSWORD, ELSEWHERE)


async def test_wrong_passwords_are_forgotten_after_a_day(people: SignIn, clock: FakeClock) -> None:
    await fail(people, times=FREE_TRIES - 1)
    clock.now += timedelta(days=1, seconds=1)
    await fail(people, times=FREE_TRIES - 1)

    await people.sign_in("Anna", PASSWORD, HOME)


async def test_unknown_account_is_locked_like_a_known_one(people: SignIn) -> None:
    """The responses do not tell which names exist."""
    await fail(people, name="Zoe", times=FREE_TRIES)

    assert await locked_for(people, name="ZOE ") == 1


async def test_brute_force_of_two_accounts_from_one_address_locks_the_address(
    people: SignIn,
) -> None:
    await fail(people, "Anna", times=FREE_TRIES - 1)
    await fail(people, "Bert", times=FREE_TRIES - 1)
    await fail(people, "Carl", times=FREE_TRIES_PER_ADDRESS - 2 * (FREE_TRIES - 1))

    assert await locked_for(people, "Anna") == 1
    assert await locked_for(people, "Dora") == 1
    assert (await people.sign_in("Anna", PASSWORD, ELSEWHERE)).caller.name == "Anna"


async def test_own_right_password_does_not_forget_those_of_the_address(people: SignIn) -> None:
    """Else an attacker with an account could go on for ever."""
    for name in ("Carl", "Dora", "Emil"):
        await fail(people, name)
        await people.sign_in("Bert", PASSWORD, HOME)
    await fail(people, "Carl", times=2)

    assert await locked_for(people, "Anna") == 1


async def test_parallel_wrong_passwords_are_all_counted(people: SignIn) -> None:
    results = await asyncio.gather(
        *(people.sign_in("Anna", "wrong password", HOME) for _ in range(10)),
        return_exceptions=True,
    )

    assert [type(each) for each in results].count(SignInFailed) == FREE_TRIES
    assert [type(each) for each in results].count(TooManyAttempts) == 10 - FREE_TRIES


async def test_parallel_right_passwords_all_succeed(people: SignIn) -> None:
    results = await asyncio.gather(
        *(people.sign_in(name, PASSWORD, HOME) for name in ("Anna", "Bert", "Anna", "Bert"))
    )

    assert {each.caller.name for each in results} == {"Anna", "Bert"}
    assert len({each.token for each in results}) == 4


async def test_right_password_does_not_lengthen_the_lock_out_of_its_address(
    people: SignIn, clock: FakeClock
) -> None:
    """Else only one of many people behind an address could sign in."""
    for name in ("Carl", "Dora", "Emil", "Fred", "Gerd"):
        await fail(people, name)
    clock.now += timedelta(seconds=await locked_for(people))

    for name in ("Anna", "Bert", "Anna"):
        assert (await people.sign_in(name, PASSWORD, HOME)).caller.name == name

    await fail(people, "Carl")
    assert await locked_for(people) == 2


async def test_name_of_an_attempt_is_not_stored(database: Database, people: SignIn) -> None:
    """It may be a password that was typed into the wrong field."""
    await fail(people, "hunter2")

    async with database.connection() as connection:
        rows = await connection.fetch("SELECT sign_in_attempts::text AS row FROM sign_in_attempts")
    assert not any("hunter2" in row["row"] for row in rows)


class PausedPasswords(Passwords):
    """Passwords that are verified, and then wait."""

    def __init__(self) -> None:
        super().__init__(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        self.verified, self.may_go_on = asyncio.Event(), asyncio.Event()

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Verify a password; return once the test lets it go on."""
        is_right = await super().verify(password_hash, password)
        self.verified.set()
        await self.may_go_on.wait()
        return is_right


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize("change", ["reset", "disable", "role"])
async def test_user_who_is_changed_during_a_sign_in_gets_no_session(
    database: Database, change: str
) -> None:
    """Else somebody who knows the old password would stay signed in."""
    passwords = PausedPasswords()
    signing_in = asyncio.create_task(
        make_sign_in(database, passwords=passwords).sign_in("Anna", PASSWORD, HOME)
    )
    await passwords.verified.wait()
    match change:
        case "reset":
            await make_users(database).reset("Anna", "a new password")
        case "disable":
            await make_users(database).disable("Anna")
        case "role":
            async with database.connection() as connection:
                await connection.execute("UPDATE users SET role = 'kitchen'")
    passwords.may_go_on.set()

    with pytest.raises(SignInFailed):
        await signing_in

    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM sessions") == 0


@pytest.mark.parametrize("change", ["reset", "disable"])
async def test_change_of_a_user_ends_a_session_that_is_opened_while_it_waits(
    database: Database, change: str
) -> None:
    await make_users(database).add("Anna", Role.STAFF, PASSWORD)
    administration, now = make_users(database), utc_now()

    async def is_waiting() -> bool:
        return bool(await tx.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"))

    async with database.transaction() as tx:  # of a sign-in
        anna = await users.find_user(tx, "Anna")
        assert anna is not None
        assert await users.lock_unchanged(tx, anna)
        changing = asyncio.create_task(
            administration.reset("Anna", "a new password")
            if change == "reset"
            else administration.disable("Anna")
        )
        await eventually(is_waiting, doing="for the change to wait")
        await sessions.add(tx, bytes(32), anna.id, created_at=now, expires_at=now)
    await changing

    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM sessions") == 0


async def test_session_ends_after_its_lifetime(people: SignIn, clock: FakeClock) -> None:
    session = await people.sign_in("Anna", PASSWORD, HOME)
    credential = Credential.of(CredentialKind.SESSION, session.token.encode())

    clock.now += SESSION_LIFETIME - timedelta(seconds=1)
    assert await people.identify(credential) == session.caller
    clock.now += timedelta(seconds=1)
    assert await people.identify(credential) is None


@pytest.mark.parametrize("act", ["disable", "reset"])
async def test_disabling_and_resetting_a_user_end_the_sessions(
    database: Database, people: SignIn, act: str
) -> None:
    session = await people.sign_in("Anna", PASSWORD, HOME)
    other = await people.sign_in("Bert", PASSWORD, HOME)
    users = make_users(database)

    await (users.disable("ANNA") if act == "disable" else users.reset("ANNA", "a new password"))

    owners = [
        await people.identify(Credential.of(CredentialKind.SESSION, each.token.encode()))
        for each in (session, other)
    ]
    assert owners == [None, other.caller]
    await fail(people)
    if act == "disable":
        with pytest.raises(SignInFailed):
            await people.sign_in("Anna", PASSWORD, HOME)
    else:
        await people.sign_in("Anna", "a new password", HOME)


async def test_reset_enables_a_disabled_user_and_ends_a_lock_out(
    database: Database, people: SignIn
) -> None:
    users = make_users(database)
    await users.disable("Anna")
    await fail(people, times=FREE_TRIES)

    await users.reset("Anna", "a new password")

    await people.sign_in("Anna", "a new password", HOME)


async def test_names_are_unique_in_any_case(database: Database, people: SignIn) -> None:
    with pytest.raises(NameTaken):
        await make_users(database).add("aNNA", Role.MANAGER, PASSWORD)
    with pytest.raises(NameUnknown):
        await make_users(database).disable("Carl")
    assert await people.identify(Credential.of(CredentialKind.SESSION, b"forged")) is None


async def test_first_manager_is_added_once(database: Database) -> None:
    """Also if several processes start at once, and if programs have keys already."""
    users = make_users(database)
    await make_keys(database).add("Prometheus", [Capability.METRICS])

    passwords = await asyncio.gather(*(users.add_first_manager() for _ in range(4)))

    (password,) = [each for each in passwords if each is not None]
    signed_in = await make_sign_in(database).sign_in("manager", password, HOME)
    assert signed_in.caller.role is Role.MANAGER
    await users.disable("manager")
    assert await users.add_first_manager() is None


async def test_disabled_and_replaced_keys_are_refused(database: Database, people: SignIn) -> None:
    keys = make_keys(database)

    async def owner(key: str) -> Caller | None:
        return await people.identify(Credential.of(CredentialKind.API_KEY, key.encode()))

    first = await keys.add("Till", [Capability.PLACE_ORDERS])
    found = await owner(first)
    assert found is not None
    assert (found.name, found.role) == ("Till", None)
    second = await keys.reset("till")
    assert await owner(first) is None
    assert (await owner(second)) == found
    await keys.disable("TILL")
    assert await owner(second) is None


async def test_no_secret_is_stored(database: Database, people: SignIn) -> None:
    session = await people.sign_in("Anna", PASSWORD, HOME)
    key = await make_keys(database).add("Till", [Capability.PLACE_ORDERS])
    async with database.connection() as connection:
        stored = [
            await connection.fetchval(f"SELECT string_agg({table}::text, ' ') FROM {table}")  # noqa: S608 - constants
            for table in ("users", "sessions", "api_keys", "sign_in_attempts")
        ]

    text = " ".join(filter(None, stored))
    assert "$argon2id$" in text
    assert not any(secret in text for secret in (PASSWORD, session.token, key))


async def test_expired_sessions_and_old_attempts_are_deleted(
    database: Database, people: SignIn, clock: FakeClock
) -> None:
    await people.sign_in("Anna", PASSWORD, HOME)
    await fail(people, "Bert")
    clock.now += timedelta(days=2)
    kept = await people.sign_in("Anna", PASSWORD, ELSEWHERE)
    before = clock.now - timedelta(days=1)

    async with database.connection() as connection:
        await sessions.delete_expired(
            connection, expired_by=clock.now, attempts_before=before, limit=10
        )
        left = await connection.fetchval("SELECT count(*) FROM sessions")
        attempts = await connection.fetch("SELECT subject FROM sign_in_attempts")

    assert left == 1
    assert [row["subject"] for row in attempts] == [client_subject(ELSEWHERE)]
    credential = Credential.of(CredentialKind.SESSION, kept.token.encode())
    assert await people.identify(credential) == kept.caller


@pytest.mark.parametrize("act", ["sign out", "disable"])
async def test_open_stream_ends_with_its_session(
    client: httpx.AsyncClient, database: Database, act: str
) -> None:
    await client.post("/session", json={"name": "Anna", "password": PASSWORD})
    async with asyncio.timeout(10), client.stream("GET", "/live/dashboard") as stream:
        lines = stream.aiter_lines()
        assert await anext(lines)
        if act == "sign out":
            await client.delete("/session")
        else:
            await make_users(database).disable("Anna")
        async for _ in lines:  # until the end of the stream
            pass

    assert (await client.get("/session")).json()["name"] is None


class Directory:
    """Stands in for the database: knows one caller, or is unavailable."""

    def __init__(self) -> None:
        self.caller: Caller | None = Caller("Anna", Role.STAFF, frozenset())
        self.is_available = True
        self.lookups = 0

    async def identify(self, _: Credential) -> Caller | None:
        self.lookups += 1
        if not self.is_available:
            raise DatabaseUnavailable("away")
        return self.caller


class Seconds:
    """A clock in seconds, which a test can set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


SESSION = Credential.of(CredentialKind.SESSION, b"one")
OTHER_SESSION = Credential.of(CredentialKind.SESSION, b"other")
KEY = Credential.of(CredentialKind.API_KEY, b"key")


async def test_caller_is_looked_up_again_within_seconds() -> None:
    directory, seconds = Directory(), Seconds()
    control = AccessControl(directory.identify, clock=seconds)

    for _ in range(3):
        assert (await control.caller(SESSION)).name == "Anna"
    assert directory.lookups == 1
    directory.caller = None
    assert (await control.caller(SESSION)).name == "Anna"
    seconds.now += FRESH_FOR + 0.1
    assert control.known_caller(SESSION) is None
    assert (await control.caller(SESSION)).name is None


async def test_frequent_caller_is_looked_up_before_it_is_due() -> None:
    """Requests do not wait for the look-up, and a session that has ended is found all the same."""
    directory, seconds = Directory(), Seconds()
    control = AccessControl(directory.identify, clock=seconds)
    await control.caller(SESSION)

    for _ in range(5):
        seconds.now += FRESH_FOR - 0.1
        for _ in range(10):
            assert control.known_caller(SESSION) is not None
        await asyncio.sleep(0.01)
    assert directory.lookups == 1 + 5

    directory.caller = None
    seconds.now += FRESH_FOR - 0.1
    assert control.known_caller(SESSION) is not None
    await asyncio.sleep(0.01)
    assert control.known_caller(SESSION) is None


async def test_concurrent_requests_share_a_lookup() -> None:
    directory = Directory()
    control = AccessControl(directory.identify)

    callers = await asyncio.gather(*(control.caller(SESSION) for _ in range(50)))

    assert {each.name for each in callers} == {"Anna"}
    assert directory.lookups == 1


async def test_lookup_that_began_before_a_sign_out_is_not_kept() -> None:
    directory = Directory()
    control = AccessControl(directory.identify)

    looking_up = asyncio.create_task(control.caller(SESSION))
    await asyncio.sleep(0)
    control.forget(SESSION)
    await looking_up

    assert control.known_caller(SESSION) is None


async def test_failed_lookup_ahead_keeps_the_caller() -> None:
    directory, seconds = Directory(), Seconds()
    control = AccessControl(directory.identify, clock=seconds)
    await control.caller(SESSION)
    directory.is_available = False

    seconds.now += FRESH_FOR - 0.1
    control.known_caller(SESSION)
    await asyncio.sleep(0.01)

    assert control.known_caller(SESSION) is not None


async def test_ended_session_is_anonymous_and_a_disabled_key_is_refused() -> None:
    directory = Directory()
    directory.caller = None
    control = AccessControl(directory.identify)

    assert (await control.caller(SESSION)).name is None
    with pytest.raises(NotSignedIn):
        await control.caller(KEY)


async def test_known_callers_go_on_while_the_database_is_unavailable() -> None:
    """For some minutes; unknown ones are requested to come back."""
    directory, seconds = Directory(), Seconds()
    control = AccessControl(directory.identify, clock=seconds)
    await control.caller(SESSION)
    directory.is_available = False

    seconds.now += KEPT_FOR - 1
    assert (await control.caller(SESSION)).name == "Anna"
    with pytest.raises(DatabaseUnavailable):
        await control.caller(OTHER_SESSION)
    seconds.now += 2
    with pytest.raises(DatabaseUnavailable):
        await control.caller(SESSION)


async def test_anonymous_caller_needs_no_database() -> None:
    directory = Directory()
    directory.is_available = False

    assert (await AccessControl(directory.identify).caller(None)).name is None
    assert directory.lookups == 0


async def test_stream_of_an_anonymous_caller_needs_no_lookups() -> None:
    """A browser may still send the cookie of a session that has ended."""
    directory = Directory()
    directory.caller = None
    control = AccessControl(directory.identify)
    credential = Credential.of(CredentialKind.SESSION, b"ended")
    scope = {
        ACCESS_CONTROL: control,
        CALLER: await control.caller(credential),
        "headers": [(b"cookie", b"session=ended")],
    }

    async def events() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"event"

    assert [each async for each in while_admitted(scope, events())] == [b"event"] * 10
    assert directory.lookups == 1
