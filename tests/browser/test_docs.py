"""The API documentation in a browser."""

import pytest
from playwright.async_api import Route, expect

from tests.support.browser import Screens

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_api_documentation_is_shown_without_the_internet(screens: Screens) -> None:
    """All operations are shown, and nothing is requested from other servers."""
    page = await screens.open("/menu")
    external_requests: list[str] = []

    async def refuse(route: Route) -> None:
        external_requests.append(route.request.url)
        await route.abort()

    await page.context.route(lambda url: not url.startswith(screens.address), refuse)
    await page.goto("/docs")

    operation = page.locator(".opblock", has_text="/orders/{order_number}/status")
    # ms; the page parses and resolves the whole document first
    await expect(operation).to_be_visible(timeout=30_000)
    await operation.click(timeout=30_000)
    await expect(operation.locator(".opblock-body")).to_be_visible()
    assert [url for url in external_requests if not url.startswith("data:")] == []
