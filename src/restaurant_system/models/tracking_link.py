"""The secret part of the link by which a customer follows an order without signing in.

An order number can be guessed, and shows the status alone. The link has a random token besides, and
shows the items and the steps of the order. It contains no personal data, and neither does what it
shows, because people pass links on.
"""

import re
import secrets

TOKEN_SIZE = 16  # bytes, all of them random
TOKEN = re.compile(rf"[0-9a-f]{{{2 * TOKEN_SIZE}}}", re.ASCII)


def new_token() -> bytes:
    """Return the token of a new order."""
    return secrets.token_bytes(TOKEN_SIZE)


def tracking_path(order_number: str, token: bytes) -> str:
    """Return the path of an order's tracking page, with its token."""
    return f"/track/{order_number}/{token.hex()}"


def is_token_of(stored: bytes | None, text: str) -> bool:
    """Tell whether a link's token is that of an order; the comparison takes the same time always.

    An order without a token, `None`, has no link.
    """
    if stored is None or not TOKEN.fullmatch(text):
        return False
    return secrets.compare_digest(stored, bytes.fromhex(text))
