"""Measure the cost of access control: requests with an API key to a service that controls callers.

Measured in turns that alternate with the same requests to a service that does not; both services
have one process, and the load is that of the groups intake and tracking.
"""

import statistics
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.driving import drive
from benchmarks.measurements import intake, tracking
from benchmarks.results import ResultRow, result_row
from benchmarks.system import Environment
from restaurant_system.database.users import ADD_KEY
from restaurant_system.models.access import Capability, Credential, CredentialKind, new_api_key

TURNS = 5
GOAL = 0.95  # times the rate without access control
CONTROLLED = {"RESTAURANT_SECURITY__OPEN": "false"}


async def rows(bench: Bench) -> list[ResultRow]:
    """Measure look-ups and orders with an API key, next to the same without access control."""
    async with bench.system.environment() as environment:
        numbers = await tracking.place_orders(bench, environment)
        key = await _add_key(environment)
        controlled_tracking = await environment.tracking_service(settings=CONTROLLED)
        controlled_intake = await environment.order_service(settings=CONTROLLED)
        lookups = await _in_turns(
            bench,
            key,
            ("status", "--numbers", numbers, "--warm-up", tracking.WARM_UP),
            controlled=controlled_tracking[1],
            uncontrolled=(await environment.tracking_service())[1],
        )
        orders = await _in_turns(
            bench,
            key,
            ("place", "--warm-up", intake.WARM_UP),
            controlled=controlled_intake[1],
            uncontrolled=(await environment.order_service())[1],
        )
    return [
        result_row("tracking, API key", lookups[0], "reads/s", floor=lookups[1], goal=GOAL),
        result_row("intake, API key", orders[0], "orders/s", floor=orders[1], goal=GOAL),
    ]


async def _add_key(environment: Environment) -> str:
    key = new_api_key()
    digest = Credential.of(CredentialKind.API_KEY, key.encode()).digest
    scopes = [Capability.PLACE_ORDERS, Capability.READ_ORDERS]
    await (await environment.sql()).execute(ADD_KEY, "bench", "bench", digest, scopes)
    return key


async def _in_turns(
    bench: Bench,
    key: str,
    load: tuple[str | float | Path, ...],
    *,
    controlled: int,
    uncontrolled: int,
) -> tuple[float, float]:
    """Return the median rates with access control and without it."""
    with_control, without = list[float](), list[float]()
    what, *options = load
    options += ["--connections", tracking.CONNECTIONS, "--seconds", bench.seconds / TURNS]
    for _ in range(TURNS):
        driven = await drive(what, controlled, *options, "--api-key", key)
        with_control.append(driven.rate)
        without.append((await drive(what, uncontrolled, *options)).rate)
    return statistics.median(with_control), statistics.median(without)
