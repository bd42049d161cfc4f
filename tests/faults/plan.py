"""Plan the faults of a run: the same seed gives the same faults at the same times."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import cycle, islice, product

QUIET_SHARE = (
    0.1  # of the run without faults, at its start and end, so that each fault comes under load
)


class Component(StrEnum):
    """A kind of process that faults are injected into."""

    ORDER_SERVICE = "order-service"
    KITCHEN_WORKER = "kitchen-worker"
    SUBSCRIBER = "notification-subscriber"
    TRACKING_SERVICE = "tracking-service"
    POSTGRESQL = "postgresql"
    RABBITMQ = "rabbitmq"


class Kind(StrEnum):
    """A kind of fault."""

    KILL = "kill"  # SIGKILL, then a restart
    FREEZE = "freeze"  # SIGSTOP for a while
    CUT = "cut"  # connections are reset, and new ones refused for a while
    DELAY = "delay"  # each packet is delayed for a while
    RESET = "reset"  # connections are reset once
    ISOLATE = "isolate"  # a node of RabbitMQ is cut off from the others for a while
    UNBIND = "unbind"  # the kitchen's queues are unbound from RabbitMQ's exchanges
    WIPE = "wipe"  # RabbitMQ is killed, its data directory deleted, and it is restarted
    POISON = "poison"  # an invalid message is published to a kitchen queue


SERVICES = (
    Component.ORDER_SERVICE,
    Component.KITCHEN_WORKER,
    Component.SUBSCRIBER,
    Component.TRACKING_SERVICE,
)
CONNECTION_FAULTS = (Kind.CUT, Kind.DELAY, Kind.RESET)


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that starts `at` seconds after the first order and lasts for `seconds`.

    `which` selects one of several processes of a component.
    """

    at: float
    kind: Kind
    component: Component
    seconds: float
    which: int


@dataclass(frozen=True, slots=True)
class RunPlan:
    """The orders and the faults of one run."""

    broker: str  # rabbitmq or postgres
    orders: int
    duration: float  # s over which the orders are sent
    seed: int = 1
    settle_timeout: float = 90  # s after the last order and fault until all orders must be done
    kills: int = 0
    disturbances: int = 0  # freezes, cuts, isolations, delays and resets
    unbinds: int = 0
    wipes: int = 0
    poisons: int = 0
    targets: frozenset[Component] = frozenset(Component)  # of kills and disturbances
    mutation: str | None = None
    cluster: bool = False  # RabbitMQ is a cluster with quorum queues
    partitions: int = 1  # of the queues of orders; a service that is restarted has fewer, or more

    def __post_init__(self) -> None:
        if self.cluster and (self.broker != "rabbitmq" or self.wipes):
            raise ValueError("a cluster is one of RabbitMQ, whose nodes are not wiped")
        if self.partitions > 1 and self.broker != "rabbitmq":
            raise ValueError("partitions are those of RabbitMQ's queues")
        if self.kills and not self._components():
            raise ValueError(f"a run on {self.broker} has none of the components to be killed")

    def faults(self) -> list[Fault]:
        """Return the faults in order of time."""
        rng = random.Random(self.seed)  # noqa: S311 - reproducible, not secret
        planned = [
            *_shuffled(rng, product([Kind.KILL], self._components()), self.kills),
            *_shuffled(rng, self._disturbances(), self.disturbances),
            *[(Kind.UNBIND, Component.RABBITMQ)] * self.unbinds,
            *[(Kind.WIPE, Component.RABBITMQ)] * self.wipes,
            *[(Kind.POISON, Component.KITCHEN_WORKER)] * self.poisons,
        ]
        rng.shuffle(planned)
        quiet = self.duration * QUIET_SHARE
        span = (self.duration - 2 * quiet) / max(len(planned), 1)
        return [
            Fault(
                at=quiet + span * (place + rng.random()),
                kind=kind,
                component=component,
                seconds=rng.uniform(0.5, 3),
                which=rng.randrange(1000),
            )
            for place, (kind, component) in enumerate(planned)
        ]

    def _components(self) -> list[Component]:
        absent = {Component.RABBITMQ} if self.broker == "postgres" else set()
        return [component for component in Component if component in self.targets - absent]

    def _disturbances(self) -> Iterator[tuple[Kind, Component]]:
        yield from product([Kind.FREEZE], self._components())
        yield from product(
            CONNECTION_FAULTS,
            [component for component in self._components() if component in SERVICES],
        )
        if self.cluster and Component.RABBITMQ in self.targets:
            yield Kind.CUT, Component.RABBITMQ  # one node, from all services
            yield Kind.ISOLATE, Component.RABBITMQ


def _shuffled(
    rng: random.Random, choices: Iterator[tuple[Kind, Component]], count: int
) -> list[tuple[Kind, Component]]:
    """Return `count` choices in random order, each once before any is repeated."""
    remaining = list(choices)
    rng.shuffle(remaining)
    return list(islice(cycle(remaining), count))
