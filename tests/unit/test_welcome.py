"""The first screen of `up`."""

import pytest

from restaurant_system.cli import welcome
from restaurant_system.config import Settings

ADDRESS = "http://localhost:3000"


@pytest.mark.parametrize(
    ("screen", "path"),
    [("Counter", "/"), ("Kitchen", "/kitchen"), ("Board", "/board"), ("Dashboard", "/dashboard")],
)
def test_where_the_screens_are(capsys: pytest.CaptureFixture[str], screen: str, path: str) -> None:
    """Each screen is named, with the address that opens it."""
    welcome.show(ADDRESS, Settings(), [])

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [screen, ADDRESS + path] in lines
