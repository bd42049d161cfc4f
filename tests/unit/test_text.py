"""The characters that stored and shown text may contain."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restaurant_system.cli.options import check_subscriber_name
from restaurant_system.errors import ConfigurationError
from restaurant_system.models.access import clean_name
from restaurant_system.models.text import (
    escape_nonprintable,
    is_visible,
    refused_character,
    without_refused,
)
from restaurant_system.models.worker import is_worker_name
from tests.support.orders import make_item, make_order_fields
from tests.unit.test_order import invalid_fields

BIDIRECTIONAL = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
REFUSED = [
    *"\x00\x07\x1b\x7f\x80\x85\x9b\x9f",
    *BIDIRECTIONAL,
    *"\u00ad\u180e\u200b\u2060\u2064\u206a\ufeff\ufff9\U000e0001\U000e0041\U000e007f",
    *"\u2028\u2029",
    *"\ud800\udcff",
    *"\ufdd0\ufffe\uffff\U0001ffff\U0003fffe\U0010ffff",
    *"\u115f\u1160\u17b4\u17b5\u3164\uffa0\U00013441\U00013442\U0001d159",  # show nothing
    *"\ue000\uf8ff\U000f0000\U0010fffd",  # for private use
    *"\u0378\u2065\ufff0\U0001fffe\U000e0080\U000e0fff",  # unassigned
    *"\u200c\u200d",  # between a space and a letter
]


@pytest.mark.parametrize("char", REFUSED, ids=ascii)
@pytest.mark.parametrize(
    "field", ["items.0.name", "items.0.notes", "notes", "delivery_address", "customer_name"]
)
def test_control_or_format_character_is_refused_in_every_text_of_an_order(
    field: str, char: str
) -> None:
    """Such characters could reorder or hide text in the kitchen, or control a terminal."""
    text = f"no nuts {char}please"
    changes: dict[str, dict[str, object]] = {
        "items.0.name": {"items": [make_item(name=text)]},
        "items.0.notes": {"items": [make_item(notes=text)]},
        "delivery_address": {"order_type": "delivery", "delivery_address": text},
    }

    assert invalid_fields(**changes.get(field, {field: text})) == [field]


@pytest.mark.parametrize("char", REFUSED, ids=ascii)
def test_control_or_format_character_is_refused_in_the_name_of_a_worker(char: str) -> None:
    """Line breaks in the name of a worker are refused too."""
    assert not is_worker_name(f"a {char}b")
    assert not is_worker_name("a\nb")


@pytest.mark.parametrize(
    "text",
    [
        "no onions, 4,50 € (½ spicy)",
        "two\r\nlines\tand a tab",
        "مُحَمَّد عَلِيّ، بدون بصل",
        "می\u200cخواهم",  # noqa: RUF001 - Persian, with a zero width non-joiner
        "ക്\u200d ന്\u200d",  # Malayalam, with joiners at the ends of words
        "ශ්\u200dරී",  # Sinhala
        "র\u200d্যাপ",  # Bengali
        "ภูมิพลอดุลยเดช ปลาทู",
        "👩\u200d👩\u200d👧\u200d👦 👩🏽\u200d🍳 ❤️\u200d🔥 🏳️\u200d🌈 🇩🇪 1️⃣",
        "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",  # England
        # Younger than Python's tables: emoji, Chinese characters, a currency sign.
        "\U0001fae8 \U0001fadf, \U0001f469\u200d\U0001faef\u200d\U0001f469",
        "\U000323b0\U0002ebe0, 20 \u20c1",
        "no-break\u00a0space, ideographic\u3000space",
        "\u2813\u2811\u2800\u2813\u2811, \ufffc",  # Braille with a space, a lost picture
        *("Alex R.", "J. O'Neil-Smith, Jr. (Table 5)", "山田\u3000太郎"),
        "علی\u200cرضا",  # noqa: RUF001 - Persian
        *("レオナルド・ディカプリオ", "Col·lell", "Alice & Bob", "Party #12", "Ana\u2011Lu\u00a0B"),
        "葛\U000e0100城",  # with the variant of an ideograph
        "ᠮᠣᠩᠭᠣᠯ\u180b a\u034f\u0301",
    ],
    ids=ascii,
)
def test_all_scripts_and_emoji_are_accepted_in_notes(text: str) -> None:
    """Combining marks, joiners, flags and some unassigned characters among them."""
    assert invalid_fields(notes=text, items=[make_item(notes=text)]) == []


def test_every_control_format_and_private_character_is_refused() -> None:
    """Joiners and tags are refused where they join nothing."""
    for code in range(0x110000):
        if unicodedata.category(chr(code)) in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}:
            assert refused_character(f" {chr(code)} ") == chr(code)


def test_no_other_assigned_character_is_refused_but_those_that_show_nothing() -> None:
    refused = [
        chr(code)
        for code in range(0x110000)
        if unicodedata.category(chr(code))[0] != "C" and refused_character(f"a{chr(code)}")
    ]

    assert set(refused) - {"\u2028", "\u2029"} <= set(
        "\u115f\u1160\u17b4\u17b5\u3164\uffa0\U00013441\U00013442\U0001d159"
    )


MARKS = "\u0301\u0316\u20dd\ufe0f\U000e0100\u0489\u0300"


@pytest.mark.parametrize(
    "text",
    [
        f"a{MARKS}",
        f"Zal{MARKS}go",
        f"{'e' * 40} {MARKS[::-1]}",
        "a" + "\u0301\u200d" * 7,
        "a" + "\u0301" * 200,
    ],
    ids=ascii,
)
def test_mark_after_six_others_is_refused_in_every_text_of_an_order(text: str) -> None:
    """More of them would be drawn over the lines around, such as the number of a ticket."""
    order = make_order_fields(
        items=[make_item(name=text[:50], notes=text[:200])],
        notes=text[:200],
        order_type="delivery",
        delivery_address=f"1 High Street {text[:100]}",
        customer_name=text[:100].replace("\u200d", ""),
    )

    assert invalid_fields(**order) == [
        *("customer_name", "items.0.name", "items.0.notes", "delivery_address", "notes"),
    ]
    assert not is_worker_name(text)


@pytest.mark.parametrize(
    "text",
    [
        f"a{MARKS[:6]}b{MARKS[:6]}",
        "\u1019\u103c\u103e\u102d\u102f\u1037",  # Burmese: city
        "\u0f66\u0f92\u0fb2\u0f74\u0f56\u0f0b\u0f64\u0f92\u0fb1\u0fb2\u0f74",  # Tibetan
        "\u05d1\u05bc\u05b0\u05e8\u05b5\u05d0\u05e9\u05b4\u05c1\u0596\u05d9\u05ea",  # Hebrew
        "\u0e1b\u0e39\u0e48\u0e22\u0e48\u0e33",  # Thai
    ],
    ids=ascii,
)
def test_marks_of_written_languages_are_accepted(text: str) -> None:
    assert invalid_fields(customer_name=text.replace("\u0f0b", " "), notes=text) == []


INVISIBLE = [
    *("\u3164", "\u115f\u1160", "\uffa0 \u3164", "\u2800", "\ufe0f", "\u034f", "\u0301"),
    *("\u17b4\u180b", "\U000e0100", "\u3000\u2800\u00a0", "\ufffc", "\U0001d159"),
]


@pytest.mark.parametrize("text", INVISIBLE, ids=ascii)
def test_name_that_shows_nothing_is_refused(text: str) -> None:
    """Items, workers and customers have the same rule."""
    assert invalid_fields(items=[make_item(name=text)]) == ["items.0.name"]
    assert invalid_fields(customer_name=text) == ["customer_name"]
    assert not is_worker_name(text)
    with pytest.raises(ValueError, match="visible"):
        clean_name(text)
    with pytest.raises(ConfigurationError, match="visible"):
        check_subscriber_name(text)
    assert not is_visible(text)
    assert is_visible(f"{text}a")


@pytest.mark.parametrize("text", ["-", "7", "€", "李", "\U0001fadf", "👍"], ids=ascii)
def test_single_sign_is_visible(text: str) -> None:
    """Also one that is younger than Python's tables."""
    assert is_visible(text)


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("Crème brûlée: 4,50 €", "Crème brûlée: 4,50 €"),
        ("a\x1b[2J\x9b\n\t", r"a\x1b[2J\x9b\n\t"),
        ("\u202e\u2066\u2028\ud800\U000e0041", r"\u202e\u2066\u2028\ud800\U000e0041"),
    ],
    ids=ascii,
)
def test_only_unprintable_characters_are_escaped(text: str, escaped: str) -> None:
    assert escape_nonprintable(text) == escaped


def test_valid_order_is_accepted() -> None:
    """The tests above change this order."""
    assert invalid_fields(**make_order_fields()) == []


JOINING = st.sampled_from("aक\u0301\u094d\u200c\u200d\u200b\n\U0001f3f4\U000e0067\U000e007f😀 ")


@given(st.text(st.characters() | JOINING, max_size=60))
def test_text_without_refused_characters_is_accepted_and_has_all_others(text: str) -> None:
    kept = without_refused(text, allowed="\n")

    assert refused_character(kept, allowed="\n") is None
    letters = [char for char in text if char.isalnum() and not refused_character(char)]
    assert [char for char in kept if char.isalnum()] == letters
