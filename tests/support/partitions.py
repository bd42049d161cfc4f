"""Tables with a partition for each month, seen as one table."""

import re

# All tables, with those that have partitions as one.
TABLES = """
SELECT relname FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
"""
MONTH = re.compile("_([0-9]{6}|earlier)(?=_|$)")


def without_month(name: str) -> str:
    """Return the name that a partition, its index or its constraint has in the whole table."""
    return MONTH.sub("", name)
