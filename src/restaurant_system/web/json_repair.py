"""Repair JSON whose texts make it invalid, as programs write it that cut or copy texts carelessly.

Only texts are changed, so what a repaired body means is not in doubt.
"""

import re

# Bytes that are not UTF-8, as `surrogateescape` decodes them.
UNDECODED = re.compile("[\udc80-\udcff]")
# Between the tokens of JSON a space is as good as a line break; in a text they must be escaped.
CONTROLS = re.compile("[\x00-\x1f]")
# Every escape is matched, so that an escaped backslash before "ud83d" is not taken for one.
ESCAPE = re.compile(
    r"(?P<kept>\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
    r"|(?P<other>\\.)"
)


def repaired(body: bytes) -> bytes:
    r"""Return a body without what no JSON may contain.

    A byte order mark and halves of surrogate pairs ("\ud83d", of an emoji that was cut) are
    dropped, raw control characters become spaces, and bytes that are not UTF-8 are read as Latin-1.
    """
    text = body.decode("utf-8-sig", "surrogateescape")
    text = UNDECODED.sub(lambda byte: chr(ord(byte[0]) - 0xDC00), text)
    text = CONTROLS.sub(" ", text)
    return ESCAPE.sub(lambda escape: escape["kept"] or escape["other"] or "", text).encode()
