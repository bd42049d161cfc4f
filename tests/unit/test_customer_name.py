"""Which names of customers are accepted."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from restaurant_system.models.text import MAX_MARKS
from tests.support.orders import make_order


def is_accepted(name: str) -> bool:
    """Return whether a customer may have this name."""
    try:
        make_order(customer_name=name)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    "name",
    [
        "A",
        "a" * 100,
        "Jean-Luc O'Brien",
        "Miles O’Brien",
        "Louis 14",
        "0123456789",
        "José",  # composed
        "Jose\N{COMBINING ACUTE ACCENT}",  # and decomposed
        "Nguyễn Thị Minh Khai",
        "Ægir Þórsson",
        "Ελένη Παπαδοπούλου",
        "Владимир Ильич",
        "ישראל ישראלי",
        "مُحَمَّد عَلِيّ",
        "नरेन्द्र मोदी",
        "ภูมิพลอดุลยเดช",
        "김철수",
        "李小龙",
        "さくら ももこ",
        "𠮷" * 100,  # beyond the basic plane, one character each
    ],
)
def test_letters_of_all_scripts_are_accepted(name: str) -> None:
    """Combining marks, digits, spaces, ', ’ and - are accepted too."""
    assert is_accepted(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "   ",
        "a" * 101,
        "𠮷" * 101,
        "Ada!",
        "Ada_Lovelace",
        "ada@example.com",
        "Lovelace, Ada",
        "Ada L.",
        "Ada & Charles",
        "<b>Ada</b>",
        'Ada "Countess" Lovelace',
        "Ada `Countess`",
        "Ada \N{LEFT SINGLE QUOTATION MARK}Countess",
        "Ada \N{EN DASH} Lovelace",
        "Ada 😀",
        "Ada\nLovelace",
        "Ada\tLovelace",
        "Ada\x00Lovelace",
        "Ada\x7fLovelace",
        "Ada\x85Lovelace",
        "Ada\N{ZERO WIDTH SPACE}Lovelace",
        "Ada\N{RIGHT-TO-LEFT OVERRIDE}Lovelace",
        "Ada\N{ZERO WIDTH NO-BREAK SPACE}Lovelace",
        "\N{HANGUL FILLER}",
        "Ada\N{HANGUL FILLER}Lovelace",
        "\U00013441\U00013442",  # blanks of Egyptian hieroglyphs
        "Ada\ue000",
        "Ada\u0378",
        "\N{HALFWIDTH HANGUL FILLER} \N{HANGUL CHOSEONG FILLER}\N{HANGUL JUNGSEONG FILLER}",
        "\N{ZERO WIDTH SPACE}",
        "\N{COMBINING GRAPHEME JOINER}\N{VARIATION SELECTOR-16}\N{COMBINING ACUTE ACCENT}",
        "Z" + 7 * "\N{COMBINING ACUTE ACCENT}",
    ],
)
def test_empty_long_or_invalid_name_is_refused(name: str) -> None:
    assert not is_accepted(name)


UNSEEN = "\u115f\u1160\u17b4\u17b5\u3164\uffa0\U00013441\U00013442"
LETTERS = st.text(st.characters(categories=["L"], exclude_characters=UNSEEN), max_size=10)
MARKS = st.text(st.characters(categories=["M"], exclude_characters=UNSEEN), max_size=MAX_MARKS)


@given(st.lists(st.builds("{}a{}".format, LETTERS, MARKS), min_size=1, max_size=5).map("".join))
@example("a" * 100)
def test_every_unicode_letter_and_mark_that_shows_something_is_accepted(name: str) -> None:
    assert is_accepted(name)


@given(
    st.characters(
        categories=["Cc", "Cf", "Co", "Pc", "Po", "Ps", "Pe", "Pi", "Pf", "S"],
        exclude_characters="'’",
    )
)
def test_every_unicode_punctuation_symbol_and_control_is_refused(sign: str) -> None:
    assert not is_accepted(f"Ada{sign}Lovelace")
