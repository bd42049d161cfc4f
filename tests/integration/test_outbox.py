"""The outbox: what is owed, who may take it, and when it is its turn."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from restaurant_system.database import outbox
from restaurant_system.database.connection import Connection, Database
from restaurant_system.models.message import Message
from tests.support import outbox as outbox_rows
from tests.support.messages import make_order_message, make_status_update
from tests.support.outbox import EVERYTHING, NUMBER, OTHER_NUMBER, age, backlog, rows


async def fill_outbox(database: Database, *messages: Message, about: str = NUMBER) -> list[int]:
    """Owe messages about an order, and return their rows' ids."""
    return rows(await outbox_rows.fill_outbox(database, *messages, about=about))


async def fill_outbox_by_order(database: Database, *messages: Message) -> list[int]:
    """Owe messages, each about an order of its own, and return their rows' ids."""
    return rows(await outbox_rows.fill_outbox_by_order(database, *messages))


async def claim(tx: Connection, ids: Sequence[int]) -> list[int]:
    """Claim rows, and return the ids of those that one gets."""
    return [owed.id for owed in await outbox.claim(tx, ids)]


async def sweep(tx: Connection, limit: int = 100) -> list[int]:
    """Claim whatever is there, and return its ids."""
    return [owed.id for owed in await outbox.claim_overdue(tx, EVERYTHING, limit)]


async def test_a_message_is_owed_once_its_transaction_is_committed(database: Database) -> None:
    """A row is there if, and only if, what caused it is."""
    async with database.transaction() as tx:
        await outbox.add(tx, [(NUMBER, make_order_message())])
        assert await backlog(database) == 0

    assert await backlog(database) == 1


async def test_nothing_is_owed_for_what_was_rolled_back(database: Database) -> None:
    """A transaction that fails owes nobody anything."""

    async def fail() -> None:
        async with database.transaction() as tx:
            await outbox.add(tx, [(NUMBER, make_order_message())])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()

    assert await backlog(database) == 0


async def test_a_claimed_message_is_the_one_that_was_added(database: Database) -> None:
    """Every property of a message survives the outbox."""
    message = make_order_message(
        priority=5,
        body=b"\x00\xff{}",
        correlation_id="req-é",
        type="order.something",
        app_id="till",
    )
    ids = await fill_outbox(database, message)

    async with database.transaction() as tx:
        (owed,) = await outbox.claim(tx, ids)

    assert owed.id == ids[0]
    assert owed.message == message


async def test_nobody_claims_what_another_has_claimed(database: Database) -> None:
    """A row under way is passed over, by its id and by the sweep, and nobody waits for it."""
    first, second = await fill_outbox_by_order(database, make_order_message(), make_order_message())

    async with database.transaction() as one, database.transaction() as another:
        assert await claim(one, [first]) == [first]

        assert await claim(another, [first, second]) == [second]
        assert await sweep(another) == [second]


async def test_what_was_claimed_and_not_deleted_is_still_owed(database: Database) -> None:
    """A claim ends with its transaction, published or not."""
    ids = await fill_outbox(database, make_order_message())

    async with database.transaction() as tx:
        await outbox.claim(tx, ids)

    async with database.transaction() as tx:
        assert await claim(tx, ids) == ids


async def test_what_is_deleted_is_owed_no_longer(database: Database) -> None:
    """What the broker has confirmed is struck off, and nothing else."""
    first, second = await fill_outbox_by_order(database, make_order_message(), make_order_message())

    async with database.transaction() as tx:
        await outbox.delete(tx, [first])

    async with database.transaction() as tx:
        assert await sweep(tx) == [second]


async def test_a_claim_names_only_rows_that_are_owed(database: Database) -> None:
    """An id whose row is gone, or was never there, is no error."""
    ids = await fill_outbox(database, make_order_message())

    async with database.transaction() as tx:
        assert await claim(tx, [*ids, ids[0] + 1_000]) == ids
        assert await claim(tx, []) == []


async def test_a_stream_leaves_in_order(database: Database) -> None:
    """Messages about one order leave as they were added, however their ids are named."""
    ids = await fill_outbox(database, *(make_status_update() for _ in range(5)))

    left: list[int] = []
    while len(left) < len(ids):
        async with database.transaction() as tx:
            claimed = await claim(tx, ids[::-1])
            assert claimed, f"only {left} left"
            await outbox.delete(tx, claimed)
        left += claimed

    assert left == ids


async def test_a_claim_holds_one_message_of_a_stream(database: Database) -> None:
    """The broker may refuse any message: what must not overtake it is not in the same claim."""
    first, *_ = await fill_outbox(database, *(make_status_update() for _ in range(3)))
    (other,) = await fill_outbox(database, make_status_update(), about=OTHER_NUMBER)

    async with database.transaction() as tx:
        assert await sweep(tx) == [first, other]


async def test_what_is_postponed_is_left_alone_for_a_while(database: Database) -> None:
    """A refused message, and what waits behind it, make room for those that can go."""
    refused, behind = await fill_outbox(database, make_status_update(), make_status_update())
    (free,) = await fill_outbox(database, make_status_update(), about=OTHER_NUMBER)

    async with database.transaction() as tx:
        await outbox.postpone(tx, [refused], timedelta(hours=1))

    async with database.transaction() as tx:
        assert await sweep(tx) == [free]
        assert await claim(tx, [behind]) == []


async def test_what_is_postponed_has_its_turn_again(database: Database) -> None:
    """Once its time has come, a postponed message is swept like any other."""
    ids = await fill_outbox(database, make_status_update())

    async with database.transaction() as tx:
        await outbox.postpone(tx, ids, timedelta(seconds=-1))

    async with database.transaction() as tx:
        assert await sweep(tx) == ids


@pytest.mark.parametrize("named", [slice(1, 2), slice(1, 3), slice(2, 3)])
async def test_a_message_whose_predecessor_is_owed_waits(database: Database, named: slice) -> None:
    """A message does not leave before an earlier one of its stream that nobody has claimed."""
    ids = await fill_outbox(database, *(make_status_update() for _ in range(3)))

    async with database.transaction() as tx:
        assert await claim(tx, ids[named]) == []


async def test_a_message_whose_predecessor_is_under_way_elsewhere_waits(
    database: Database,
) -> None:
    """A message does not leave while another process has an earlier one of its stream in hand."""
    first, second, third = await fill_outbox(database, *(make_status_update() for _ in range(3)))

    async with database.transaction() as one, database.transaction() as another:
        assert await claim(one, [first]) == [first]

        assert await claim(another, [first, second, third]) == []
        assert await sweep(another) == []


async def test_a_message_is_free_once_its_predecessor_has_left(database: Database) -> None:
    """The end of the earlier one lets the next one go."""
    first, second = await fill_outbox(database, make_status_update(), make_status_update())

    async with database.transaction() as tx:
        assert await claim(tx, [first]) == [first]
        await outbox.delete(tx, [first])

    async with database.transaction() as tx:
        assert await claim(tx, [second]) == [second]


async def test_streams_do_not_wait_for_one_another(database: Database) -> None:
    """Another order's messages, and the same order's to another exchange, go on."""
    (held,) = await fill_outbox(database, make_status_update())
    (elsewhere,) = await fill_outbox(database, make_order_message())
    (another_order,) = await fill_outbox(database, make_status_update(), about=OTHER_NUMBER)

    async with database.transaction() as one, database.transaction() as another:
        await claim(one, [held])

        assert await claim(another, [elsewhere, another_order]) == [elsewhere, another_order]


async def test_ids_that_are_committed_out_of_order_are_not_skipped(database: Database) -> None:
    """A row that becomes visible after a later one was taken is still found."""
    async with database.transaction() as slow:
        (late,) = rows(await outbox.add(slow, [(NUMBER, make_order_message())]))
        (early,) = await fill_outbox(database, make_order_message(), about=OTHER_NUMBER)
        async with database.transaction() as tx:
            assert await sweep(tx) == [early]
            await outbox.delete(tx, [early])

    assert late < early
    async with database.transaction() as tx:
        assert await sweep(tx) == [late]


async def test_only_what_is_old_counts_as_left_behind(database: Database) -> None:
    """A row that its own process may still publish is left to it."""
    old, _ = await fill_outbox_by_order(database, make_order_message(), make_order_message())
    await age(database, old, timedelta(minutes=1))

    async with database.transaction() as tx:
        left_behind = await outbox.claim_overdue(tx, timedelta(seconds=50), 100)

    assert [owed.id for owed in left_behind] == [old]


async def test_a_sweep_takes_the_oldest_up_to_its_limit(database: Database) -> None:
    """What is left behind is taken in batches, from the front."""
    ids = await fill_outbox_by_order(database, *(make_order_message() for _ in range(5)))

    async with database.transaction() as tx:
        assert await sweep(tx, limit=2) == ids[:2]


async def test_the_backlog_says_how_much_is_owed_and_for_how_long(database: Database) -> None:
    """The size counts every row; the age is the oldest one's."""
    first, _ = await fill_outbox_by_order(database, make_order_message(), make_order_message())
    await age(database, first, timedelta(minutes=5))

    async with database.connection() as connection:
        owed = await outbox.backlog(connection)

    assert owed.size == 2
    assert 300 <= owed.oldest_seconds < 360


async def test_the_backlog_of_an_empty_outbox_is_nothing(database: Database) -> None:
    """Where nothing is owed, nothing is old."""
    async with database.connection() as connection:
        assert await outbox.backlog(connection) == outbox.Backlog(size=0, oldest_seconds=0)
