"""Roles, names, passwords and the lock-out; how passwords are read."""

import dataclasses
import io
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import typer
from argon2 import PasswordHasher

from restaurant_system.app.access import is_guarded
from restaurant_system.cli import access
from restaurant_system.config import Settings
from restaurant_system.errors import ConfigurationError
from restaurant_system.models.access import (
    CAPABILITIES,
    SCOPES,
    Caller,
    Capability,
    Credential,
    CredentialKind,
    Role,
    clean_name,
    clean_password,
    clean_pin,
    folded_name,
    new_api_key,
    new_password,
    new_pin,
    new_token,
)
from restaurant_system.models.lock_out import FORGET_AFTER, LockOut
from restaurant_system.services.access.passwords import UNKNOWN_USER
from restaurant_system.web.access_control import credential_in

NOON = datetime(2024, 12, 16, 12, 0, tzinfo=UTC)
SESSION = CredentialKind.SESSION
API_KEY = CredentialKind.API_KEY


def test_each_role_may_do_more_than_the_one_before() -> None:
    kitchen, staff, manager = (CAPABILITIES[role] for role in Role)

    assert kitchen < staff < manager == set(Capability)


def test_every_capability_that_not_everybody_has_is_a_scope() -> None:
    assert set(Capability) - set(SCOPES) == {Capability.READ_STATUS}


def test_secrets_are_random() -> None:
    for make in (new_token, new_api_key, new_password):
        assert len({make() for _ in range(100)}) == 100
    assert clean_password(new_password())
    assert len({clean_pin(new_pin()) for _ in range(100)}) > 90


def test_person_with_a_pin_may_do_what_the_role_may_except_administer() -> None:
    for role in Role:
        with_pin = Caller.person("Anna", role, "Tablet")

        assert with_pin.capabilities == CAPABILITIES[role] - {Capability.ADMINISTER}
        assert Caller.person("Anna", role).capabilities == CAPABILITIES[role]


@pytest.mark.parametrize(
    "pin",
    [
        *("", "123", "258079314", "25 80", "25a0", "-2580", "\u0662\u0665\u0668\u0660"),
        *("0000", "1234", "4321", "23456789"),
    ],
)
def test_pin_that_is_invalid_or_easy_to_guess_is_refused(pin: str) -> None:
    with pytest.raises(ValueError, match=r"digits"):
        clean_pin(pin)


@pytest.mark.parametrize("pin", ["2580", "1235", "90123457", " 2580 ", "\uff12\uff15\uff18\uff10"])
def test_valid_pin_is_accepted(pin: str) -> None:
    assert clean_pin(pin) in {"2580", "1235", "90123457"}


@pytest.mark.parametrize(
    ("one", "other"),
    [("Anna", "aNNA "), ("Straße", "STRASSE"), ("\uff21nna", "anna"), ("e\u0301va", "\u00c9va")],
)
def test_names_that_differ_in_case_or_form_only_are_one(one: str, other: str) -> None:
    assert folded_name(one) == folded_name(other)


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "a\nb", "a\u202eb", "a\x00", "\udc80"])
def test_invalid_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="characters"):
        clean_name(name)


@pytest.mark.parametrize("password", ["", "1234567", "x" * 201, "12345678\x00", "12345678\udc80"])
def test_invalid_password_is_refused(password: str) -> None:
    with pytest.raises(ValueError, match="8 to 200"):
        clean_password(password)


def test_password_does_not_depend_on_how_a_keyboard_composes_letters() -> None:
    assert clean_password("e\u0301clairs!") == clean_password("\u00e9clairs!")


@pytest.mark.parametrize(
    ("failures", "seconds"), [(1, 0), (4, 0), (5, 1), (6, 2), (7, 4), (14, 512), (15, 900)]
)
def test_delay_doubles_up_to_the_longest(failures: int, seconds: int) -> None:
    assert LockOut(5, timedelta(minutes=15)).delay(failures) == timedelta(seconds=seconds)
    assert LockOut(5, timedelta(minutes=15)).delay(10**6) == timedelta(minutes=15)


def test_failures_are_counted_until_they_are_forgotten() -> None:
    rule = LockOut(2, timedelta(minutes=15))

    first = rule.with_failure(None, NOON)
    second = rule.with_failure(first, NOON)
    late = rule.with_failure(second, NOON + FORGET_AFTER + timedelta(seconds=1))

    assert (first.failures, first.next_try_at) == (1, NOON)
    assert (second.failures, second.next_try_at) == (2, NOON + timedelta(seconds=1))
    assert late.failures == 1


def tries(rule: LockOut, every: timedelta, days: int) -> int:
    """Return the failures that are counted after so many days with one at an interval."""
    attempts, now = None, NOON
    while now < NOON + timedelta(days=days):
        attempts = rule.with_failure(attempts, now)
        now += every
    assert attempts is not None
    return attempts.failures


def test_few_failures_of_each_day_never_add_up() -> None:
    """Although none is without a failure; more than the free ones do add up."""
    rule = LockOut(30, timedelta(minutes=15))

    assert tries(rule, timedelta(hours=10), days=100) == 1
    assert tries(rule, timedelta(minutes=50), days=100) <= 2
    assert tries(rule, timedelta(minutes=40), days=10) > 30


def test_attempt_before_a_failure_does_not_keep_others_from_being_forgotten() -> None:
    """A right password is counted as a failure until it has been verified."""
    rule = LockOut(30, timedelta(minutes=15))
    attempts = None
    for _ in range(20):
        attempts = rule.with_failure(attempts, NOON)
    assert attempts is not None

    for minute in range(0, 24 * 60, 10):
        counted = rule.with_failure(attempts, NOON + timedelta(minutes=minute))
        attempts = dataclasses.replace(counted, failures=counted.failures - 1)

    assert attempts.failures == 0


def test_clock_of_another_machine_that_is_behind_adds_no_failure() -> None:
    rule = LockOut(2, timedelta(minutes=15))

    first = rule.with_failure(None, NOON)
    second = rule.with_failure(first, NOON - timedelta(days=1))

    assert second.failures == 2


def test_hash_for_unknown_users_takes_the_same_work_as_others() -> None:
    assert not PasswordHasher().check_needs_rehash(UNKNOWN_USER)


@pytest.mark.parametrize(
    ("headers", "credential"),
    [
        ([], None),
        ([(b"cookie", b"theme=dark")], None),
        ([(b"cookie", b"session=")], None),
        ([(b"cookie", b"theme=dark; session=a")], Credential.of(SESSION, b"a")),
        ([(b"cookie", b"x=1"), (b"cookie", b"session=a")], Credential.of(SESSION, b"a")),
        ([(b"cookie", b"session=a; __Host-session=b")], Credential.of(SESSION, b"b")),
        ([(b"authorization", b"Bearer k")], Credential.of(API_KEY, b"k")),
        ([(b"authorization", b"bearer  k ")], Credential.of(API_KEY, b"k")),
        (
            [(b"authorization", b"Bearer k"), (b"cookie", b"session=a")],
            Credential.of(API_KEY, b"k"),
        ),
        (
            [(b"authorization", b"Basic k"), (b"cookie", b"session=a")],
            Credential.of(SESSION, b"a"),
        ),
    ],
)
def test_credential_is_read_from_header_fields(
    headers: list[tuple[bytes, bytes]], credential: Credential | None
) -> None:
    assert credential_in(headers) == credential


def test_password_is_the_first_line_of_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("correct horse \r\nbattery\n"))

    assert access.read_new_password(generate=False) == "correct horse "


def test_pin_is_read_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("2580\n1111\n"))

    assert access.read_new_pin(generate=False) == "2580"
    with pytest.raises(ConfigurationError, match="The PIN is easy to guess"):
        access.read_new_pin(generate=False)


@pytest.mark.parametrize("line", ["", "short\n"])
def test_missing_or_short_password_is_refused(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(line))

    with pytest.raises(ConfigurationError, match="password"):
        access.read_new_password(generate=False)


class Terminal(io.StringIO):
    """Standard input on a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("typed", "password"),
    [(["correct horse", "correct horse"], "correct horse"), (["correct horse", "horse"], None)],
)
def test_password_is_typed_twice_without_echo(
    monkeypatch: pytest.MonkeyPatch, typed: list[str], password: str | None
) -> None:
    answers = iter(typed)

    def prompt(_: str, *, hide_input: bool, err: bool) -> str:
        assert hide_input
        assert err
        return next(answers)

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(typer, "prompt", prompt)

    if password is None:
        with pytest.raises(ConfigurationError, match="differ"):
            access.read_new_password(generate=False)
    else:
        assert access.read_new_password(generate=False) == password


@pytest.mark.parametrize(
    ("security", "host", "guarded"),
    [
        ({}, "127.0.0.1", False),
        ({}, "127.9.9.9", False),
        ({}, "::1", False),
        ({}, "localhost", False),
        ({}, "0.0.0.0", True),  # noqa: S104 - all addresses
        ({}, "::", True),
        ({}, "192.0.2.1", True),
        ({}, "restaurant.local", True),
        ({"open": False}, "127.0.0.1", True),
        ({"open": True}, "0.0.0.0", False),  # noqa: S104 - all addresses
        ({"trusted_proxies": ["127.0.0.1"]}, "127.0.0.1", True),
        ({"trusted_proxies": ["127.0.0.1"], "open": True}, "127.0.0.1", False),
    ],
)
def test_service_is_guarded_unless_only_this_machine_reaches_it(
    security: dict[str, Any], host: str, *, guarded: bool
) -> None:
    settings = Settings.model_validate({"security": security})

    assert is_guarded(settings, host) == guarded
