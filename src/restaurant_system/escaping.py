"""Text from outside, made safe for a terminal.

A terminal obeys control characters and reorders text around bidirectional controls; so whatever a
customer, a third party or a command line may have written is escaped where it is printed.
"""


def escape_nonprintable(text: str) -> str:
    r"""Write each character that `str.isprintable` refuses as an escape sequence, such as ``\x1b``.

    These are control and format characters, line breaks and spaces other than U+0020, surrogates,
    private and unassigned code points.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
