"""Send orders as customers do, each repeated with its idempotency key until it is answered.

An order depends on the seed and its position alone. Its notes repeat its key, so that the checker
finds the order in the database without the help of the product.
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
RESPONSE_TIMEOUT = 5.0  # s
HANG_UP_TIMEOUT = 0.02  # s, of a client that disconnects before the response
RETRY_DELAY = 0.25  # s
GIVE_UP_TIMEOUT = 120.0  # s; an order that is not answered by final_move is a violation
ONE_IN_TEN, ONE_IN_TWENTY = 0.1, 0.05
TYPE_FIELDS: dict[str, dict[str, Any]] = {
    "dine_in": {"table_number": 7},
    "takeout": {},
    "delivery": {"delivery_address": "1 Long Street, Springfield"},
}
OUTCOMES = {"cancel": "cancelled", "complete": "completed"}
COMPLETION_ATTEMPTS = 8  # of a client that completes its order as soon as it is ready


@dataclass(frozen=True, slots=True)
class PlannedOrder:
    """One order, and how its client behaves."""

    key: str
    body: dict[str, Any]
    cents: int
    hangs_up: bool  # the first response is lost, and the order is sent again
    sends_twice: bool  # the order is sent twice at once
    final_move: str | None  # cancel or complete


def planned_order(seed: int, position: int) -> PlannedOrder:
    """Return the order at a position of the run."""
    rng = random.Random(f"{seed}/{position}")  # noqa: S311 - reproducible, not secret
    key = f"customer-{seed}-{position:06d}"
    items = [(rng.randint(1, 3), rng.randint(100, 4999)) for _ in range(rng.randint(1, 4))]
    kind = rng.choice(list(TYPE_FIELDS))
    return PlannedOrder(
        key=key,
        body={
            "customer_name": "Ada",
            "order_type": kind,
            "items": [
                {"name": f"Dish {course}", "quantity": quantity, "price": cents / 100}
                for course, (quantity, cents) in enumerate(items, 1)
            ],
            "notes": key,
            **TYPE_FIELDS[kind],
        },
        cents=sum(quantity * cents for quantity, cents in items),
        hangs_up=rng.random() < ONE_IN_TWENTY,
        sends_twice=rng.random() < ONE_IN_TEN,
        final_move=rng.choices([None, "cancel", "complete"], weights=[80, 8, 12])[0],
    )


@dataclass(frozen=True, slots=True)
class Services:
    """The addresses of the services."""

    order_services: Sequence[str]
    tracking: str

    def order_service(self, turn: int) -> str:
        """Return the address of an order service; the next turn has the next one."""
        return self.order_services[turn % len(self.order_services)]


class Customers:
    """Thirty-two concurrent clients that send the orders evenly over the run."""

    def __init__(self, plan: RunPlan, journal: Journal, services: Services) -> None:
        self._plan = plan
        self._journal = journal
        self._services = services
        self._positions = iter(range(plan.orders))  # shared by all clients

    async def order(self) -> None:
        """Send every order; return when the last client has finished."""
        start = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for _ in range(CUSTOMERS):
                group.create_task(self._send_in_turn(start))

    async def _send_in_turn(self, start: float) -> None:
        plan = self._plan
        async with httpx.AsyncClient(verify=False) as client:  # noqa: S501 - there is no TLS here
            for position in self._positions:
                due = start + position * plan.duration / plan.orders
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                planned = planned_order(plan.seed, position)
                gives_up_at = time.monotonic() + GIVE_UP_TIMEOUT
                await CustomerSession(
                    client, self._journal, planned, self._services, gives_up_at
                ).run()


class CustomerSession:
    """Sends one order, looks it up, and cancels or completes it."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        journal: Journal,
        planned: PlannedOrder,
        services: Services,
        gives_up_at: float,
    ) -> None:
        self._client = client
        self._journal = journal
        self._planned = planned
        self._services = services
        self._gives_up_at = gives_up_at
        self._turn = int(planned.key[-1])

    async def run(self) -> None:
        """Send the order, look up its status, and cancel or complete it if planned."""
        number = await self._order()
        if number is None:
            return
        await self._track(number)
        match self._planned.final_move:
            case "cancel":
                await self._move(number, "cancel")
            case "complete":
                for _ in range(COMPLETION_ATTEMPTS):
                    await asyncio.sleep(RETRY_DELAY)
                    if await self._move(number, "complete"):
                        break

    async def _order(self) -> str | None:
        """Send the order until it is answered, and return its number."""
        planned = self._planned
        self._journal.write(
            "order_sent",
            key=planned.key,
            kind=planned.body["order_type"],
            total=f"{planned.cents / 100:.2f}",
            items=planned.body["items"],
        )
        if planned.hangs_up:
            await self._post_order(HANG_UP_TIMEOUT)
        copies = 2 if planned.sends_twice else 1
        numbers = await asyncio.gather(*(self._until_answered() for _ in range(copies)))
        return numbers[0]

    async def _until_answered(self) -> str | None:
        while time.monotonic() < self._gives_up_at:
            number = await self._post_order(RESPONSE_TIMEOUT)
            if number is not None:
                return number
            await asyncio.sleep(RETRY_DELAY)
        return None

    async def _post_order(self, seconds: float) -> str | None:
        headers = {"Idempotency-Key": self._planned.key}
        response = await self._send(
            "POST",
            self._next_order_service() + "/orders",
            seconds,
            headers=headers,
            json=self._planned.body,
        )
        if response is None or not self._expected(response, HTTPStatus.CREATED):
            return None
        placed = response.json()
        number: str = placed["order_number"]
        self._journal.write(
            "order_acknowledged", key=self._planned.key, number=number, total=placed["total_amount"]
        )
        return number

    async def _track(self, number: str) -> None:
        url = f"{self._services.tracking}/orders/{number}/status"
        response = await self._send("GET", url, RESPONSE_TIMEOUT)
        if response is not None:
            self._expected(response, HTTPStatus.OK)

    async def _move(self, number: str, move: str) -> bool:
        """Request the cancellation or completion of an order; return whether it succeeded."""
        self._journal.write("move_requested", number=number, status=OUTCOMES[move])
        url = f"{self._next_order_service()}/orders/{number}/{move}"
        response = await self._send("POST", url, RESPONSE_TIMEOUT)
        if response is None or not self._expected(response, HTTPStatus.OK, HTTPStatus.CONFLICT):
            return False
        if response.status_code == HTTPStatus.CONFLICT:
            return False
        self._journal.write("move_acknowledged", number=number, status=response.json()["status"])
        return True

    def _next_order_service(self) -> str:
        self._turn += 1
        return self._services.order_service(self._turn)

    async def _send(
        self,
        method: str,
        url: str,
        seconds: float,
        **content: Any,  # noqa: ANN401 - handed on
    ) -> httpx.Response | None:
        """Send a request; return `None` if the response is lost or is 503."""
        try:
            response = await self._client.request(method, url, timeout=seconds, **content)
        except httpx.TransportError:
            return None
        return None if response.status_code == HTTPStatus.SERVICE_UNAVAILABLE else response

    def _expected(self, response: httpx.Response, *statuses: HTTPStatus) -> bool:
        """Return whether the status is expected; record an unexpected one in the journal."""
        if response.status_code in statuses:
            return True
        request = f"{response.request.method} {response.request.url.path}"
        self._journal.write(
            "unexpected_response",
            key=self._planned.key,
            what=f"{request}: {response.status_code} {response.text}",
        )
        return False
