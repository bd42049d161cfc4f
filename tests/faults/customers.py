"""The customers: each order has a key, is sent until it is answered, and is written down.

What an order asks for depends on the seed and its place alone. Its notes repeat its key, so that
whoever reads the database finds out which order it is without any help of the product.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx

from tests.faults.journal import Journal
from tests.faults.plan import RunPlan

CUSTOMERS = 32
PATIENCE = 5.0  # s until a customer takes an answer for lost
IMPATIENCE = 0.02  # s of one who hangs up before the answer
PAUSE = 0.25  # s before the next try
LONGEST_PATIENCE = 120.0  # s after which a customer gives up, which is a finding
ONE_IN_TEN, ONE_IN_TWENTY = 0.1, 0.05
PLACES: dict[str, dict[str, Any]] = {
    "dine_in": {"table_number": 7},
    "takeout": {},
    "delivery": {"delivery_address": "1 Long Street, Springfield"},
}
OUTCOMES = {"cancel": "cancelled", "complete": "completed"}
LOOKS_AT_THE_PASS = 8  # of one who would take a meal away, until it is ready


@dataclass(frozen=True, slots=True)
class PlannedOrder:
    """One order, and how its customer behaves."""

    key: str
    body: dict[str, Any]
    cents: int
    hangs_up: bool  # at the first try: the answer is lost, and the order is sent again
    double_taps: bool  # sends it twice at once
    then: str | None  # cancel or complete


def wish(seed: int, place: int) -> PlannedOrder:
    """Return the order at a place of the evening."""
    dice = random.Random(f"{seed}/{place}")  # noqa: S311 - to be repeated, not to be secret
    key = f"{seed}-{place:06d}"
    lines = [(dice.randint(1, 3), dice.randint(100, 4999)) for _ in range(dice.randint(1, 4))]
    kind = dice.choice(list(PLACES))
    return PlannedOrder(
        key=key,
        body={
            "customer_name": "Ada",
            "order_type": kind,
            "items": [
                {"name": f"Dish {course}", "quantity": quantity, "price": cents / 100}
                for course, (quantity, cents) in enumerate(lines, 1)
            ],
            "notes": key,
            **PLACES[kind],
        },
        cents=sum(quantity * cents for quantity, cents in lines),
        hangs_up=dice.random() < ONE_IN_TWENTY,
        double_taps=dice.random() < ONE_IN_TEN,
        then=dice.choices([None, "cancel", "complete"], weights=[80, 8, 12])[0],
    )


@dataclass(frozen=True, slots=True)
class Services:
    """Where the services are."""

    order_services: Sequence[str]
    tracking: str

    def order_service(self, turn: int) -> str:
        """Return the address of one of them: who is not answered tries the next."""
        return self.order_services[turn % len(self.order_services)]


class Customers:
    """Thirty-two people who order, evenly over the evening, until everything is ordered."""

    def __init__(self, evening: RunPlan, journal: Journal, services: Services) -> None:
        self._evening = evening
        self._journal = journal
        self._services = services
        self._places = iter(range(evening.orders))  # shared: each place is one customer's

    async def order(self) -> None:
        """Place every order of the evening; return when the last customer has gone."""
        start = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for _ in range(CUSTOMERS):
                group.create_task(self._one_after_the_other(start))

    async def _one_after_the_other(self, start: float) -> None:
        evening = self._evening
        async with httpx.AsyncClient(verify=False) as client:  # noqa: S501 - there is no TLS here
            for place in self._places:
                due = start + place * evening.duration / evening.orders
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                wanted = wish(evening.seed, place)
                gives_up_at = time.monotonic() + LONGEST_PATIENCE
                await CustomerSession(
                    client, self._journal, wanted, self._services, gives_up_at
                ).run()


class CustomerSession:
    """One order of one customer, and what becomes of it."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        journal: Journal,
        wanted: PlannedOrder,
        services: Services,
        gives_up_at: float,
    ) -> None:
        self._client = client
        self._journal = journal
        self._wish = wanted
        self._services = services
        self._gives_up_at = gives_up_at
        self._turn = int(wanted.key[-1])

    async def run(self) -> None:
        """Order, look where the order is, and cancel it or fetch it."""
        number = await self._order()
        if number is None:
            return
        await self._track(number)
        match self._wish.then:
            case "cancel":
                await self._move(number, "cancel")
            case "complete":
                for _ in range(LOOKS_AT_THE_PASS):
                    await asyncio.sleep(PAUSE)
                    if await self._move(number, "complete"):
                        break

    async def _order(self) -> str | None:
        """Send the order until it is answered, and return its number."""
        wanted = self._wish
        self._journal.write(
            "asked",
            key=wanted.key,
            kind=wanted.body["order_type"],
            total=f"{wanted.cents / 100:.2f}",
            items=wanted.body["items"],
        )
        if wanted.hangs_up:
            await self._post_order(IMPATIENCE)
        taps = 2 if wanted.double_taps else 1
        numbers = await asyncio.gather(*(self._until_answered() for _ in range(taps)))
        return numbers[0]

    async def _until_answered(self) -> str | None:
        while time.monotonic() < self._gives_up_at:
            number = await self._post_order(PATIENCE)
            if number is not None:
                return number
            await asyncio.sleep(PAUSE)
        return None

    async def _post_order(self, patience: float) -> str | None:
        headers = {"Idempotency-Key": self._wish.key}
        answer = await self._send(
            "POST",
            self._an_order_service() + "/orders",
            patience,
            headers=headers,
            json=self._wish.body,
        )
        if answer is None or not self._expected(answer, HTTPStatus.CREATED):
            return None
        placed = answer.json()
        number: str = placed["order_number"]
        self._journal.write("told", key=self._wish.key, number=number, total=placed["total_amount"])
        return number

    async def _track(self, number: str) -> None:
        url = f"{self._services.tracking}/orders/{number}/status"
        answer = await self._send("GET", url, PATIENCE)
        if answer is not None:
            self._expected(answer, HTTPStatus.OK)

    async def _move(self, number: str, move: str) -> bool:
        """Ask for a move; return whether it was made."""
        self._journal.write("wanted", number=number, status=OUTCOMES[move])
        url = f"{self._an_order_service()}/orders/{number}/{move}"
        answer = await self._send("POST", url, PATIENCE)
        if answer is None or not self._expected(answer, HTTPStatus.OK, HTTPStatus.CONFLICT):
            return False
        if answer.status_code == HTTPStatus.CONFLICT:
            return False
        self._journal.write("moved", number=number, status=answer.json()["status"])
        return True

    def _an_order_service(self) -> str:
        self._turn += 1
        return self._services.order_service(self._turn)

    async def _send(
        self,
        method: str,
        url: str,
        patience: float,
        **content: Any,  # noqa: ANN401 - handed on
    ) -> httpx.Response | None:
        """Send a request; `None` when the answer was lost, or was to try again."""
        try:
            answer = await self._client.request(method, url, timeout=patience, **content)
        except httpx.TransportError:
            return None
        return None if answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE else answer

    def _expected(self, answer: httpx.Response, *statuses: HTTPStatus) -> bool:
        """Tell whether an answer is one that this request may get; write down one that is not."""
        if answer.status_code in statuses:
            return True
        request = f"{answer.request.method} {answer.request.url.path}"
        self._journal.write(
            "odd_answer", key=self._wish.key, what=f"{request}: {answer.status_code} {answer.text}"
        )
        return False
