"""Measure how smooth the kitchen display is on a slow tablet: `make kitchen-frames`.

Forty orders arrive at a station at once and one by one, are started, rushed and bumped. The limit
is for the longest task, during which the page does not react: its processor time, times `SLOWDOWN`,
which other programs change little. Then Chromium slows its processor down by `SLOWDOWN`, and a
clock measures the longest time between two animation frames, and the median times from an event to
the frame that shows it and from a tap to its first effect. As Chromium also prolongs the time for
which it waits for the processor, these need an otherwise idle machine. Of `ROUNDS`, the best
counts. Exits with 1 if a task takes longer than `MAX_TASK`.
"""

import asyncio
import json
import statistics
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from playwright.async_api import Browser, Page, ViewportSize

from benchmarks.measurements.startup import up
from tests.support.browser import running_browser
from tests.support.processes import free_port

TICKETS = 40
SLOWDOWN = 4
ROUNDS = 2
MAX_TASK = 100.0  # ms
STATION = "/kitchen/stations/grill"
PAUSE = 0.05  # s between two orders or taps
TIMEOUT = 60.0  # s
COUNT = "document.querySelectorAll('.ticket:not(.leaving)').length"
SIZE = ViewportSize(width=1280, height=800)
TASK = "ThreadControllerImpl::RunTask"
MAIN_THREAD = "CrRendererMain"
# Notes the times between frames, from events to frames, and from taps to frames, in ms.
WATCH = """
window.seen = { frames: [], events: [], taps: [] };
window.takeSeen = () => {
  const { seen } = window;
  window.seen = { frames: [], events: [], taps: [] };
  return seen;
};
new PerformanceObserver((list) => {
  const clicks = list.getEntries().filter(({ name }) => name === "click");
  window.seen.taps.push(...clicks.map(({ duration }) => duration));
}).observe({ type: "event", durationThreshold: 16 });
let before = null;
const frame = (at) => {
  if (before !== null) window.seen.frames.push(at - before);
  before = at;
  requestAnimationFrame(frame);
};
requestAnimationFrame(frame);
const afterPaint = (done) => requestAnimationFrame(() => {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = done;
  port2.postMessage(null);
});
const { addEventListener } = EventSource.prototype;
EventSource.prototype.addEventListener = function (type, listener) {
  addEventListener.call(this, type, (event) => {
    const at = performance.now();
    if (type === "change") afterPaint(() => window.seen.events.push(performance.now() - at));
    listener(event);
  });
};
"""


@dataclass(frozen=True)
class Step:
    """What has been measured during one step, in ms."""

    task: float  # processor time of the longest task
    frame: float  # the longest time between two frames
    events: Sequence[float]
    taps: Sequence[float]

    def text(self) -> str:
        """Return the columns of the table."""
        return f"{self.task:5.0f} {self.frame:6.0f} {_median(self.events)} {_median(self.taps)}"


def _median(values: Sequence[float]) -> str:
    return f"{statistics.median(values):6.0f}" if values else "     -"


def best(plain: Sequence[Step], slow: Sequence[Step]) -> Step:
    """Return the least disturbed values of several rounds, as they are on a slow processor."""
    return Step(
        SLOWDOWN * min(step.task for step in plain),
        min(step.frame for step in slow),
        min((step.events for step in slow), key=_middle),
        min((step.taps for step in slow), key=_middle),
    )


def _middle(values: Sequence[float]) -> float:
    return statistics.median(values) if values else 0.0


def longest_task(trace: bytes) -> float:
    """Return the processor time of the longest task in a trace of Chromium, in ms."""
    events: list[dict[str, Any]] = json.loads(trace)["traceEvents"]
    threads = {
        (each["pid"], each["tid"])
        for each in events
        if each["name"] == "thread_name" and each["args"]["name"] == MAIN_THREAD
    }
    tasks = [
        each.get("tdur", 0)
        for each in events
        if each["name"] == TASK and (each["pid"], each["tid"]) in threads
    ]
    longest: float = max(tasks) / 1000
    return longest


class Kitchen:
    """A station with a page, and the orders on it."""

    def __init__(self, client: httpx.AsyncClient, browser: Browser, page: Page) -> None:
        self._client = client
        self._browser = browser
        self._page = page
        self._numbers: list[str] = []

    async def run(self) -> dict[str, Step]:
        """Run all steps; return what the page has measured."""
        return {
            "40 arrive at once": await self._measure(self._place_all, TICKETS),
            "are started": await self._measure(self._start_all, TICKETS),
            "all bumped": await self._measure(self._bump_all, 0),
            "40 arrive one by one": await self._measure(self._place_each, TICKETS),
            "10 are rushed": await self._measure(self._rush_some, TICKETS),
            "5 are tapped": await self._measure(self._tap_some, TICKETS - 5),
            "the others are bumped": await self._measure(self._finish, 0),
        }

    async def _measure(self, step: Callable[[], Awaitable[None]], tickets: int) -> Step:
        """Perform a step until as many tickets are shown; return what the page has measured."""
        await self._page.wait_for_timeout(1500)  # nothing of the step before is moving any more
        await self._browser.start_tracing(page=self._page, categories=["toplevel"])
        await self._page.evaluate("takeSeen()")
        await step()
        await self._until_shown(tickets)
        await self._page.wait_for_timeout(1500)
        seen: dict[str, Any] = await self._page.evaluate("takeSeen()")
        task = longest_task(await self._browser.stop_tracing())
        return Step(task, max(seen["frames"]), seen["events"], seen["taps"])

    async def _until_shown(self, tickets: int) -> None:
        async with asyncio.timeout(TIMEOUT):
            while await self._page.evaluate(COUNT) != tickets:  # without work for the page
                await self._page.wait_for_timeout(50)

    async def _place_all(self) -> None:
        answers = await asyncio.gather(*(self._place(index) for index in range(TICKETS)))
        self._numbers = sorted(answers)

    async def _place_each(self) -> None:
        self._numbers = []
        for index in range(TICKETS):
            self._numbers.append(await self._place(index))
            await asyncio.sleep(PAUSE)

    async def _place(self, index: int) -> str:
        dishes = [f"Pizza {number}" for number in range(index % 5)]
        modifiers = [{"name": "onions", "kind": "remove"}, {"name": "Bacon"}]
        items = [
            {"name": each, "quantity": 1, "price": 1, "modifiers": modifiers}
            for each in ("Spaghetti Carbonara", "Caesar salad", *dishes)
        ]
        order = {"customer_name": "Ada Lovelace", "order_type": "takeout", "items": items}
        answer = await self._client.post("/orders", json=order)
        number: str = answer.raise_for_status().json()["order_number"]
        return number

    async def _start_all(self) -> None:
        for number in self._numbers:
            await self._tap(number, "start", "received")

    async def _bump_all(self) -> None:
        for number in self._numbers:
            await self._tap(number, "bump", "cooking")

    async def _rush_some(self) -> None:
        for number in self._numbers[-10:]:
            await self._tap(number, "rush", "received")

    async def _tap_some(self) -> None:
        """Start and bump the first ticket five times, by taps on the page."""
        rail = self._page.locator("#rail")
        for left in range(TICKETS - 1, TICKETS - 6, -1):
            for cooking in ("[data-status='cooking']", ""):
                await rail.locator(".ticket:visible .step").first.click()
                await rail.locator(f".ticket:first-child{cooking}[data-tap='']").wait_for()
                await self._page.locator("#rail:not(.settling)").wait_for()
            await self._until_shown(left)

    async def _finish(self) -> None:
        """Start and bump the orders that have not been."""
        for number in self._numbers:
            await self._tap(number, "start", "received", may_fail=True)
            await self._tap(number, "bump", "cooking", may_fail=True)

    async def _tap(
        self, number: str, action: str, expected: str, *, may_fail: bool = False
    ) -> None:
        path = f"{STATION}/tickets/{number}/{action}"
        answer = await self._client.post(path, json={"expected": expected})
        if not may_fail:
            answer.raise_for_status()
        await asyncio.sleep(PAUSE)


async def measure(address: str) -> dict[str, Step]:
    """Run all rounds with a page of the app at this address; return the best values."""
    async with (
        running_browser() as browser,
        httpx.AsyncClient(base_url=address, timeout=30) as client,
    ):
        page = await browser.new_page(viewport=SIZE)
        await page.add_init_script(WATCH)
        await page.goto(f"{address}/kitchen?station=grill")
        await page.locator("#empty:not([hidden])").wait_for()
        kitchen = Kitchen(client, browser, page)
        plain = [await kitchen.run() for _ in range(ROUNDS)]
        session = await page.context.new_cdp_session(page)
        await session.send("Emulation.setCPUThrottlingRate", {"rate": SLOWDOWN})
        slow = [await kitchen.run() for _ in range(ROUNDS)]
    return {
        name: best([each[name] for each in plain], [each[name] for each in slow])
        for name in plain[0]
    }


def report(results: Mapping[str, Step]) -> bool:
    """Print the results; return whether no task was too long."""
    sys.stdout.write(f"{'ms':22}  task  frame  event    tap\n")
    for name, result in results.items():
        sys.stdout.write(f"{name:22} {result.text()}\n")
    return all(result.task <= MAX_TASK for result in results.values())


async def main() -> bool:
    """Measure the page of an app with the embedded PostgreSQL."""
    port = free_port()
    capacity = {"RESTAURANT_KITCHEN_DISPLAY__CAPACITY": str(TICKETS)}
    with tempfile.TemporaryDirectory() as folder:
        async with up(Path(folder) / "data", port, "--no-worker", environment=capacity) as app:
            await app.wait_until_serving(port)
            return report(await measure(f"http://127.0.0.1:{port}"))


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(main()) else 1)
