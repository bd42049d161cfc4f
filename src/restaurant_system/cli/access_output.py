"""Print users and API keys."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from restaurant_system.database.users import ApiKey, User
from restaurant_system.models.text import escape_nonprintable


def print_users(users: Sequence[User]) -> None:
    """Print a line per user: a table on a terminal, else tab-separated."""
    rows = [
        (user.name, user.role, _state(user.disabled_at), "no" if user.pin_hash is None else "yes")
        for user in users
    ]
    _print(("Name", "Role", "State", "PIN"), rows, if_none="No users.")


def print_keys(keys: Sequence[ApiKey]) -> None:
    """Print a line per API key, which itself is not known any more."""
    rows = [(key.name, ",".join(key.scopes), _state(key.disabled_at)) for key in keys]
    _print(("Name", "Scopes", "State"), rows, if_none="No API keys.")


def _state(disabled_at: datetime | None) -> str:
    if disabled_at is None:
        return "enabled"
    return f"disabled since {disabled_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _print(headings: Sequence[str], rows: Sequence[Sequence[str]], *, if_none: str) -> None:
    if not rows:
        print(if_none)
    elif sys.stdout.isatty():
        table = Table(*headings, box=None, pad_edge=False, header_style="bold")
        for row in rows:
            table.add_row(*map(escape_nonprintable, row))
        Console(highlight=False, markup=False, emoji=False).print(table)
    else:
        for row in rows:
            print("\t".join(map(escape_nonprintable, row)))
