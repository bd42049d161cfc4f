"""Names that are the same, the placeholders of erased data, and the retention period."""

from datetime import timedelta

import pytest

from restaurant_system.config import load
from restaurant_system.errors import ConfigurationError
from restaurant_system.models.message import OrderReceived
from restaurant_system.models.privacy import (
    ERASED_ADDRESS,
    ERASED_NAME,
    normalized_name,
    normalized_phone,
)
from tests.support.orders import make_order


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("ada lovelace", "Ada Lovelace"),
        ("  Ada \u00a0 Lovelace\t", "Ada Lovelace"),
        ("Jose\u0301", "JOSÉ"),
        ("O'Brien", "O\u2019Brien"),
        ("O`Brien", "O\u02bcBrien"),
        ("Anne\u2010Marie", "Anne-Marie"),
        ("STRASSER", "Straßer"),
        ("\uff21\uff44\uff41", "Ada"),  # full-width letters
    ],
)
def test_names_that_differ_in_typing_are_the_same(typed: str, stored: str) -> None:
    assert normalized_name(typed) == normalized_name(stored)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Ada", "Ada Lovelace"), ("Jose", "José"), ("Anne Marie", "Anne-Marie"), ("Ada1", "Ada2")],
)
def test_other_names_are_not_the_same(one: str, other: str) -> None:
    assert normalized_name(one) != normalized_name(other)


@pytest.mark.parametrize(
    ("typed", "digits"),
    [
        ("+44 (20) 7946-0000", "442079460000"),
        ("0044 20 7946 0000", "442079460000"),
        ("020 7946 0000", "02079460000"),
        ("\u0662\u0663", "23"),  # Arabic digits
        ("none", ""),
    ],
)
def test_of_phones_the_digits_count(typed: str, digits: str) -> None:
    assert normalized_phone(typed) == digits


def test_placeholders_are_valid_in_orders_and_messages() -> None:
    order = make_order(
        customer_name=ERASED_NAME, order_type="delivery", delivery_address=ERASED_ADDRESS
    )

    body = OrderReceived.from_order(order, "ORD_20241216_001")

    assert (body.customer_name, body.delivery_address) == (ERASED_NAME, ERASED_ADDRESS)


@pytest.mark.parametrize(
    ("days", "retention"), [("30", timedelta(days=30)), ("1", timedelta(days=1)), ("0", None)]
)
def test_retention_period_of_zero_days_means_never(
    monkeypatch: pytest.MonkeyPatch, days: str, retention: timedelta | None
) -> None:
    monkeypatch.setenv("RESTAURANT_PRIVACY__RETENTION_DAYS", days)

    assert load().privacy.retention == retention


def test_retention_period_of_null_means_never(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTAURANT_PRIVACY", '{"retention_days": null}')

    assert load().privacy.retention is None


@pytest.mark.parametrize(
    ("days", "hours", "fault"),
    [
        ("0.5", "1", "privacy.retention_days: must be 0 (never) or at least 1"),
        ("-1", "1", "privacy.retention_days"),
        ("2", "49", "privacy: retention_days must not be shorter than idempotency_hours"),
    ],
)
def test_retention_period_that_is_too_short_is_refused(
    monkeypatch: pytest.MonkeyPatch, days: str, hours: str, fault: str
) -> None:
    monkeypatch.setenv("RESTAURANT_PRIVACY__RETENTION_DAYS", days)
    monkeypatch.setenv("RESTAURANT_IDEMPOTENCY_HOURS", hours)

    with pytest.raises(ConfigurationError) as error:
        load()

    assert str(error.value).startswith(fault)
