import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.support.orders import make_order


def is_taken(name: str) -> bool:
    """Tell whether a customer may be called so."""
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
def test_names_of_the_world(name: str) -> None:
    """Letters and combining marks of any script make a name, with digits, ', ’, - and spaces."""
    assert is_taken(name)


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
    ],
)
def test_no_names(name: str) -> None:
    """Nothing, too much, and any other sign make no name."""
    assert not is_taken(name)


@given(st.text(st.characters(categories=["L", "M"]), min_size=1, max_size=100))
@example("a" * 100)
def test_any_letters(name: str) -> None:
    """Whatever Unicode calls a letter or a mark may stand in a name."""
    assert is_taken(name)


@given(
    st.characters(
        categories=["Cc", "Cf", "Co", "Pc", "Po", "Ps", "Pe", "Pi", "Pf", "S"],
        exclude_characters="'’",
    )
)
def test_any_other_sign(sign: str) -> None:
    """Whatever Unicode calls punctuation, a symbol or a control stands in no name."""
    assert not is_taken(f"Ada{sign}Lovelace")
