"""The names of customers: which characters they may contain.

Accepted are letters, combining marks and digits of any script, spaces, and the marks that are
written in names. Every run of spaces becomes one space, whichever spaces Unicode has for it.
"""

import re
import unicodedata

from restaurant_system.error_texts import ErrorText
from restaurant_system.models.fields import invalid_value
from restaurant_system.models.text import (
    GROWING,
    JOINERS,
    character_name,
    refused_character,
    shows_itself,
    without_refused,
)

MAX_LENGTH = 100  # characters

APOSTROPHES = (
    "'"
    "\u2018\u2019"  # quotation marks, typed as apostrophes
    "\u055a"  # Armenian apostrophe
    "\u05f3\u05f4"  # Hebrew geresh and gershayim
    "\uff07"  # full-width apostrophe
)
DOTS_BETWEEN_NAMES = (
    "\u00b7"  # middle dot: Catalan, and Chinese names of foreigners
    "\u2027"  # hyphenation point, typed instead of it
    "\u30fb\uff65"  # katakana middle dot, and its half-width form
    "\u0f0b"  # Tibetan mark between syllables
)
SIGNS = ".,/&()#+"
FULL_WIDTH_SIGNS = "\uff0e\uff0c\uff0f\uff06\uff08\uff09\uff03\uff0b"
MARKS = frozenset(APOSTROPHES + DOTS_BETWEEN_NAMES + SIGNS + FULL_WIDTH_SIGNS)

# Most names: of ASCII, with single spaces.
PLAIN = re.compile(
    r"(?=[^A-Za-z0-9]*[A-Za-z0-9])[A-Za-z0-9'.,/&()#+-]+(?: [A-Za-z0-9'.,/&()#+-]+)*", re.ASCII
)
# The space separators of Unicode (Zs).
SPACES = re.compile("[ \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]+")
# JSON Schema patterns need not support Unicode classes; this one excludes the other ASCII marks.
JSON_SCHEMA_PATTERN = (
    r"""^(?=.*[^\x00-/:-@\[-`{-\x7f])[^\x00-\x1f!"$%*:;<=>?@\[\\\]^_`{|}~\x7f]*$"""
)
ALLOWED = "letters, digits, spaces, hyphens, apostrophes and . , / & ( ) # + are allowed"


def clean_customer_name(text: str) -> str:
    """Return a name with single spaces; raises `ValueError`, which names the refused character."""
    name = SPACES.sub(" ", text.strip()).strip()
    if PLAIN.fullmatch(name) is None:
        _check_characters(name)
    if len(name) > MAX_LENGTH:
        message = f"must have at most {MAX_LENGTH} characters"
        raise invalid_value(ErrorText(message, "string_too_long", max_length=MAX_LENGTH))
    return name


def nearest_customer_name(text: str) -> str | None:
    """Return a name of any length without the characters that names must not contain.

    A space replaces each of them, and the marks on it. `None` if no letter or digit is left.
    """
    kept: list[str] = []
    for char in without_refused(text):
        if char in JOINERS or unicodedata.category(char)[0] == "M":
            is_kept = bool(kept) and kept[-1] != " "  # with the character that it belongs to
        else:
            is_kept = _is_allowed(char)
        kept.append(char if is_kept else " ")
    name = SPACES.sub(" ", without_refused("".join(kept))).strip()
    return name if any(_is_letter(char) for char in name) else None


def is_plain_name(text: str) -> bool:
    """Return whether a name is certainly valid as it is, as most are."""
    return len(text) <= MAX_LENGTH and PLAIN.fullmatch(text) is not None


def _check_characters(name: str) -> None:
    refused = refused_character(name)
    if refused is None:
        refused = next((char for char in name if not _is_allowed(char)), None)
    if refused is not None:
        char = character_name(refused)
        if shows_itself(refused):
            message = f"must not contain {char}; {ALLOWED}"
            raise invalid_value(ErrorText(message, "character_not_in_names", character=char))
        message = f"must not contain the character {char}; {ALLOWED}"
        raise invalid_value(ErrorText(message, "hidden_character_not_in_names", character=char))
    if not any(_is_letter(char) for char in name):
        message = "must have at least one letter or digit"
        raise invalid_value(ErrorText(message, "no_letter_or_digit"))


def _is_allowed(char: str) -> bool:
    """Return whether a character may be in names: dashes too, because any may be a hyphen."""
    if char == " " or char in MARKS or char in JOINERS or _is_letter(char):
        return True
    category = unicodedata.category(char)
    return category[0] == "M" or category == "Pd"


def _is_letter(char: str) -> bool:
    """Return whether a character is a letter or a digit.

    An ideograph that is younger than Python's tables is a letter.
    """
    category = unicodedata.category(char)
    if category == "Cn":
        return char >= "\U00020000" and GROWING.match(char) is not None
    return category[0] == "L" or category == "Nd"
