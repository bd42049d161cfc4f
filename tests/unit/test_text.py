"""The characters that stored and shown text may contain."""

import unicodedata

import pytest

from restaurant_system.models.text import escape_nonprintable, refused_character
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
    *"\ufdd0\ufffe\uffff\U0010ffff",
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
        "\U0001fae8 \U0001fadf",  # emoji that are younger than Python's tables
        "no-break\u00a0space, ideographic\u3000space, \uf8ff",
    ],
    ids=ascii,
)
def test_all_scripts_and_emoji_are_accepted_in_notes(text: str) -> None:
    """Combining marks, joiners, flags and unassigned characters among them."""
    assert invalid_fields(notes=text, items=[make_item(notes=text)]) == []


def test_every_control_and_format_character_is_refused() -> None:
    """Joiners and tags are refused where they join nothing."""
    for code in range(0x110000):
        if unicodedata.category(chr(code)) in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
            assert refused_character(f" {chr(code)} ") == chr(code)


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
