"""The token of an order's tracking link."""

import pytest

from restaurant_system.models.tracking_link import is_token_of, new_token, tracking_path

TOKEN = bytes(range(16))
TEXT = "000102030405060708090a0b0c0d0e0f"


def test_token_has_128_bits_all_of_which_vary() -> None:
    tokens = [int.from_bytes(new_token()) for _ in range(200)]

    ever_set, always_set = 0, 2**128 - 1
    for token in tokens:
        ever_set |= token
        always_set &= token
    assert (ever_set, always_set) == (2**128 - 1, 0)
    assert len(set(tokens)) == len(tokens)


def test_path_contains_the_number_and_the_token() -> None:
    assert tracking_path("ORD_20241216_001", TOKEN) == f"/track/ORD_20241216_001/{TEXT}"
    assert is_token_of(TOKEN, TEXT)


@pytest.mark.parametrize(
    "text",
    [
        *("", "0", TEXT[:-1], f"{TEXT}0", f"{TEXT[:-1]}e", f"1{TEXT[1:]}", TEXT.upper()),
        *(f"{TEXT}\n", f" {TEXT[1:]}", f"{TEXT[:-1]}\u0664", "\0" * 32, "g" * 32, "0" * 9000),
    ],
)
def test_other_text_is_not_the_token(text: str) -> None:
    assert not is_token_of(TOKEN, text)


def test_order_without_a_token_has_no_link() -> None:
    for text in ("", "0" * 32, "None"):
        assert not is_token_of(None, text)
    assert not is_token_of(b"", "")
