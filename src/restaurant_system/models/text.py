"""Validate and escape text from outside: stored text, request ids, and text that is printed.

Control and format characters are refused: they reorder text (bidirectional overrides), hide it, or
control a terminal. Two kinds of format characters belong to written language and are allowed: the
joiners of Indic and Arabic scripts and of emoji, and the tags in the flags of England, Scotland and
Wales. Letters and signs that show nothing are refused too, and private use characters, which show
something else on each device.

Unassigned code points are refused, because they show nothing but a box. But Unicode adds characters
each year, and Python learns them years later; so they are allowed where it adds those that orders
contain: emoji, Chinese characters in names, and currency signs.

Combining marks are drawn over the character before them, and over the lines around it if they are
many. So only a limited number of them may follow one another.
"""

import re
import unicodedata
from collections.abc import Iterator

MAX_MARKS = 6  # nonspacing marks in a row; Burmese, Tibetan and pointed Hebrew have up to five
MAY_BE_MARKS = re.compile(rf"[^\x00-\x7f]{{{MAX_MARKS + 1}}}")
NONSPACING = frozenset({"Mn", "Me"})
# Letters, marks and symbols without a glyph: the fillers of Hangul and the inherent vowels of Khmer
# (Default_Ignorable_Code_Point), the blanks of Egyptian hieroglyphs, and the null notehead.
HIDDEN = re.compile("[\u115f\u1160\u17b4\u17b5\u3164\uffa0\U00013441\U00013442\U0001d159]")
# Spaces, marks, control and format characters show nothing on their own. Nor do the blank Braille
# pattern, which is a space between others, and the place of an object that was not copied.
INVISIBLE_CLASSES = frozenset({"Zs", "Zl", "Zp", "Mn", "Mc", "Me", "Cc", "Cf", "Cs"})
INVISIBLE = frozenset("\u2800\ufffc")
REQUEST_ID = re.compile(r"[A-Za-z0-9._:@/+=-]{1,128}")
# What may be in a text without showing anything: joiners, and marks that only select a glyph.
IGNORED = re.compile("[\u034f\u180b-\u180d\u200c\u200d\ufe00-\ufe0f\U000e0100-\U000e01ef]")
LINE_BREAKS = "\n\r\t"
JOINERS = "\u200c\u200d"  # zero width non-joiner and joiner
JOINED = "LMS"  # letters, marks, and symbols, among which emoji are
# Unicode Technical Standard 51, ED-14a: a black flag, a region in tag characters, a cancel tag.
TAGGED_FLAG = re.compile("\U0001f3f4[\U000e0030-\U000e007a]{2,6}\U000e007f")
# Cc control, Cf format, Cs surrogates, Co private use, Zl and Zp line and paragraph separators.
REFUSED = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
# The ranges that Unicode reserves for currency signs, pictographs and ideographs
# (DerivedBidiClass.txt, emoji-data.txt, EastAsianWidth.txt); noncharacters end a plane.
GROWING = re.compile(
    "[\u20a0-\u20cf\U0001f000-\U0001fffd\U00020000-\U0002fffd\U00030000-\U0003fffd]"
)


def refused_character(text: str, *, allowed: str = "") -> str | None:
    """Return the first character that `text` must not contain; those in `allowed` are accepted.

    Among these are control and format characters, and the mark that is one too many in a row.
    """
    if text.isascii() and text.isprintable():
        return None
    excess = _excess_mark(text) if MAY_BE_MARKS.search(text) else None
    if excess is not None or (text.isprintable() and not HIDDEN.search(text)):
        return excess
    text = TAGGED_FLAG.sub("\U0001f3f4", text)
    for position, char in enumerate(text):
        if char in JOINERS:
            if not _joins(text, position):
                return char
        elif char not in allowed and _is_refused(char):
            return char
    return None


def without_refused(text: str, *, allowed: str = "") -> str:
    """Return a text without the characters that it must not contain; see `refused_character`."""
    if refused_character(text, allowed=allowed) is None:
        return text
    text = "".join(_kept(text, allowed))
    return "".join(
        char for position, char in enumerate(text) if char not in JOINERS or _joins(text, position)
    )


def folded_text(text: str) -> str:
    """Return a text that is equal for texts that a person reads as the same.

    Such texts differ in case, in their spaces, in Unicode form, or in characters without a glyph.
    """
    if not text.isascii():
        text = IGNORED.sub("", text).replace("\u2800", " ")
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(text.split()).casefold()


def is_visible(text: str) -> bool:
    """Tell whether a text shows more than spaces, and marks without a character before them."""
    if text.isascii() and text.isprintable():
        return bool(text.strip())
    return any(
        char not in INVISIBLE
        and not HIDDEN.match(char)
        and unicodedata.category(char) not in INVISIBLE_CLASSES
        for char in text
    )


def shows_itself(char: str) -> bool:
    """Return whether a character can be seen in a sentence."""
    return char.isprintable() and is_visible(char)


def character_name(char: str) -> str:
    """Name a character: as it is if that can be seen, else by its name in Unicode."""
    code = f"U+{ord(char):04X}"
    if shows_itself(char):
        quote = "'" if char == '"' else '"'
        return f"{quote}{char}{quote} ({code})"
    name = unicodedata.name(char, "")
    return f"{code} ({name})" if name else code


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
    category = unicodedata.category(char)
    if category == "Cn":
        return not GROWING.match(char)
    return category in REFUSED or HIDDEN.match(char) is not None


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


def _kept(text: str, allowed: str) -> Iterator[str]:
    """Yield the characters that may be in a text, and all joiners."""
    marks, flag_end = 0, 0
    for position, char in enumerate(text):
        if flag := TAGGED_FLAG.match(text, position):
            flag_end = flag.end()
        if position < flag_end:
            marks = 0
            yield char
        elif char in JOINERS:
            yield char
        elif char in allowed or not _is_refused(char):
            marks = marks + 1 if unicodedata.category(char) in NONSPACING else 0
            if marks <= MAX_MARKS:
                yield char


def _joins(text: str, position: int) -> bool:
    """Return whether a joiner is between two letters, or after a mark (as in Malayalam)."""
    before, after = _kind(text[position - 1 : position]), _kind(text[position + 1 : position + 2])
    return before == "M" or (before in JOINED and after in JOINED)


def _kind(char: str) -> str:
    """Return the major Unicode class of a character; `-` for an empty string.

    A character that is younger than Python's tables counts as a symbol, as emoji do.
    """
    if not char:
        return "-"
    return "S" if GROWING.match(char) else unicodedata.category(char)[0]
