"""`GET /menu`, and its ETag."""

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
    """Return settings with a menu."""
    return Settings(order_service=OrderServiceSettings(menu=menu))


async def get_with_etag(client: httpx.AsyncClient, tag: str) -> httpx.Response:
    """Send GET /menu with If-None-Match and the ETag that the client has."""
    return await client.get("/menu", headers={"If-None-Match": tag})


async def test_menu_is_answered_304_until_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "menu.yaml"
    path.write_text(LUNCH)

    async with http_client(menu_feature(settings(path), otherwise=NO_MENU)) as client:
        first = await client.get("/menu")
        tag = first.headers["ETag"]
        assert (first.status_code, first.json()) == (200, OFFERED)
        assert first.headers["Content-Type"] == "application/json"
        for known in (tag, f"W/{tag}", f'"another", {tag}', "*"):
            answer = await get_with_etag(client, known)
            assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", tag)

        path.write_text(LUNCH.replace("6.90", "7.20"))

        changed = await get_with_etag(client, tag)
        assert changed.status_code == 200
        assert changed.headers["ETag"] != tag
        assert changed.json()["sections"][0]["items"][0]["price"] == 7.2


async def test_last_valid_menu_is_served_after_an_invalid_change(tmp_path: Path) -> None:
    path = tmp_path / "menu.yaml"
    path.write_text(LUNCH)

    async with http_client(menu_feature(settings(path), otherwise=NO_MENU)) as client:
        tag = (await client.get("/menu")).headers["ETag"]
        path.write_text(LUNCH.replace("6.90", "free"))

        assert (await get_with_etag(client, tag)).status_code == 304
        assert (await client.get("/menu")).json() == OFFERED


async def test_without_a_configured_menu_an_empty_one_is_served() -> None:
    async with http_client(menu_feature(settings(None), otherwise=NO_MENU)) as client:
        assert (await client.get("/menu")).json() == {"sections": []}


def test_service_does_not_start_with_an_invalid_menu(tmp_path: Path) -> None:
    path = tmp_path / "menu.yaml"
    path.write_text("sections: free")

    with pytest.raises(ConfigurationError, match=r"menu\.yaml breaks a rule: sections must be"):
        menu_feature(settings(path), otherwise=NO_MENU)
    path.unlink()
    with pytest.raises(ConfigurationError, match=r"Cannot read the menu .*menu\.yaml"):
        menu_feature(settings(path), otherwise=NO_MENU)
