import asyncio
import copy
import itertools
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast
from uuid import uuid4
from zoneinfo import ZoneInfo

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
from restaurant_system.database.claims import ClaimedOrder
from restaurant_system.database.connection import Database
from restaurant_system.errors import (
    ExternalIdTaken,
    IdempotencyKeyReused,
    IllegalMove,
    OrderCancelledBefore,
    OrderNotFound,
)
from restaurant_system.models.business_day import BusinessDay
from restaurant_system.models.external_order import ExternalOrder
from restaurant_system.models.order import Move
from restaurant_system.services.kitchen.simulated_cook import SimulatedCook
from restaurant_system.worker.order_processor import ClaimRules
from tests.support.kitchen import EVERYTHING, REQUEST, REQUIRED_FIELDS, Cook
from tests.support.kitchen import settings as kitchen_settings
from tests.support.order_model import (
    FINISHED,
    NOT_ARRIVED,
    NOT_IN_FLIGHT,
    NOTHING,
    OrderModel,
    digest_of,
    stored_state,
)
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


class SlowCook(SimulatedCook):
    """A simulated cook whose orders cook until `finish` is called."""

    def __init__(self, database: Database, name: str, clock: FakeClock) -> None:
        business_day = BusinessDay(ZoneInfo("UTC"))
        rules = ClaimRules(name, EVERYTHING, kitchen_settings(), clock, business_day)
        super().__init__(database, make_relay(database), rules)
        self._cook_of = Cook(database, self, rules)
        self._claiming = asyncio.Lock()
        self._done: dict[str, asyncio.Event] = {}
        self._work: dict[str, asyncio.Task[bool]] = {}
        self._ids: dict[str, int] = {}

    async def _cook(self, order: ClaimedOrder) -> bool:
        await self._done[order.number].wait()
        return await super()._cook(order)

    async def claim_one(self) -> str:
        """Claim an order and start to process it; return its number, or `NOTHING`."""
        async with self._claiming:
            for order in await self._cook_of.claim(excluded=list(self._ids.values())):
                self._ids[order.number] = order.id
                self._done[order.number] = asyncio.Event()
                self._work[order.number] = asyncio.create_task(self.process(order))
                return order.number
        return NOTHING

    async def finish(self, number: str) -> str:
        """End the cooking time of an order."""
        if number not in self._work:
            return NOT_IN_FLIGHT
        self._done[number].set()
        work = self._work.pop(number)
        await work
        del self._ids[number]
        return FINISHED

    async def cancel_all(self) -> None:
        """Cancel the processing of all orders."""
        for work in self._work.values():
            work.cancel()
        await asyncio.gather(*self._work.values(), return_exceptions=True)
        self._work.clear()
        self._ids.clear()


class Restaurant:
    """The system under test: two order services and simulated cooks, on PostgreSQL."""

    def __init__(self, database: Database, clock: FakeClock) -> None:
        self._database = database
        self._intakes = itertools.cycle(
            [make_order_service(database, clock=clock) for _ in range(2)]
        )
        self._cooks = {name: SlowCook(database, name, clock) for name in COOKS}

    async def place(self, order_type: str, key: str | None, external_id: str | None) -> str:
        """Place an order."""
        names = {} if external_id is None else {"channel": "uber", "external_id": external_id}
        order = make_order(order_type=order_type, **REQUIRED_FIELDS[order_type], **names)
        return (await next(self._intakes).place(order, request_id=REQUEST, key=key)).order_number

    async def cancel(self, number: str) -> str:
        """Cancel an order."""
        return await next(self._intakes).cancel(number, Move(), request_id=REQUEST)

    async def cancel_by_key(self, key: str) -> str:
        """Cancel an order by its key."""
        return (
            await next(self._intakes).cancel_by_key(key, Move(), request_id=REQUEST) or NOT_ARRIVED
        )

    async def cancel_external(self, external_id: str) -> str:
        """Cancel an order by its external id."""
        order = ExternalOrder(channel="uber", external_id=external_id)
        number = await next(self._intakes).cancel_external(order, Move(), request_id=REQUEST)
        return number or NOT_ARRIVED

    async def complete(self, number: str) -> str:
        """Complete an order."""
        return await next(self._intakes).complete(number, Move(), request_id=REQUEST)

    async def claim(self, cook: str) -> str:
        """Let a cook claim an order."""
        return await self._cooks[cook].claim_one()

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
    except (
        ExternalIdTaken,
        IdempotencyKeyReused,
        OrderCancelledBefore,
        OrderNotFound,
    ) as refusal:
        return type(refusal).__name__


cooks = st.sampled_from(COOKS)
places = st.sampled_from(
    [0, 0, 0, 0, 1, 1, 2, 4, 99]
)  # of an order in the list; open orders come first
types = st.sampled_from(["takeout", "delivery"])
named_keys = st.sampled_from(["key-1", "key-2", "key-3"])
external_ids = st.sampled_from(["id-1", "id-2", "id-3"])
arguments: dict[str, st.SearchStrategy[tuple[object, ...]]] = {
    "claim": st.tuples(cooks),
    "finish": st.tuples(st.integers(0, 2)),
    "complete": st.tuples(places),
    "cancel": st.tuples(places),
    "place": st.tuples(types, st.none() | named_keys, st.none() | external_ids),
    "cancel_by_key": st.tuples(named_keys),
    "cancel_external": st.tuples(external_ids),
    "expire_lease": st.tuples(cooks),
    "register": st.tuples(cooks),
    "crash": st.tuples(cooks),
}
frequencies = Counter(
    claim=8, finish=5, complete=2, cancel=1, place=4, expire_lease=3, register=1, crash=1
)
frequencies.update(cancel_by_key=1, cancel_external=1)
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
            self._perform(Step("place", ("takeout", None, None)))

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
            self._predict(resolved, order, passed_over)
            for order in itertools.permutations(range(len(resolved)))
            for passed_over in self._locked(resolved, answers)
        ]
        matching = [
            model
            for model, predicted_answers in predicted
            if answers == predicted_answers and model.state == stored
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
        self, steps: list[Step], order: tuple[int, ...], passed_over: str | None
    ) -> tuple[OrderModel, list[object]]:
        model = copy.deepcopy(self._model)
        model.passed_over = None
        predicted_answers = {}
        for place in order:
            predicted_answers[place] = self._apply(model, steps[place])
            model.passed_over = passed_over
        return model, [predicted_answers[place] for place in range(len(steps))]

    def _locked(self, steps: list[Step], answers: list[object]) -> list[str | None]:
        """Return the orders that a claim may pass over: those that the other step locks."""
        locked = list[str | None]([None])
        for step, answer in zip(steps, answers, strict=True):
            argument = cast("str", step.arguments[-1])
            match step.name:
                case "cancel" | "complete" | "finish":
                    locked.append(argument)
                case "cancel_by_key":
                    locked.append(self._model.state.keys.get(argument))
                case "cancel_external":
                    locked.append(self._model.state.external_ids.get(digest_of(argument)))
                case "claim":
                    locked.append(cast("str", answer))
        return locked if len(steps) > 1 else [None]

    async def _do(self, steps: list[Step]) -> tuple[list[object], object]:
        calls = [answer_of(self._apply(self._restaurant, step)) for step in steps]
        answers = await asyncio.gather(*calls)
        return answers, await stored_state(self._database)

    def _apply(self, target: OrderModel | Restaurant, step: Step) -> Any:  # noqa: ANN401 - or an awaitable of it
        return getattr(target, step.name)(*step.arguments)

    async def _empty(self) -> None:
        async with self._database.connection() as connection:
            await connection.execute(TRUNCATE)


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
            max_examples=14,
            stateful_step_count=35,
            deadline=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],  # shrinking takes minutes
            suppress_health_check=list(HealthCheck),
        ),
    )
