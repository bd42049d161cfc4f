"""How long a process that dies is waited for; the rest is in the acceptance tests."""

import itertools

from restaurant_system.supervisor import LONGEST_PAUSE, pause_after


def test_the_first_death_costs_no_time() -> None:
    """A process that dies once is followed at once."""
    assert pause_after(1) == 0


def test_pauses_grow_to_a_limit() -> None:
    """One that goes on dying is waited for longer each time, and never for longer than that."""
    pauses = [pause_after(deaths) for deaths in range(1, 1_000)]

    assert all(one <= other for one, other in itertools.pairwise(pauses))
    assert pauses[:4] == [0, 0.5, 1, 2]
    assert pauses[-1] == LONGEST_PAUSE
