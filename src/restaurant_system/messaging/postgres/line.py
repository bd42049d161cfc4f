"""What it means that the broker in PostgreSQL is away."""

import contextlib
from collections.abc import Iterator

from restaurant_system.errors import DatabaseUnavailable, QueueTableUnavailable


@contextlib.contextmanager
def translate_errors() -> Iterator[None]:
    """Raise `QueueTableUnavailable` when the database is away."""
    try:
        yield
    except DatabaseUnavailable as error:
        raise QueueTableUnavailable(str(error)) from error
