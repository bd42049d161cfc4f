"""A page of another origin, open in the browser of a staff member, changes and reads nothing."""

import threading
from collections.abc import AsyncIterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Response

from tests.support.all_in_one_app import AllInOneApp
from tests.support.browser import FOREIGN_HOST
from tests.support.orders import make_order_body

pytestmark = pytest.mark.asyncio(loop_scope="session")

FETCH = """
    async ([url, options]) => {
        try {
            const response = await fetch(url, options);
            return response.type === "opaque" ? "opaque" : await response.text();
        } catch (error) {
            return `${error}`;
        }
    }
"""
SUBMIT_FORM = """
    ([url, type]) => {
        const form = document.createElement("form");
        Object.assign(form, { method: "post", action: url, enctype: type });
        document.body.append(form);
        form.submit();
    }
"""
ADD_FRAME = """
    (url) => new Promise((loaded) => {
        const frame = document.createElement("iframe");
        frame.onload = loaded;
        frame.src = url;
        document.body.append(frame);
    })
"""


class AttackingPage(BaseHTTPRequestHandler):
    """Sends an empty page."""

    def do_GET(self) -> None:
        """Answer any request."""
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!DOCTYPE html><title>Prizes</title>")

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest_asyncio.fixture(loop_scope="session", params=[FOREIGN_HOST, "127.0.0.1"])
async def foreign_page(browser: Browser, request: pytest.FixtureRequest) -> AsyncIterator[Page]:
    """Open a page of another site, or of another port of this host."""
    with ThreadingHTTPServer(("127.0.0.1", 0), AttackingPage) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        context = await browser.new_context()
        page = await context.new_page()
        page.set_default_timeout(10_000)
        await page.goto(f"http://{request.param}:{server.server_port}/")
        yield page
        await context.close()
        server.shutdown()
        serving.join()


async def test_page_of_another_origin_cannot_place_cancel_or_tap(
    app: AllInOneApp, foreign_page: Page
) -> None:
    """Neither by fetch, with and without CORS, nor by a form."""
    number = await app.order()
    responses: list[Response] = []

    def record(response: Response) -> None:
        responses.append(response)

    foreign_page.on("response", record)
    cancel = f"{app.address}/orders/{number}/cancel"
    station = f"{app.address}/kitchen/stations/grill"
    place, body = f"{app.address}/orders", make_order_body().decode()
    json, tap = {"Content-Type": "application/json"}, '{"expected": "received"}'
    attempts = [
        (cancel, {"method": "POST", "mode": "no-cors"}),
        (cancel, {"method": "POST", "mode": "no-cors", "credentials": "include", "body": ""}),
        (place, {"method": "POST", "mode": "no-cors", "body": body}),
        (place, {"method": "POST", "body": body, "headers": json}),
        (station, {"method": "POST", "body": "{}", "headers": json}),
        (f"{station}/tickets/{number}/start", {"method": "POST", "body": tap, "headers": json}),
    ]

    for attempt in attempts:
        result = await foreign_page.evaluate(FETCH, list(attempt))
        assert result == "opaque" or "Failed to fetch" in result
    for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data"):
        page = await foreign_page.context.new_page()
        await page.goto(foreign_page.url)
        async with page.expect_response(cancel) as response:
            await page.evaluate(SUBMIT_FORM, [cancel, kind])
        assert (await response.value).status == 403

    assert [each.status for each in responses if each.request.method == "POST"][:3] == [403] * 3
    (order,) = (await app.get("/orders"))["orders"]
    assert (order["order_number"], order["status"]) == (number, "received")
    assert await app.get("/workers/status") == []


async def test_page_of_another_origin_cannot_read_or_frame(
    app: AllInOneApp, foreign_page: Page
) -> None:
    await app.order()

    assert "Failed to fetch" in await foreign_page.evaluate(FETCH, [f"{app.address}/orders", {}])
    await foreign_page.evaluate(ADD_FRAME, f"{app.address}/kitchen")
    await foreign_page.evaluate(ADD_FRAME, f"{app.address}/orders")

    contents = [await frame.content() for frame in foreign_page.frames[1:]]
    assert len(contents) == 2
    assert not any("Lovelace" in each or "rail" in each for each in contents)


async def test_host_name_that_is_made_to_point_here_is_not_served(
    app: AllInOneApp, browser: Browser
) -> None:
    """DNS rebinding: for the browser, the page and the service have one origin.

    The page is one that the service itself sent, without its policy.
    """
    number = await app.order()
    address = f"http://{FOREIGN_HOST}:{urlsplit(app.address).port}"
    page = await browser.new_page(bypass_csp=True)
    kitchen = await page.goto(f"{address}/kitchen")

    orders = await page.evaluate(FETCH, [f"{address}/orders", {}])
    cancelled = await page.evaluate(
        FETCH, [f"{address}/orders/{number}/cancel", {"method": "POST"}]
    )
    await page.context.close()

    assert '"status": 421' in orders
    assert '"status": 421' in cancelled
    assert kitchen is not None
    assert kitchen.status == 421
    assert (await app.get(f"/orders/{number}"))["status"] == "received"
