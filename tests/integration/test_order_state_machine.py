"""Everything that may happen to orders, in any order and two at once, against a plain model."""

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
from tests.support.kitchen import BELONGINGS, EVERYTHING, REQUEST
from tests.support.kitchen import settings as kitchen_settings
from tests.support.order_model import NOTHING_IN_HAND, ON_THE_STOVE, OrderModel, stored_state
from tests.support.orders import make_order
from tests.support.rows import EMPTY
from tests.support.services import FakeClock, make_order_service, make_relay

COOKS = ("anna", "bob")
NO_ORDER = "ORD_20240101_001"


@dataclass(frozen=True)
class Step:
    """Something that the restaurant and its model both know how to do."""

    word: str
    arguments: tuple[object, ...]


OFF_DUTY = "UPDATE workers SET status = 'offline' WHERE name = $1"


class Cook(SimulatedCook):
    """Keeps each order on the stove until it is told that the time has come."""

    def __init__(self, database: Database, name: str, clock: FakeClock) -> None:
        super().__init__(
            database,
            make_relay(database),
            worker_name=name,
            kitchen=kitchen_settings(),
            clock=clock,
        )
        self.begun: dict[str, asyncio.Event] = {}
        self.done: dict[str, asyncio.Event] = {}
        self.work: dict[str, asyncio.Task[Outcome]] = {}

    async def _cook(self, order: Cooking) -> bool:
        self.begun[order.number].set()
        await self.done[order.number].wait()
        return await super()._cook(order)

    async def take(self, number: str) -> str:
        """Begin an order, or say at once what becomes of its message."""
        fresh = number not in self.work
        if fresh:
            self.begun[number], self.done[number] = asyncio.Event(), asyncio.Event()
        work = asyncio.create_task(
            self.process(OrderReceived.from_order(make_order(), number), REQUEST)
        )
        if fresh:
            self.work[number] = work
        begun = asyncio.create_task(self.begun[number].wait())
        await asyncio.wait({work, begun}, return_when=asyncio.FIRST_COMPLETED)
        begun.cancel()
        if not work.done():
            return ON_THE_STOVE
        if fresh:
            del self.work[number]
        return (await work).name

    async def finish(self, number: str) -> str:
        """Take an order off the stove."""
        if number not in self.work or not self.begun[number].is_set():
            return NOTHING_IN_HAND
        self.done[number].set()
        return (await self.work.pop(number)).name

    async def drop_everything(self) -> None:
        """Cook no more."""
        for work in self.work.values():
            work.cancel()
        await asyncio.gather(*self.work.values(), return_exceptions=True)
        self.work.clear()


class Restaurant:
    """The real thing: the use cases, on PostgreSQL."""

    def __init__(self, database: Database, clock: FakeClock) -> None:
        self._database = database
        self._intake = make_order_service(database, clock=clock)
        self._cooks = {name: Cook(database, name, clock) for name in COOKS}

    async def place(self, order_type: str, key: str | None) -> str:
        """Take an order."""
        order = make_order(order_type=order_type, **BELONGINGS[order_type])
        return (await self._intake.place(order, request_id=REQUEST, key=key)).order_number

    async def cancel(self, number: str) -> str:
        """Call an order off."""
        return await self._intake.cancel(number, Move(), request_id=REQUEST)

    async def complete(self, number: str) -> str:
        """Hand an order over."""
        return await self._intake.complete(number, Move(), request_id=REQUEST)

    async def deliver(self, cook: str, number: str) -> str:
        """Bring a cook the message of an order."""
        return await self._cooks[cook].take(number)

    async def finish(self, cook: str, number: str) -> str:
        """Let a cook come to the end of an order."""
        return await self._cooks[cook].finish(number)

    async def fall_silent(self, cook: str) -> None:
        """Let a lease run out."""
        silence = "UPDATE workers SET last_seen = now() - interval '1 hour' WHERE name = $1"
        async with self._database.connection() as connection:
            await connection.execute(silence, cook)

    async def die(self, cook: str) -> None:
        """Let a cook drop everything, and be gone."""
        await self._cooks[cook].drop_everything()
        async with self._database.connection() as connection:
            await connection.execute(OFF_DUTY, cook)

    async def come_back(self, cook: str) -> bool:
        """Let somebody sign on under this name."""
        lease = timedelta(minutes=5)
        async with self._database.connection() as connection:
            return await workers.register(connection, cook, EVERYTHING, lease, uuid4())

    async def close(self) -> None:
        """Send everybody home."""
        for cook in self._cooks.values():
            await cook.drop_everything()


async def answer_to(doing: Awaitable[object]) -> object:
    """Return what came of a step, refusals included."""
    try:
        return await doing
    except IllegalMove as refusal:
        return f"IllegalMove from {refusal.current}"
    except (IdempotencyKeyReused, MessageRejected, OrderNotFound) as refusal:
        return type(refusal).__name__


cooks = st.sampled_from(COOKS)
places = st.sampled_from([0, 0, 0, 0, 1, 1, 2, 4, 99])  # of an order; the open ones are first
types = st.sampled_from(["takeout", "delivery"])
keys = st.none() | st.sampled_from(["key-1", "key-2"])
arguments: dict[str, st.SearchStrategy[tuple[object, ...]]] = {
    "deliver": st.tuples(cooks, places),
    "finish": st.tuples(st.integers(0, 2)),
    "complete": st.tuples(places),
    "cancel": st.tuples(places),
    "place": st.tuples(types, keys),
    "fall_silent": st.tuples(cooks),
    "come_back": st.tuples(cooks),
    "die": st.tuples(cooks),
}
frequencies = Counter(
    deliver=8, finish=5, complete=2, cancel=1, place=2, fall_silent=3, come_back=1, die=1
)
words = sorted(frequencies.elements())
single = st.sampled_from(words).flatmap(
    lambda word: st.builds(Step, st.just(word), arguments[word])
)
# What a cook who dies had done by then is known to nobody, so it dies alone.
double = single.filter(lambda step: step.word != "die")


class LifeOfOrders(RuleBasedStateMachine):
    """After each step the database shows what the model does, and both gave the same answers."""

    def __init__(self, dsn: str) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._watch = FakeClock()
        self._database = Database(dsn, DatabaseSettings(pool_min=2), application_name="test")
        self._runner.run(self._database.connect())
        self._restaurant = Restaurant(self._database, self._watch)
        self._model = OrderModel()

    @initialize()
    def open(self) -> None:
        """Begin with empty tables, two cooks who have left, and two orders."""
        self._runner.run(self._empty())
        for name in COOKS:
            self._happen(Step("come_back", (name,)))
            self._happen(Step("fall_silent", (name,)))
        for _ in range(2):
            self._happen(Step("place", ("takeout", None)))

    @rule(step=single, hours=st.sampled_from([0, 0, 0, 0, 0, 0, 0, 13]))
    def one_by_one(self, step: Step, hours: int) -> None:
        """Do a single thing, now or on the next day."""
        self._watch.now += timedelta(hours=hours)
        self._happen(step)

    @rule(one=double, other=double)
    def at_once(self, one: Step, other: Step) -> None:
        """Do two things at the same time: one of them must have been the first."""
        self._happen(one, other)

    def teardown(self) -> None:
        """Close."""
        self._runner.run(self._restaurant.close())
        self._runner.run(self._database.close())
        self._runner.close()

    def _happen(self, *steps: Step) -> None:
        self._watch.now += timedelta(seconds=1)
        self._model.now = self._watch.now
        named = [self._named(step) for step in steps]
        answers, shown = self._runner.run(self._do(named))
        foretold = [
            self._foretell(named, order) for order in itertools.permutations(range(len(named)))
        ]
        fitting = [
            model for model, said in foretold if _fit(answers, said) and model.ledger == shown
        ]
        assert fitting, f"{named}: answered {answers}, shown {shown}, not any of {foretold}"
        self._model = fitting[0]

    def _named(self, step: Step) -> Step:
        """Turn an order's place into its number, and that of an order in hand into whose it is."""
        if step.word == "finish":
            in_hand = sorted(self._model.in_hand) or [(COOKS[0], NO_ORDER)]
            return Step("finish", in_hand[cast("int", step.arguments[0]) % len(in_hand)])
        orders = self._model.ledger.orders
        numbers = [*sorted(orders, key=lambda number: orders[number].is_closed), NO_ORDER]
        return Step(
            step.word,
            tuple(
                numbers[min(argument, len(numbers) - 1)] if isinstance(argument, int) else argument
                for argument in step.arguments
            ),
        )

    def _foretell(
        self, steps: list[Step], order: tuple[int, ...]
    ) -> tuple[OrderModel, list[object]]:
        model = copy.deepcopy(self._model)
        said = {place: self._on(model, steps[place]) for place in order}
        return model, [said[place] for place in range(len(steps))]

    async def _do(self, steps: list[Step]) -> tuple[list[object], object]:
        doing = [answer_to(self._on(self._restaurant, step)) for step in steps]
        answers = await asyncio.gather(*doing)
        return answers, await stored_state(self._database)

    def _on(self, whom: OrderModel | Restaurant, step: Step) -> Any:  # noqa: ANN401 - or a promise of it
        return getattr(whom, step.word)(*step.arguments)

    async def _empty(self) -> None:
        async with self._database.connection() as connection:
            await connection.execute(EMPTY)


def _fit(answers: list[object], said: list[object]) -> bool:
    """Tell whether these answers are right.

    Beside something else, a cook may also ask for a message again where nothing is left to do.
    """
    look_again, nothing_to_do = (
        Outcome.OTHER_WORKER.name,
        (Outcome.NOT_NEEDED.name, "MessageRejected"),
    )
    return all(
        answer == foretold or (len(said) > 1 and answer == look_again and foretold in nothing_to_do)
        for answer, foretold in zip(answers, said, strict=True)
    )


def test_the_life_of_orders(dsn: str) -> None:
    """However orders are placed, cooked, taken over, cancelled and completed, the books are right.

    Statuses, log rows, messages, keys, numbers and the cooks' counts are those of the model.
    """

    class LifeInThisDatabase(LifeOfOrders):
        def __init__(self) -> None:
            super().__init__(dsn)

    run_state_machine_as_test(
        LifeInThisDatabase,
        settings=settings(
            max_examples=20,
            stateful_step_count=35,
            deadline=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],  # shrinking takes minutes
            suppress_health_check=list(HealthCheck),
        ),
    )
