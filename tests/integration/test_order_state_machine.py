import asyncio
import copy
import itertools
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast
from uuid import uuid4

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from restaurant_system.config import DatabaseSettings
from restaurant_system.database import workers
from restaurant_system.database.connection import Database
from restaurant_system.errors import (
    IdempotencyKeyReused,
    IllegalMove,
    MessageRejected,
    OrderNotFound,
)
from restaurant_system.models.message import OrderReceived
from restaurant_system.models.order import Move
from restaurant_system.services.kitchen.simulated_cook import Cooking, SimulatedCook
from restaurant_system.worker.order_processor import Outcome
from tests.support.kitchen import EVERYTHING, REQUEST, REQUIRED_FIELDS
from tests.support.kitchen import settings as kitchen_settings
from tests.support.order_model import IS_COOKING, NOT_IN_FLIGHT, OrderModel, stored_state
from tests.support.orders import make_order
from tests.support.rows import TRUNCATE
from tests.support.services import FakeClock, make_order_service, make_relay

COOKS = ("anna", "bob")
NO_ORDER = "ORD_20240101_001"


@dataclass(frozen=True)
class Step:
    """A method of the system under test and of its model, with arguments."""

    name: str
    arguments: tuple[object, ...]


MARK_OFFLINE = "UPDATE workers SET status = 'offline' WHERE name = $1"


class Cook(SimulatedCook):
    """A simulated cook whose orders cook until `finish` is called."""

    def __init__(self, database: Database, name: str, clock: FakeClock) -> None:
        super().__init__(
            database,
            make_relay(database),
            worker_name=name,
            kitchen=kitchen_settings(),
            clock=clock,
        )
        self.started: dict[str, asyncio.Event] = {}
        self.done: dict[str, asyncio.Event] = {}
        self.work: dict[str, asyncio.Task[Outcome]] = {}

    async def _cook(self, order: Cooking) -> bool:
        self.started[order.number].set()
        await self.done[order.number].wait()
        return await super()._cook(order)

    async def start(self, number: str) -> str:
        """Process an order; return `IS_COOKING`, or the outcome if it was refused."""
        is_new = number not in self.work
        if is_new:
            self.started[number], self.done[number] = asyncio.Event(), asyncio.Event()
        work = asyncio.create_task(
            self.process(OrderReceived.from_order(make_order(), number), REQUEST)
        )
        if is_new:
            self.work[number] = work
        started = asyncio.create_task(self.started[number].wait())
        await asyncio.wait({work, started}, return_when=asyncio.FIRST_COMPLETED)
        started.cancel()
        if not work.done():
            return IS_COOKING
        if is_new:
            del self.work[number]
        return (await work).name

    async def finish(self, number: str) -> str:
        """End the cooking time of an order, and return the outcome."""
        if number not in self.work or not self.started[number].is_set():
            return NOT_IN_FLIGHT
        self.done[number].set()
        return (await self.work.pop(number)).name

    async def cancel_all(self) -> None:
        """Cancel the processing of all orders."""
        for work in self.work.values():
            work.cancel()
        await asyncio.gather(*self.work.values(), return_exceptions=True)
        self.work.clear()


class Restaurant:
    """The system under test: order service and simulated cooks, on PostgreSQL."""

    def __init__(self, database: Database, clock: FakeClock) -> None:
        self._database = database
        self._intake = make_order_service(database, clock=clock)
        self._cooks = {name: Cook(database, name, clock) for name in COOKS}

    async def place(self, order_type: str, key: str | None) -> str:
        """Place an order."""
        order = make_order(order_type=order_type, **REQUIRED_FIELDS[order_type])
        return (await self._intake.place(order, request_id=REQUEST, key=key)).order_number

    async def cancel(self, number: str) -> str:
        """Cancel an order."""
        return await self._intake.cancel(number, Move(), request_id=REQUEST)

    async def complete(self, number: str) -> str:
        """Complete an order."""
        return await self._intake.complete(number, Move(), request_id=REQUEST)

    async def deliver(self, cook: str, number: str) -> str:
        """Deliver the message of an order to a cook."""
        return await self._cooks[cook].start(number)

    async def finish(self, cook: str, number: str) -> str:
        """End the cooking time of an order at a cook."""
        return await self._cooks[cook].finish(number)

    async def expire_lease(self, cook: str) -> None:
        """Expire the lease of a cook."""
        silence = "UPDATE workers SET last_seen = now() - interval '1 hour' WHERE name = $1"
        async with self._database.connection() as connection:
            await connection.execute(silence, cook)

    async def crash(self, cook: str) -> None:
        """Cancel all orders of a cook and mark it offline."""
        await self._cooks[cook].cancel_all()
        async with self._database.connection() as connection:
            await connection.execute(MARK_OFFLINE, cook)

    async def register(self, cook: str) -> bool:
        """Register a cook; return whether its name was free."""
        lease = timedelta(minutes=5)
        async with self._database.connection() as connection:
            return await workers.register(connection, cook, EVERYTHING, lease, uuid4())

    async def close(self) -> None:
        """Cancel all orders of all cooks."""
        for cook in self._cooks.values():
            await cook.cancel_all()


async def answer_of(call: Awaitable[object]) -> object:
    """Return the result of a step, or a text for its error."""
    try:
        return await call
    except IllegalMove as refusal:
        return f"IllegalMove from {refusal.current}"
    except (IdempotencyKeyReused, MessageRejected, OrderNotFound) as refusal:
        return type(refusal).__name__


cooks = st.sampled_from(COOKS)
places = st.sampled_from(
    [0, 0, 0, 0, 1, 1, 2, 4, 99]
)  # of an order in the list; open orders come first
types = st.sampled_from(["takeout", "delivery"])
keys = st.none() | st.sampled_from(["key-1", "key-2"])
arguments: dict[str, st.SearchStrategy[tuple[object, ...]]] = {
    "deliver": st.tuples(cooks, places),
    "finish": st.tuples(st.integers(0, 2)),
    "complete": st.tuples(places),
    "cancel": st.tuples(places),
    "place": st.tuples(types, keys),
    "expire_lease": st.tuples(cooks),
    "register": st.tuples(cooks),
    "crash": st.tuples(cooks),
}
frequencies = Counter(
    deliver=8, finish=5, complete=2, cancel=1, place=2, expire_lease=3, register=1, crash=1
)
names = sorted(frequencies.elements())
single = st.sampled_from(names).flatmap(
    lambda name: st.builds(Step, st.just(name), arguments[name])
)
# How far a crashing cook has come is not known to the model, so a crash is no part of a pair.
double = single.filter(lambda step: step.name != "crash")


class OrderStateMachine(RuleBasedStateMachine):
    """Compares answers and database with the model after each step."""

    def __init__(self, dsn: str) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._clock = FakeClock()
        self._database = Database(dsn, DatabaseSettings(pool_min=2), application_name="test")
        self._runner.run(self._database.connect())
        self._restaurant = Restaurant(self._database, self._clock)
        self._model = OrderModel()

    @initialize()
    def open(self) -> None:
        """Start with two cooks whose leases have expired, and two orders."""
        self._runner.run(self._empty())
        for name in COOKS:
            self._perform(Step("register", (name,)))
            self._perform(Step("expire_lease", (name,)))
        for _ in range(2):
            self._perform(Step("place", ("takeout", None)))

    @rule(step=single, hours=st.sampled_from([0, 0, 0, 0, 0, 0, 0, 13]))
    def perform_one(self, step: Step, hours: int) -> None:
        """Perform one step, now or on the next day."""
        self._clock.now += timedelta(hours=hours)
        self._perform(step)

    @rule(one=double, other=double)
    def perform_two(self, one: Step, other: Step) -> None:
        """Perform two steps concurrently: the result must be that of one of their sequences."""
        self._perform(one, other)

    def teardown(self) -> None:
        """Close the restaurant's connections."""
        self._runner.run(self._restaurant.close())
        self._runner.run(self._database.close())
        self._runner.close()

    def _perform(self, *steps: Step) -> None:
        self._clock.now += timedelta(seconds=1)
        self._model.now = self._clock.now
        resolved = [self._resolve(step) for step in steps]
        answers, stored = self._runner.run(self._do(resolved))
        predicted = [
            self._predict(resolved, order) for order in itertools.permutations(range(len(resolved)))
        ]
        matching = [
            model
            for model, predicted_answers in predicted
            if _match(answers, predicted_answers) and model.state == stored
        ]
        assert matching, f"{resolved}: answered {answers}, stored {stored}, not any of {predicted}"
        self._model = matching[0]

    def _resolve(self, step: Step) -> Step:
        """Replace the index of an order by its number, or by cook and number for `finish`."""
        if step.name == "finish":
            in_flight = sorted(self._model.in_flight) or [(COOKS[0], NO_ORDER)]
            return Step("finish", in_flight[cast("int", step.arguments[0]) % len(in_flight)])
        orders = self._model.state.orders
        numbers = [*sorted(orders, key=lambda number: orders[number].is_closed), NO_ORDER]
        return Step(
            step.name,
            tuple(
                numbers[min(argument, len(numbers) - 1)] if isinstance(argument, int) else argument
                for argument in step.arguments
            ),
        )

    def _predict(
        self, steps: list[Step], order: tuple[int, ...]
    ) -> tuple[OrderModel, list[object]]:
        model = copy.deepcopy(self._model)
        predicted_answers = {place: self._apply(model, steps[place]) for place in order}
        return model, [predicted_answers[place] for place in range(len(steps))]

    async def _do(self, steps: list[Step]) -> tuple[list[object], object]:
        calls = [answer_of(self._apply(self._restaurant, step)) for step in steps]
        answers = await asyncio.gather(*calls)
        return answers, await stored_state(self._database)

    def _apply(self, target: OrderModel | Restaurant, step: Step) -> Any:  # noqa: ANN401 - or an awaitable of it
        return getattr(target, step.name)(*step.arguments)

    async def _empty(self) -> None:
        async with self._database.connection() as connection:
            await connection.execute(TRUNCATE)


def _match(answers: list[object], predicted_answers: list[object]) -> bool:
    """Return whether the system's results are those that the model predicted.

    In a pair of steps a cook may also defer a message of an order that needs no cooking.
    """
    deferred, not_needed = (
        Outcome.OTHER_WORKER.name,
        (Outcome.NOT_NEEDED.name, "MessageRejected"),
    )
    return all(
        answer == predicted
        or (len(predicted_answers) > 1 and answer == deferred and predicted in not_needed)
        for answer, predicted in zip(answers, predicted_answers, strict=True)
    )


def test_random_sequences_of_steps_give_the_same_state_as_a_model(dsn: str) -> None:
    """Orders are placed, cooked, taken over, cancelled and completed, alone and in pairs.

    Statuses, log rows, messages, keys, numbers and the counts of the cooks are compared.
    """

    class StateMachineOnThisDatabase(OrderStateMachine):
        def __init__(self) -> None:
            super().__init__(dsn)

    run_state_machine_as_test(
        StateMachineOnThisDatabase,
        settings=settings(
            max_examples=20,
            stateful_step_count=35,
            deadline=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],  # shrinking takes minutes
            suppress_health_check=list(HealthCheck),
        ),
    )
