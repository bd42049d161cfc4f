"""The decimals of currencies."""

from decimal import Decimal

import pytest

from restaurant_system.models.currency import NO_CURRENCY, Currency


@pytest.mark.parametrize(
    ("code", "decimals", "unit"),
    [
        ("EUR", 2, "0.01"),
        ("IDR", 2, "0.01"),
        ("JPY", 0, "1"),
        ("KWD", 3, "0.001"),
        ("CLF", 4, "0.0001"),
    ],
)
def test_currency_has_the_decimals_of_iso_4217(code: str, decimals: int, unit: str) -> None:
    currency = Currency(code)

    assert (currency.decimals, currency.unit) == (decimals, Decimal(unit))


def test_amounts_without_a_currency_have_two_decimals() -> None:
    assert NO_CURRENCY.unit == Decimal("0.01")


@pytest.mark.parametrize("code", ["", "eur", "EURO", "XAU", "XXX", "E\u00dcR"])
def test_unknown_currency_is_refused(code: str) -> None:
    with pytest.raises(ValueError, match="such as EUR"):
        Currency(code)
