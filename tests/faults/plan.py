"""What goes wrong in an evening, and when: the same for the same seed."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import cycle, islice, product

QUIET = 0.1  # of the evening, at its beginning and its end: each fault comes under load


class Part(StrEnum):
    """What can be hit."""

    ORDER_SERVICE = "order-service"
    KITCHEN_WORKER = "kitchen-worker"
    SUBSCRIBER = "notification-subscriber"
    TRACKING_SERVICE = "tracking-service"
    POSTGRESQL = "postgresql"
    RABBITMQ = "rabbitmq"


class Kind(StrEnum):
    """How it is hit."""

    KILL = "kill"  # -9, then started again
    FREEZE = "freeze"  # SIGSTOP for a while
    CUT = "cut"  # its lines are broken, and refused for a while
    DELAY = "delay"  # whatever passes over its lines is held up for a while
    RESET = "reset"  # its lines are broken once
    UNBIND = "unbind"  # the kitchen's queues are taken off RabbitMQ's exchanges
    WIPE = "wipe"  # RabbitMQ is killed, its disk emptied, and it is started again
    POISON = "poison"  # a message that can never succeed is put into a kitchen queue


SERVICES = (Part.ORDER_SERVICE, Part.KITCHEN_WORKER, Part.SUBSCRIBER, Part.TRACKING_SERVICE)
ON_LINES = (Kind.CUT, Kind.DELAY, Kind.RESET)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong `at` seconds after the first order, for some `seconds`.

    `which` picks one of several processes of a part.
    """

    at: float
    kind: Kind
    part: Part
    seconds: float
    which: int


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What an evening is made of."""

    broker: str  # rabbitmq or postgres
    orders: int
    duration: float  # s over which the orders come
    seed: int = 1
    patience: float = 90  # s until everything must be done after the last order and fault
    kills: int = 0
    disturbances: int = 0  # freezes, and lines that are cut, slowed and torn
    unbinds: int = 0
    wipes: int = 0
    poisons: int = 0
    hit: frozenset[Part] = frozenset(Part)  # by kills and disturbances
    sabotage: str | None = None

    def __post_init__(self) -> None:
        if self.kills and not self._parts():
            raise ValueError(f"an evening on {self.broker} has nothing of what is to be killed")

    def faults(self) -> list[Fault]:
        """Return what goes wrong, in order of time."""
        dice = random.Random(self.seed)  # noqa: S311 - to be repeated, not to be secret
        hits = [
            *_in_turn(dice, product([Kind.KILL], self._parts()), self.kills),
            *_in_turn(dice, self._disturbances(), self.disturbances),
            *[(Kind.UNBIND, Part.RABBITMQ)] * self.unbinds,
            *[(Kind.WIPE, Part.RABBITMQ)] * self.wipes,
            *[(Kind.POISON, Part.KITCHEN_WORKER)] * self.poisons,
        ]
        dice.shuffle(hits)
        quiet = self.duration * QUIET
        span = (self.duration - 2 * quiet) / max(len(hits), 1)
        return [
            Fault(
                at=quiet + span * (place + dice.random()),
                kind=kind,
                part=part,
                seconds=dice.uniform(0.5, 3),
                which=dice.randrange(1000),
            )
            for place, (kind, part) in enumerate(hits)
        ]

    def _parts(self) -> list[Part]:
        absent = {Part.RABBITMQ} if self.broker == "postgres" else set()
        return [part for part in Part if part in self.hit - absent]

    def _disturbances(self) -> Iterator[tuple[Kind, Part]]:
        yield from product([Kind.FREEZE], self._parts())
        yield from product(ON_LINES, [part for part in self._parts() if part in SERVICES])


def _in_turn(
    dice: random.Random, choices: Iterator[tuple[Kind, Part]], count: int
) -> list[tuple[Kind, Part]]:
    """Take each choice once, in any order, before any comes again."""
    shuffled = list(choices)
    dice.shuffle(shuffled)
    return list(islice(cycle(shuffled), count))
