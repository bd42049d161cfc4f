"""Names for what is to be found again."""

import random
from uuid import UUID


def new_id() -> UUID:
    """Return a UUID (RFC 9562, version 4).

    It is to be unique, not to be secret, so the kernel is not asked for randomness each time.
    """
    return UUID(int=random.getrandbits(128), version=4)
