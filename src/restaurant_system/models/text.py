"""Validate and escape text from outside: stored text, request ids, and text that is printed.

Control and format characters are refused: they reorder text (bidirectional overrides), hide it, or
control a terminal. Two kinds of format characters belong to written language and are allowed: the
joiners of Indic and Arabic scripts and of emoji, and the tags in the flags of England, Scotland and
Wales.

Combining marks are drawn over the character before them, and over the lines around it if they are
many. So only a limited number of them may follow one another.
"""

import re
import unicodedata

MAX_MARKS = 6  # nonspacing marks in a row; Burmese, Tibetan and pointed Hebrew have up to five
MAY_BE_MARKS = re.compile(rf"[^\x00-\x7f]{{{MAX_MARKS + 1}}}")
NONSPACING = frozenset({"Mn", "Me"})
# Spaces, marks, control and format characters show nothing on their own. Nor do the fillers of
# Hangul, the blank Braille pattern, and what Unicode reserves (Default_Ignorable_Code_Point).
INVISIBLE_CLASSES = frozenset({"Zs", "Zl", "Zp", "Mn", "Mc", "Me", "Cc", "Cf", "Cs"})
INVISIBLE = frozenset(
    "\u115f\u1160\u2800\u3164\uffa0\u2065"
    + "".join(map(chr, [*range(0xFFF0, 0xFFF9), *range(0xE0000, 0xE1000)]))
)
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
    """Return the first character that `text` must not contain; those in `allowed` are accepted.

    Among these are control and format characters, and the mark that is one too many in a row.
    """
    excess = _excess_mark(text) if MAY_BE_MARKS.search(text) else None
    if excess is not None or text.isprintable():
        return excess
    text = TAGGED_FLAG.sub("\U0001f3f4", text)
    for position, char in enumerate(text):
        if char in JOINERS:
            if not _joins(text, position):
                return char
        elif char not in allowed and _is_refused(char):
            return char
    return None


def is_visible(text: str) -> bool:
    """Tell whether a text shows more than spaces, and marks without a character before them."""
    return any(
        char not in INVISIBLE and unicodedata.category(char) not in INVISIBLE_CLASSES
        for char in text
    )


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


def _excess_mark(text: str) -> str | None:
    """Return the first mark that follows `MAX_MARKS` others; joiners between them do not count."""
    marks = 0
    for char in text:
        if unicodedata.category(char) in NONSPACING:
            marks += 1
            if marks > MAX_MARKS:
                return char
        elif char not in JOINERS:
            marks = 0
    return None


def _joins(text: str, position: int) -> bool:
    """Return whether a joiner is between two letters, or after a mark (as in Malayalam)."""
    before, after = _kind(text[position - 1 : position]), _kind(text[position + 1 : position + 2])
    return before == "M" or (before in JOINED and after in JOINED)


def _kind(char: str) -> str:
    """Return the major Unicode class of a character; `-` for an empty string."""
    return unicodedata.category(char)[0] if char else "-"
