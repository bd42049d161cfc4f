"""Which names of customers are accepted."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from restaurant_system.models.customer_name import MARKS as MARKS_OF_NAMES
from restaurant_system.models.customer_name import nearest_customer_name
from restaurant_system.models.text import JOINERS, MAX_MARKS
from restaurant_system.web.validation_errors import field_errors
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
        "Alex R.",
        "J. O'Neil-Smith, Jr. (Table 5)",
        "山田\u3000太郎",
        "レオナルド・ディカプリオ",  # katakana middle dot
        "ﾚｵﾅﾙﾄﾞ･ﾃﾞｨｶﾌﾟﾘｵ",  # half-width
        "山田\uff082\uff09",  # full-width parentheses
        "Col·lell",
        "علی\u200cرضا",  # noqa: RUF001 - Persian
        "Alice & Bob",
        "Al\N{NON-BREAKING HYPHEN}Sayed",
        "Jean\N{EN DASH}Luc",
        "בן\N{HEBREW PUNCTUATION MAQAF}דוד",
        "ד\N{HEBREW PUNCTUATION GERSHAYIM}ר כהן",
        "ג\N{HEBREW PUNCTUATION GERESH}ורג",
        "D\N{LEFT SINGLE QUOTATION MARK}Angelo",
        "Hawai\N{MODIFIER LETTER TURNED COMMA}i",
        "Guest #12",
        "Ada\N{NO-BREAK SPACE}Lovelace",
        "Table 4/5 + 6",
        "བསྟན་འཛིན",
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
        ".",
        "( ) - #",
        "\N{KATAKANA MIDDLE DOT}\u0301",
        "Ada_Lovelace",
        "ada@example.com",
        "<b>Ada</b>",
        'Ada "Countess" Lovelace',
        "Ada `Countess`",
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


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("山田\u3000太郎", "山田 太郎"),
        ("  Ada \u00a0\u2003 Lovelace\u202f", "Ada Lovelace"),
        ("Ada  Lovelace", "Ada Lovelace"),
        (f"{'a' * 50}{' ' * 100}{'b' * 49}", f"{'a' * 50} {'b' * 49}"),
    ],
)
def test_every_run_of_spaces_becomes_one_space(name: str, stored: str) -> None:
    assert make_order(customer_name=name).customer_name == stored


@pytest.mark.parametrize(
    ("name", "character"),
    [
        ("Ada!", 'must not contain "!" (U+0021);'),
        ("Ada 😀", 'must not contain "😀" (U+1F600);'),
        ("Ada\u202eL", "must not contain the character U+202E (RIGHT-TO-LEFT OVERRIDE);"),
        ("Ada\u200d", "must not contain the character U+200D (ZERO WIDTH JOINER);"),
        ('Ada "A" L', "must not contain '\"' (U+0022);"),
    ],
)
def test_fault_of_a_refused_name_names_the_character(name: str, character: str) -> None:
    with pytest.raises(ValidationError) as refused:
        make_order(customer_name=name)

    (error,) = field_errors(refused.value.errors())
    assert error.field == "customer_name"
    assert error.message.startswith(character)


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
        exclude_characters="".join(MARKS_OF_NAMES) + JOINERS,
    )
)
def test_every_unicode_punctuation_symbol_and_control_is_refused(sign: str) -> None:
    assert not is_accepted(f"Ada{sign}Lovelace")


@given(st.text(max_size=100))
def test_nearest_name_of_any_text_is_accepted(text: str) -> None:
    name = nearest_customer_name(text)

    assert name is None or is_accepted(name)
