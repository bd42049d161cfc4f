"""Split texts that are longer than a field of our order, without losing a word."""

import unicodedata

from restaurant_system.models.text import JOINERS, LINE_BREAKS, is_visible, without_refused

LONGEST_CLUSTER = 20  # characters that are drawn as one, such as an emoji of a family


def split(text: str, first: int, following: int) -> list[str]:
    """Return a text in parts: the first has at most `first` characters, each other `following`.

    Parts end at spaces or line breaks where there are any. Each is valid if the text is.
    """
    parts, limit = [], first
    while len(text) > limit:
        end = _end_of_part(text, limit)
        parts.append(without_refused(text[:end].rstrip(), allowed=LINE_BREAKS))
        text, limit = without_refused(text[end:].lstrip(), allowed=LINE_BREAKS), following
    return [part for part in (*parts, text) if is_visible(part)]


def beginning(text: str, length: int) -> str:
    """Return as much of a text as fits into so many characters, an empty one if that is nothing."""
    return next(iter(split(text[: length + 1], length, length)), "")


def _end_of_part(text: str, limit: int) -> int:
    """Return where a part ends: at the last space, or else before a character and its marks."""
    space = max(text.rfind(each, 1, limit + 1) for each in " \n\t")
    if space > limit // 2:
        return space
    end, least = limit, max(limit - LONGEST_CLUSTER, 0)
    while end > least and _belongs_together(text[end - 1], text[end]):
        end -= 1
    return end if end > least else limit


def _belongs_together(before: str, after: str) -> bool:
    """Tell whether a character is drawn as one with that before it: marks, joiners, modifiers."""
    return before in JOINERS or unicodedata.category(after) in {"Mn", "Mc", "Me", "Cf", "Sk"}
