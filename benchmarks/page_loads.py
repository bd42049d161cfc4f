"""Measure how long pages load over a slow network: `make page-loads`.

A proxy between Chromium and the all-in-one app delays each direction of a connection, and its
opening, as a network with a round-trip time of 300 ms does. A page has loaded once it shows what it
has from the server. Besides the time, it prints how many requests waited for each other until then,
which depends less on the machine. Exits with 1 if a page takes longer than `LIMITS`.
"""

import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from playwright.async_api import Browser, BrowserContext, Page, Request, Response

from benchmarks.measurements.startup import up
from tests.support.browser import running_browser
from tests.support.processes import free_port

ROUND_TRIP = 0.3  # s
LIMITS = {"first": 2.0, "second": 1.0}  # s, for a visit without and with stored files
# By path, an element that a page shows once it has an answer of the server.
PAGES = {
    "/": "#menu button",
    "/orders": "#places a",
    "/pass": "#places a",
    "/kitchen": "#places a",
    "/kitchen?station=grill": "#empty:not([hidden])",
    "/board": "#places summary",
    "/dashboard": "#places a",
}
# Notes when the page first shows an element; `wait_for_selector` looks twice a second only.
WATCH = """
const isShown = () => document.querySelector(%r)?.getClientRects().length > 0;
window.shownAt = new Promise((resolve) => {
  const watch = () => (isShown() ? resolve(performance.now()) : requestAnimationFrame(watch));
  watch();
});
"""


class SlowNetwork:
    """A TCP proxy whose connections have a round-trip time."""

    def __init__(self, port: int) -> None:
        self._port = port

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        """Forward connections for the duration of the block; yields the port."""
        server = await asyncio.start_server(self._forward, "127.0.0.1", 0)
        async with server:
            yield server.sockets[0].getsockname()[1]

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(ROUND_TRIP)  # SYN and its answer
        upstream, downstream = await asyncio.open_connection("127.0.0.1", self._port)
        async with asyncio.TaskGroup() as group:
            group.create_task(_delay(reader, downstream))
            group.create_task(_delay(upstream, writer))


async def _delay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on each piece half a round trip after it came."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(64 * 1024):
            loop.call_later(ROUND_TRIP / 2, writer.write, data)
    loop.call_later(ROUND_TRIP / 2, writer.close)


class RoundTrips:
    """Counts the requests of a page that waited for each other."""

    def __init__(self, page: Page) -> None:
        self.count = 0
        self._sent: dict[Request, tuple[int, float]] = {}
        page.on("request", self._send)
        page.on("response", self._receive)

    def _send(self, request: Request) -> None:
        self._sent[request] = (self.count + 1, time.perf_counter())

    def _receive(self, response: Response) -> None:
        count, sent_at = self._sent[response.request]
        if time.perf_counter() - sent_at > ROUND_TRIP / 2:  # otherwise the browser had stored it
            self.count = max(self.count, count)


async def measure(context: BrowserContext, address: str, shown: str) -> tuple[float, int]:
    """Return the seconds and the round trips until a page shows an element."""
    page = await context.new_page()
    await page.add_init_script(WATCH % shown)
    round_trips = RoundTrips(page)
    await page.goto(address, wait_until="commit")
    milliseconds = await page.evaluate("window.shownAt")
    await page.close()
    return milliseconds / 1000, round_trips.count


async def measure_all(browser: Browser, address: str) -> bool:
    """Print the times of all pages; return whether they are within the limits."""
    are_fast = True
    for path, shown in PAGES.items():
        context = await browser.new_context()
        for visit, limit in LIMITS.items():
            seconds, round_trips = await measure(context, f"{address}{path}", shown)
            are_fast &= seconds <= limit
            mark = "" if seconds <= limit else f"  > {limit} s"
            sys.stdout.write(
                f"{path:24} {visit:6} {seconds:5.2f} s, {round_trips} round trips{mark}\n"
            )
        await context.close()
    return are_fast


async def main() -> bool:
    """Measure the pages of an app with the embedded PostgreSQL."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        async with (
            up(Path(folder) / "data", port, "--no-worker") as app,
            SlowNetwork(port).listening() as slow_port,
            running_browser() as browser,
        ):
            await app.wait_until_serving(port)
            return await measure_all(browser, f"http://127.0.0.1:{slow_port}")


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(main()) else 1)
