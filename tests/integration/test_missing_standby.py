"""What is repeated waits for the standby for which the first request has waited in vain."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias

import pytest

from restaurant_system.config import ServerSettings
from restaurant_system.database.connection import Database
from restaurant_system.error_texts import ErrorText
from restaurant_system.errors import DatabaseUnavailable, OrderCancelledBefore
from restaurant_system.messaging.postgres import PostgresBroker
from restaurant_system.models.access import Caller, Credential, CredentialKind, Role
from restaurant_system.models.clock import utc_now
from restaurant_system.models.external_order import ExternalOrder
from restaurant_system.models.menu import Menu
from restaurant_system.models.menu_check import CheckedOrder, OrderFault
from restaurant_system.models.menu_offer import Limit
from restaurant_system.models.order import Move, MoveOfReadyOrder, NewOrder
from restaurant_system.models.status import OrderStatus
from restaurant_system.services.order.availability import Availability, Change, Selector
from restaurant_system.services.order.privacy import Customer, Erased, ErasurePlan, PersonalData
from restaurant_system.services.order.ready_orders import ActOnReadyOrder, ReadyAction
from restaurant_system.services.order.service import OrderCheck, PlacedOrder
from tests.support.access import PASSWORD, make_sign_in, make_users
from tests.support.database import fails, succeeds
from tests.support.orders import make_order
from tests.support.postgres_server import Postgres
from tests.support.services import (
    make_current_menu,
    make_order_service,
    make_ready_orders,
    move_through,
)
from tests.support.waiting import eventually

IMPATIENT = ServerSettings(pool_max=2, command_timeout=0.5)
COMMIT = "SELECT pg_logical_emit_message(true, 'test', '')"
KEY, OTHER_KEY = "0123456789abcdef", "fedcba9876543210"
EXTERNAL = ExternalOrder(channel="shop", external_id="7")
CUSTOMER = "Ada Lovelace"
MENU = {"sections": [{"name": "Pizza", "items": [{"name": "Diavola", "price": 11}]}]}

Act: TypeAlias = Callable[[Database], Awaitable[object]]


class NothingLeft:
    """A menu on which everything is sold out."""

    def check(self, order: NewOrder, caller: Caller | None) -> CheckedOrder:
        """Return a fault of every order."""
        del order, caller
        return CheckedOrder([OrderFault("items.0", ErrorText("is sold out", "sold_out"))], ())


SOLD_OUT = NothingLeft()


def place(
    *, key: str | None = None, external: bool = False, menu: OrderCheck | None = None
) -> Callable[[Database], Awaitable[PlacedOrder]]:
    """Return an act that places an order."""
    order = make_order(customer_name=CUSTOMER, **(EXTERNAL.model_dump() if external else {}))
    return lambda database: make_order_service(database, menu=menu).place(
        order, request_id="r", key=key
    )


async def cancel_external(database: Database) -> None:
    """Cancel an order by its channel's id."""
    await make_order_service(database).cancel_external(EXTERNAL, Move(), request_id="r")


async def cancel_by_key(database: Database) -> None:
    """Cancel an order by its idempotency key."""
    await make_order_service(database).cancel_by_key(KEY, Move(), request_id="r")


@pytest.fixture
async def impatient(dsn: str, database: Database) -> AsyncIterator[Database]:
    """Return the test's database, with a short time for each statement.

    The month's partitions exist.
    """
    await place()(database)
    impatient = Database(dsn, IMPATIENT, application_name="impatient")
    await impatient.connect()
    yield impatient
    await impatient.close()


async def check_waits(
    act: Act, server: Postgres, impatient: Database, *, repeated: Act | None = None
) -> None:
    """Check that an act waits for a standby, and so does its repetition, which finds it done."""
    async with server.missing_standby():
        await eventually(lambda: fails(impatient, COMMIT), doing="for the setting", seconds=10)
        for each in (act, repeated or act):
            with pytest.raises(DatabaseUnavailable):
                await each(impatient)
    await eventually(lambda: succeeds(impatient, COMMIT), doing="for the setting", seconds=10)


@pytest.mark.parametrize(
    ("first", "repeated"),
    [
        pytest.param(place(key=KEY), place(key=KEY), id="key"),
        pytest.param(place(external=True), place(external=True), id="id"),
        pytest.param(place(external=True), place(key=KEY, external=True), id="id-then-with-key"),
        pytest.param(
            place(key=KEY, external=True), place(key=OTHER_KEY, external=True), id="other-key"
        ),
        pytest.param(place(key=KEY), place(key=KEY, menu=SOLD_OUT), id="key-sold-out"),
        pytest.param(place(external=True), place(external=True, menu=SOLD_OUT), id="id-sold-out"),
    ],
)
async def test_repeated_order_waits_for_the_standby(
    first: Act,
    repeated: Callable[[Database], Awaitable[PlacedOrder]],
    postgres_server: Postgres,
    impatient: Database,
    database: Database,
) -> None:
    await check_waits(first, postgres_server, impatient, repeated=repeated)

    assert (await repeated(database)).replayed


@pytest.mark.parametrize(
    ("cancel", "placing"),
    [
        pytest.param(cancel_external, place(external=True), id="id"),
        pytest.param(cancel_by_key, place(key=KEY), id="key"),
    ],
)
class TestCancellation:
    """Cancellations by the channel's id and by the idempotency key."""

    async def test_repeated_early_cancellation_waits_for_the_standby(
        self, cancel: Act, placing: Act, postgres_server: Postgres, impatient: Database
    ) -> None:
        await check_waits(cancel, postgres_server, impatient)

        with pytest.raises(OrderCancelledBefore):
            await placing(impatient)

    async def test_repeated_cancellation_waits_for_the_standby(
        self, cancel: Act, placing: Act, postgres_server: Postgres, impatient: Database
    ) -> None:
        await placing(impatient)

        await check_waits(cancel, postgres_server, impatient)

    async def test_refusal_of_an_order_cancelled_early_waits_for_the_standby(
        self, cancel: Act, placing: Act, postgres_server: Postgres, impatient: Database
    ) -> None:
        await check_waits(cancel, postgres_server, impatient, repeated=placing)


async def test_repeated_hand_over_waits_for_the_standby(
    postgres_server: Postgres, impatient: Database
) -> None:
    number = (await place()(impatient)).order_number
    await move_through(impatient, number, OrderStatus.COOKING, OrderStatus.READY)
    act = ActOnReadyOrder(
        number=number, action=ReadyAction.HAND_OVER, move=MoveOfReadyOrder(), request_id="r"
    )

    await check_waits(
        lambda database: make_ready_orders(database).perform(act, key=None),
        postgres_server,
        impatient,
    )


async def test_repeated_sign_out_waits_for_the_standby(
    postgres_server: Postgres, impatient: Database
) -> None:
    await make_users(impatient).add("ada", Role.STAFF, PASSWORD)
    token = (await make_sign_in(impatient).sign_in("ada", PASSWORD, None)).token
    session = Credential.of(CredentialKind.SESSION, token.encode())

    await check_waits(
        lambda database: make_sign_in(database).sign_out(session), postgres_server, impatient
    )


async def test_repeated_lift_of_a_limit_waits_for_the_standby(
    postgres_server: Postgres, impatient: Database
) -> None:
    async def change(database: Database, limit: Limit | None) -> None:
        current = make_current_menu(database, Menu.model_validate(MENU))
        availability = Availability(database, current, known_after=0)
        selector = Selector(name="Diavola")
        await availability.change(Change(selector, limit), by=None, changed_by=None, request_id="r")

    await change(impatient, Limit(0, None))

    await check_waits(lambda database: change(database, None), postgres_server, impatient)


async def test_repeated_erasure_waits_for_the_standby(
    postgres_server: Postgres, impatient: Database
) -> None:
    number = (await place(external=True)(impatient)).order_number
    await cancel_external(impatient)

    async def erase(database: Database) -> None:
        personal = PersonalData(database, PostgresBroker(database), clock=utc_now)
        found = await personal.find(Customer(numbers=(number,)))
        left = [each for each in found if not each.is_erased]  # as `plan`, which waits by itself
        await personal.erase(ErasurePlan(left, (), (), unattributed=0), Erased())

    await check_waits(erase, postgres_server, impatient)
