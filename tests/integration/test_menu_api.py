"""`GET /menu`: what is offered, and whether it is still the same."""

from pathlib import Path

import httpx
import pytest

from restaurant_system.app.order_service import menu_feature
from restaurant_system.config import OrderServiceSettings, Settings
from restaurant_system.errors import ConfigurationError
from restaurant_system.models.menu import NO_MENU
from tests.support.services import http_client

LUNCH = """
sections:
  - name: Soups
    items: [{name: Minestrone, price: 6.90}, {name: Miso, price: 5, available: false}]
"""
OFFERED = {
    "sections": [
        {
            "name": "Soups",
            "items": [
                {"name": "Minestrone", "price": 6.9, "available": True},
                {"name": "Miso", "price": 5.0, "available": False},
            ],
        }
    ]
}


def settings(menu: Path | None) -> Settings:
    """Configure a menu."""
    return Settings(order_service=OrderServiceSettings(menu=menu))


async def asked_again(client: httpx.AsyncClient, tag: str) -> httpx.Response:
    """Ask for the menu as one who knows it."""
    return await client.get("/menu", headers={"If-None-Match": tag})


async def test_a_menu(tmp_path: Path) -> None:
    """The menu of the file is answered; whoever knows it is told so, until it changes."""
    path = tmp_path / "menu.yaml"
    path.write_text(LUNCH)

    async with http_client(menu_feature(settings(path), otherwise=NO_MENU)) as client:
        first = await client.get("/menu")
        tag = first.headers["ETag"]
        assert (first.status_code, first.json()) == (200, OFFERED)
        assert first.headers["Content-Type"] == "application/json"
        for known in (tag, f"W/{tag}", f'"another", {tag}', "*"):
            answer = await asked_again(client, known)
            assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", tag)

        path.write_text(LUNCH.replace("6.90", "7.20"))

        changed = await asked_again(client, tag)
        assert changed.status_code == 200
        assert changed.headers["ETag"] != tag
        assert changed.json()["sections"][0]["items"][0]["price"] == 7.2


async def test_a_faulty_change(tmp_path: Path) -> None:
    """Guests are offered the last good menu while its file is faulty."""
    path = tmp_path / "menu.yaml"
    path.write_text(LUNCH)

    async with http_client(menu_feature(settings(path), otherwise=NO_MENU)) as client:
        tag = (await client.get("/menu")).headers["ETag"]
        path.write_text(LUNCH.replace("6.90", "free"))

        assert (await asked_again(client, tag)).status_code == 304
        assert (await client.get("/menu")).json() == OFFERED


async def test_no_menu() -> None:
    """Without a menu nothing is offered, and that is answered too."""
    async with http_client(menu_feature(settings(None), otherwise=NO_MENU)) as client:
        assert (await client.get("/menu")).json() == {"sections": []}


def test_a_menu_that_is_faulty_from_the_start(tmp_path: Path) -> None:
    """A service does not start with a menu that it cannot show."""
    path = tmp_path / "menu.yaml"
    path.write_text("sections: free")

    with pytest.raises(ConfigurationError, match=r"menu\.yaml breaks a rule: sections must be"):
        menu_feature(settings(path), otherwise=NO_MENU)
    path.unlink()
    with pytest.raises(ConfigurationError, match=r"Cannot read the menu .*menu\.yaml"):
        menu_feature(settings(path), otherwise=NO_MENU)
