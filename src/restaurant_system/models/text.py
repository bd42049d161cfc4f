"""Which characters may stand in a text that is stored or shown (section 3 of the contract).

Control and format characters are refused: they reorder what is read (bidirectional overrides), hide
it, or steer a terminal. Two kinds of format characters are part of writing and stay: the joiners of
Indic and Arabic scripts and of emoji, and the tags of the flags of England, Scotland and Wales.
"""

import re
import unicodedata

REQUEST_ID = re.compile(r"[A-Za-z0-9._:@/+=-]{1,128}")
LINE_BREAKS = "\n\r\t"
JOINERS = "\u200c\u200d"  # zero width non-joiner and joiner
JOINED = "LMS"  # letters, marks, and symbols, among which emoji are
# Unicode Technical Standard 51, ED-14a: a black flag, a region in tag characters, a cancel tag.
TAGGED_FLAG = re.compile("\U0001f3f4[\U000e0030-\U000e007a]{2,6}\U000e007f")
# Cc control, Cf format, Cs surrogates, Zl and Zp line and paragraph separators.
REFUSED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Unicode 23.7: never assigned, for internal use.
NONCHARACTERS = frozenset(
    map(
        chr,
        [
            *range(0xFDD0, 0xFDF0),
            *range(0xFFFE, 0x110000, 0x10000),
            *range(0xFFFF, 0x110000, 0x10000),
        ],
    )
)


def refused_character(text: str, *, allowed: str = "") -> str | None:
    """Return the first character that may not stand in `text`, but for those that are `allowed`."""
    if text.isprintable():
        return None
    text = TAGGED_FLAG.sub("\U0001f3f4", text)
    for place, char in enumerate(text):
        if char in JOINERS:
            if not _joins(text, place):
                return char
        elif char not in allowed and _is_refused(char):
            return char
    return None


def is_request_id(text: str) -> bool:
    """Return whether a text from outside may be used as a request id in logs and headers."""
    return REQUEST_ID.fullmatch(text) is not None


def _is_refused(char: str) -> bool:
    return unicodedata.category(char) in REFUSED or char in NONCHARACTERS


def _joins(text: str, place: int) -> bool:
    """Tell whether a joiner stands between two letters, or behind a mark (as in Malayalam)."""
    before, after = _kind(text[place - 1 : place]), _kind(text[place + 1 : place + 2])
    return before == "M" or (before in JOINED and after in JOINED)


def _kind(char: str) -> str:
    """Return the major class of a character; of none, a class that is none."""
    return unicodedata.category(char)[0] if char else "-"
