import pytest

from restaurant_system.cli import welcome
from restaurant_system.config import Settings

ADDRESS = "http://localhost:3000"


@pytest.mark.parametrize(
    ("screen", "path"),
    [("Counter", "/"), ("Kitchen", "/kitchen"), ("Board", "/board"), ("Dashboard", "/dashboard")],
)
def test_first_screen_shows_the_address_of_each_page(
    capsys: pytest.CaptureFixture[str], screen: str, path: str
) -> None:
    welcome.show(Settings(), [], ADDRESS, None)

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [screen, ADDRESS + path] in lines
