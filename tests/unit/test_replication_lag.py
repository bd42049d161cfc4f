"""How far a replica is behind, and that what was read is not followed by something older."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest

from restaurant_system.config import KitchenSettings
from restaurant_system.database.reader import Reader
from restaurant_system.database.replication_lag import PrimaryPositions
from restaurant_system.errors import DatabaseUnavailable
from restaurant_system.models.business_day import BusinessDay
from restaurant_system.services.tracking.seen_versions import SeenVersions
from restaurant_system.services.tracking.status_lookup import StatusLookup
from tests.support.services import NOON

LATER = NOON + timedelta(seconds=1)


def positions(*samples: tuple[float, int]) -> PrimaryPositions:
    """Return positions that the primary had at these times."""
    result = PrimaryPositions()
    for at, position in samples:
        result.add(at, position)
    return result


@pytest.mark.parametrize(
    ("replayed", "lag"), [(400, 0), (300, 0), (200, 1), (150, 1.5), (100, 2), (99, None)]
)
def test_lag_is_the_age_of_the_position_that_is_replayed(replayed: int, lag: float | None) -> None:
    assert positions((10, 100), (11, 200), (12, 300)).lag(replayed) == lag


def test_replica_of_an_idle_primary_is_not_behind() -> None:
    """What is written after an idle hour is late only since then."""
    measured = positions(*((float(at), 100) for at in range(3600)))
    assert measured.lag(100) == 0

    measured.add(3600, 200)

    assert measured.lag(100) == 1


def test_positions_of_an_earlier_primary_are_forgotten() -> None:
    measured = positions((1, 1000), (2, 2000), (3, 500), (4, 600))

    assert measured.lag(1500) == 0
    assert measured.lag(500) == 1
    assert measured.lag(499) is None


def test_versions_are_remembered_for_their_lifetime() -> None:
    """For up to twice as long, because periods are forgotten as a whole."""
    now = [0.0]
    seen = SeenVersions(10, clock=lambda: now[0])
    now[0] = 9
    seen.add("A", LATER)

    for at, is_remembered in ((9, True), (19, True), (29, False)):
        now[0] = at
        assert seen.has_newer("A", NOON) is is_remembered
        assert not seen.has_newer("A", LATER)


def test_older_version_does_not_replace_a_newer_one() -> None:
    seen = SeenVersions(10)
    seen.add("A", LATER)
    seen.add("A", NOON)

    assert seen.has_newer("A", NOON)
    assert not seen.has_newer("B", NOON)


def test_versions_are_forgotten_after_a_pause() -> None:
    now = [0.0]
    seen = SeenVersions(10, clock=lambda: now[0])
    seen.add("A", LATER)
    now[0] = 25

    assert not seen.has_newer("A", NOON)


class ReplicaWithoutPrimary:
    """Orders as a replica has them while the primary is away."""

    staleness = 10.0

    def __init__(self) -> None:
        self.orders: dict[str, Mapping[str, Any]] = {}

    @property
    def primary(self) -> "AwayPrimary":
        return AwayPrimary()

    async def read(self, _query: object) -> dict[str, Mapping[str, Any]]:
        return dict(self.orders)


class AwayPrimary:
    """A primary that no query reaches."""

    async def read(self, _query: object) -> None:
        raise DatabaseUnavailable("The primary is away.")


def cooking_order(updated_at: datetime) -> dict[str, Any]:
    """Return the row of an order that is cooking."""
    return {
        **dict.fromkeys(("processed_by", "ready_at", "released_at")),
        "number": "A",
        "status": "cooking",
        "updated_at": updated_at,
        "estimated_completion": LATER,
    }


async def test_older_version_is_not_shown_while_the_primary_is_away() -> None:
    """The replica that had the newer version is lost as well."""
    replica = ReplicaWithoutPrimary()
    lookup = StatusLookup(
        cast("Reader", replica),
        clock=lambda: NOON,
        business_day=BusinessDay(ZoneInfo("UTC")),
        kitchen=KitchenSettings(),
    )

    for updated_at in (NOON, LATER):
        replica.orders["A"] = cooking_order(updated_at)
        assert (await lookup.find("A")).updated_at == updated_at
    replica.orders["A"] = cooking_order(NOON)
    with pytest.raises(DatabaseUnavailable):
        await lookup.find("A")
