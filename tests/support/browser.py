"""Run Chromium, and open pages whose errors are recorded."""

import contextlib
import json
from collections.abc import AsyncIterator
from importlib.resources import files
from typing import Any

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import (
    Browser,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    async_playwright,
    expect,
)

from restaurant_system import screens as screen_files
from tests.support.prerequisites import chromium

FOREIGN_HOST = "evil.example"  # a host name that points at this machine

# Chromium has no sandbox as root; the next options prevent connections to the internet.
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--host-resolver-rules=MAP {FOREIGN_HOST} 127.0.0.1",
]
SERIOUS = {"serious", "critical"}
CONNECTION_ERRORS = (
    "net::ERR_",
    "Failed to load resource",
)  # logged while the server is down


@contextlib.asynccontextmanager
async def running_browser() -> AsyncIterator[Browser]:
    """Run a headless Chromium."""
    async with async_playwright() as playwright:
        chrome = await playwright.chromium.launch(executable_path=chromium(), args=OPTIONS)
        try:
            yield chrome
        finally:
            await chrome.close()


class Screens:
    """Opens pages of one app, each on a device of its own, and records their errors.

    Failed connections are expected in tests that stop a server; other errors are not.
    """

    def __init__(self, browser: Browser, address: str) -> None:
        self.address = address
        self.errors: list[str] = []
        self._browser = browser
        self._stack = contextlib.AsyncExitStack()

    async def open(self, path: str, *, width: int = 1280, height: int = 800, **device: Any) -> Page:  # noqa: ANN401 - options of playwright
        """Open a page on a new device."""
        context = await self._browser.new_context(
            base_url=self.address, viewport={"width": width, "height": height}, **device
        )
        self._stack.push_async_callback(context.close)
        page = await context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", self._record_message)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("requestfailed", self._record_failed_request)
        await page.goto(path)
        return page

    async def close(self) -> None:
        """Close all browser contexts."""
        await self._stack.aclose()

    @property
    def unexpected_errors(self) -> list[str]:
        """The recorded errors other than failed connections."""
        return [each for each in self.errors if not any(sign in each for sign in CONNECTION_ERRORS)]

    def _record_message(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.errors.append(message.text)

    def _record_failed_request(self, request: Request) -> None:
        self.errors.append(f"net::ERR_ {request.url}: {request.failure}")


async def serious_violations(page: Page) -> list[str]:
    """Return the serious accessibility violations that axe-core finds on a page."""
    results = await Axe().run(page)
    return [
        f"{violation['id']}: {[node['html'] for node in violation['nodes']]}"
        for violation in results.response["violations"]
        if violation["impact"] in SERIOUS
    ]


HEIGHTS_WITH_TEXTS = """
    (row, texts) => texts.map((text) => {
        row.querySelector(".state").textContent = text;
        return row.getBoundingClientRect().height;
    })
"""


async def heights_during_acts(row: Locator) -> set[float]:
    """Return how high an order in a list is with the texts of its acts, in each language."""
    texts: list[str] = []
    for language in ("en", "de", "es"):
        content = json.loads((files(screen_files) / "texts" / f"{language}.json").read_bytes())
        states, acts = content["orders"]["state"], content["acts"]
        texts += [acts["name"]["hand_over"], *acts["sending"].values(), content["pass"]["waiting"]]
        texts += [states["ready"], states["handed_over"]]
    return {*await row.evaluate(HEIGHTS_WITH_TEXTS, texts)}


async def expect_settled(page: Page) -> None:
    """Wait until a tap counts again on what has just moved (tap-guard.js, rail.js)."""
    await expect(page.locator(".settling")).to_have_count(0)
