"""Validate and escape text from outside: stored text, request ids, and text that is printed.

Control and format characters are refused: they reorder text (bidirectional overrides), hide it, or
control a terminal. Two kinds of format characters belong to written language and are allowed: the
joiners of Indic and Arabic scripts and of emoji, and the tags in the flags of England, Scotland and
Wales.
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
    """Return the first character that `text` must not contain; those in `allowed` are accepted."""
    if text.isprintable():
        return None
    text = TAGGED_FLAG.sub("\U0001f3f4", text)
    for position, char in enumerate(text):
        if char in JOINERS:
            if not _joins(text, position):
                return char
        elif char not in allowed and _is_refused(char):
            return char
    return None


def is_request_id(text: str) -> bool:
    """Return whether a text from outside may be used as a request id in logs and headers."""
    return REQUEST_ID.fullmatch(text) is not None


def escape_nonprintable(text: str) -> str:
    r"""Replace each character that is not `str.isprintable` by an escape such as ``\x1b``.

    A terminal interprets control characters and reorders text around bidirectional controls, so
    text from customers, third parties and the command line is escaped where it is printed. Escaped
    are control and format characters, line breaks, spaces other than U+0020, surrogates, private
    and unassigned code points.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def _is_refused(char: str) -> bool:
    return unicodedata.category(char) in REFUSED or char in NONCHARACTERS


def _joins(text: str, position: int) -> bool:
    """Return whether a joiner is between two letters, or after a mark (as in Malayalam)."""
    before, after = _kind(text[position - 1 : position]), _kind(text[position + 1 : position + 2])
    return before == "M" or (before in JOINED and after in JOINED)


def _kind(char: str) -> str:
    """Return the major Unicode class of a character; `-` for an empty string."""
    return unicodedata.category(char)[0] if char else "-"
