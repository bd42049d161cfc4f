"""Names for what is to be found again."""

import random
import re
from uuid import UUID

REQUEST_ID = re.compile(r"[A-Za-z0-9._:@/+=-]{1,128}")


def new_id() -> UUID:
    """Return a UUID (RFC 9562, version 4).

    It is to be unique, not to be secret, so the kernel is not asked for randomness each time.
    """
    return UUID(int=random.getrandbits(128), version=4)


def is_request_id(text: str) -> bool:
    """Tell whether a text that came from outside can serve as a request id, in logs and headers."""
    return REQUEST_ID.fullmatch(text) is not None
