"""The outbox: storing, claiming, deleting and postponing messages."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from restaurant_system.database import outbox
from restaurant_system.database.connection import Connection, Database
from restaurant_system.models.message import Message
from tests.support import outbox as outbox_rows
from tests.support.messages import make_order_message, make_status_update
from tests.support.outbox import EVERYTHING, NUMBER, OTHER_NUMBER, backdate, backlog, row_ids


async def fill_outbox(database: Database, *messages: Message, about: str = NUMBER) -> list[int]:
    """Add messages about one order; return the ids of their rows."""
    return row_ids(await outbox_rows.fill_outbox(database, *messages, about=about))


async def fill_outbox_by_order(database: Database, *messages: Message) -> list[int]:
    """Add messages, each about an order of its own; return the ids of their rows."""
    return row_ids(await outbox_rows.fill_outbox_by_order(database, *messages))


async def claim(tx: Connection, ids: Sequence[int]) -> list[int]:
    """Claim rows; return the ids of those claimed."""
    return [each.id for each in await outbox.claim(tx, ids)]


async def sweep(tx: Connection, limit: int = 100) -> list[int]:
    """Claim all overdue rows; return their ids."""
    return [each.id for each in await outbox.claim_overdue(tx, EVERYTHING, limit)]


async def test_message_is_in_the_outbox_once_its_transaction_is_committed(
    database: Database,
) -> None:
    async with database.transaction() as tx:
        await outbox.add(tx, [(NUMBER, make_order_message())])
        assert await backlog(database) == 0

    assert await backlog(database) == 1


async def test_rolled_back_transaction_leaves_no_message(database: Database) -> None:
    async def fail() -> None:
        async with database.transaction() as tx:
            await outbox.add(tx, [(NUMBER, make_order_message())])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()

    assert await backlog(database) == 0


async def test_claimed_message_equals_the_added_one(database: Database) -> None:
    message = make_order_message(
        priority=5,
        body=b"\x00\xff{}",
        correlation_id="req-é",
        type="order.something",
        app_id="till",
    )
    ids = await fill_outbox(database, message)

    async with database.transaction() as tx:
        (claimed,) = await outbox.claim(tx, ids)

    assert claimed.id == ids[0]
    assert claimed.message == message


async def test_claimed_row_is_skipped_by_other_claims(database: Database) -> None:
    """Other claims do not wait for a claimed row."""
    first, second = await fill_outbox_by_order(database, make_order_message(), make_order_message())

    async with database.transaction() as one, database.transaction() as another:
        assert await claim(one, [first]) == [first]

        assert await claim(another, [first, second]) == [second]
        assert await sweep(another) == [second]


async def test_claim_ends_with_its_transaction(database: Database) -> None:
    ids = await fill_outbox(database, make_order_message())

    async with database.transaction() as tx:
        await outbox.claim(tx, ids)

    async with database.transaction() as tx:
        assert await claim(tx, ids) == ids


async def test_only_deleted_messages_leave_the_outbox(database: Database) -> None:
    first, second = await fill_outbox_by_order(database, make_order_message(), make_order_message())

    async with database.transaction() as tx:
        await outbox.delete(tx, [first])

    async with database.transaction() as tx:
        assert await sweep(tx) == [second]


async def test_claim_of_a_missing_row_is_no_error(database: Database) -> None:
    ids = await fill_outbox(database, make_order_message())

    async with database.transaction() as tx:
        assert await claim(tx, [*ids, ids[0] + 1_000]) == ids
        assert await claim(tx, []) == []


async def test_messages_of_a_stream_are_claimed_in_sequence(database: Database) -> None:
    ids = await fill_outbox(database, *(make_status_update() for _ in range(5)))

    left: list[int] = []
    while len(left) < len(ids):
        async with database.transaction() as tx:
            claimed = await claim(tx, ids[::-1])
            assert claimed, f"only {left} left"
            await outbox.delete(tx, claimed)
        left += claimed

    assert left == ids


async def test_claim_has_at_most_one_message_of_a_stream(database: Database) -> None:
    """The broker may refuse the first message of a stream, and later ones must not overtake it."""
    first, *_ = await fill_outbox(database, *(make_status_update() for _ in range(3)))
    (other,) = await fill_outbox(database, make_status_update(), about=OTHER_NUMBER)

    async with database.transaction() as tx:
        assert await sweep(tx) == [first, other]


async def test_postponed_message_and_its_successors_are_not_claimed(database: Database) -> None:
    refused, behind = await fill_outbox(database, make_status_update(), make_status_update())
    (free,) = await fill_outbox(database, make_status_update(), about=OTHER_NUMBER)

    async with database.transaction() as tx:
        await outbox.postpone(tx, [refused], timedelta(hours=1))

    async with database.transaction() as tx:
        assert await sweep(tx) == [free]
        assert await claim(tx, [behind]) == []


async def test_postponed_message_is_claimed_after_its_delay(database: Database) -> None:
    ids = await fill_outbox(database, make_status_update())

    async with database.transaction() as tx:
        await outbox.postpone(tx, ids, timedelta(seconds=-1))

    async with database.transaction() as tx:
        assert await sweep(tx) == ids


@pytest.mark.parametrize("named", [slice(1, 2), slice(1, 3), slice(2, 3)])
async def test_message_is_not_claimed_before_an_earlier_one_of_its_stream(
    database: Database, named: slice
) -> None:
    ids = await fill_outbox(database, *(make_status_update() for _ in range(3)))

    async with database.transaction() as tx:
        assert await claim(tx, ids[named]) == []


async def test_message_is_not_claimed_while_an_earlier_one_is_claimed_elsewhere(
    database: Database,
) -> None:
    first, second, third = await fill_outbox(database, *(make_status_update() for _ in range(3)))

    async with database.transaction() as one, database.transaction() as another:
        assert await claim(one, [first]) == [first]

        assert await claim(another, [first, second, third]) == []
        assert await sweep(another) == []


async def test_message_can_be_claimed_once_the_earlier_one_is_deleted(database: Database) -> None:
    first, second = await fill_outbox(database, make_status_update(), make_status_update())

    async with database.transaction() as tx:
        assert await claim(tx, [first]) == [first]
        await outbox.delete(tx, [first])

    async with database.transaction() as tx:
        assert await claim(tx, [second]) == [second]


async def test_streams_are_claimed_independently(database: Database) -> None:
    """Messages of other orders, or of the same order to another exchange, are other streams."""
    (held,) = await fill_outbox(database, make_status_update())
    (elsewhere,) = await fill_outbox(database, make_order_message())
    (another_order,) = await fill_outbox(database, make_status_update(), about=OTHER_NUMBER)

    async with database.transaction() as one, database.transaction() as another:
        await claim(one, [held])

        assert await claim(another, [elsewhere, another_order]) == [elsewhere, another_order]


async def test_row_committed_after_one_with_a_higher_id_is_claimed(database: Database) -> None:
    async with database.transaction() as slow:
        (late,) = row_ids(await outbox.add(slow, [(NUMBER, make_order_message())]))
        (early,) = await fill_outbox(database, make_order_message(), about=OTHER_NUMBER)
        async with database.transaction() as tx:
            assert await sweep(tx) == [early]
            await outbox.delete(tx, [early])

    assert late < early
    async with database.transaction() as tx:
        assert await sweep(tx) == [late]


async def test_only_old_rows_are_overdue(database: Database) -> None:
    """Younger rows are left to the relay of the process that wrote them."""
    old, _ = await fill_outbox_by_order(database, make_order_message(), make_order_message())
    await backdate(database, old, timedelta(minutes=1))

    async with database.transaction() as tx:
        left_behind = await outbox.claim_overdue(tx, timedelta(seconds=50), 100)

    assert [each.id for each in left_behind] == [old]


async def test_claim_of_overdue_rows_takes_the_oldest_up_to_its_limit(database: Database) -> None:
    ids = await fill_outbox_by_order(database, *(make_order_message() for _ in range(5)))

    async with database.transaction() as tx:
        assert await sweep(tx, limit=2) == ids[:2]


async def test_backlog_has_the_number_of_rows_and_the_age_of_the_oldest(database: Database) -> None:
    first, _ = await fill_outbox_by_order(database, make_order_message(), make_order_message())
    await backdate(database, first, timedelta(minutes=5))

    async with database.connection() as connection:
        backlog = await outbox.backlog(connection)

    assert backlog.size == 2
    assert 300 <= backlog.oldest_seconds < 360


async def test_backlog_of_an_empty_outbox_is_zero(database: Database) -> None:
    async with database.connection() as connection:
        assert await outbox.backlog(connection) == outbox.Backlog(size=0, oldest_seconds=0)
