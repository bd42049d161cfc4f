"""Escape untrusted text that is printed on a terminal.

A terminal interprets control characters and reorders text around bidirectional controls. Text from
customers, third parties and the command line is therefore escaped where it is printed.
"""


def escape_nonprintable(text: str) -> str:
    r"""Replace each character that is not `str.isprintable` by an escape such as ``\x1b``.

    These are control and format characters, line breaks and spaces other than U+0020, surrogates,
    private and unassigned code points.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
