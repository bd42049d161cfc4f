"""Change what is sold out on the menu (86), and how many portions of it are left."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus

from restaurant_system.database import audit, menu_availability
from restaurant_system.database.connection import Database
from restaurant_system.database.menu_availability import StoredLimit
from restaurant_system.database.standbys import wait_for_standbys
from restaurant_system.error_texts import ErrorText
from restaurant_system.errors import Unavailable
from restaurant_system.logger import get_logger
from restaurant_system.models.audit import Act, Actor, AuditAction
from restaurant_system.models.menu_offer import Catalogue, Limit, Product, names, option_key
from restaurant_system.services.order.current_menu import CurrentMenu
from restaurant_system.services.order.service import NAME
from restaurant_system.web.json_body import INVALID_BODY
from restaurant_system.web.problem import Refusal
from restaurant_system.web.validation_errors import FieldError

MAX_UNTIL = timedelta(days=400)

log = get_logger(NAME)


@dataclass(frozen=True, slots=True)
class Selector:
    """By what a request names something on the menu: one of the three."""

    sku: str | None = None
    name: str | None = None
    option: str | None = None

    @property
    def field(self) -> str:
        """Return the field of the request that names it."""
        if self.sku is not None:
            return "sku"
        return "name" if self.option is None else "option"

    @property
    def text(self) -> str:
        """Return what the request calls it."""
        return self.sku or self.name or self.option or ""

    @property
    def key(self) -> str:
        """Return the key under which a limit of it is stored, if its name has the section."""
        return f"{self.field}:{self.text}"


@dataclass(frozen=True, slots=True)
class Change:
    """A limit for something on the menu, in place of an earlier one; `None` lifts it."""

    selector: Selector
    limit: Limit | None


@dataclass(frozen=True, slots=True)
class Changed:
    """What was changed, by its key in the database."""

    item: str
    limit: Limit | None
    changed_at: datetime
    changed_by: str | None


class Availability:
    """Stores what people mark as sold out; other processes read it within `known_after` seconds.

    A change waits for them; if this `may_be_alone`, only while an order service is connected.
    """

    def __init__(
        self,
        database: Database,
        current: CurrentMenu,
        *,
        known_after: float,
        may_be_alone: bool = False,
    ) -> None:
        self._database = database
        self._current = current
        self._known_after = known_after
        self._may_be_alone = may_be_alone

    async def limits(self) -> list[StoredLimit]:
        """Return the limits that have not ended."""
        async with self._database.connection() as connection:
            return await menu_availability.limits(connection, self._current.now())

    async def change(
        self, change: Change, *, by: Actor | None, changed_by: str | None, request_id: str
    ) -> Changed:
        """Set or lift a limit; it holds in all processes once this returns.

        Raises `Refusal` if the menu has no such item, or several.
        """
        await self._current.read_file()
        keys = self._keys(change)
        item = keys[0]
        now = self._current.now()
        limit = change.limit
        if limit is not None and limit.until is not None:
            if limit.until <= now:
                raise _fault("until", ErrorText("must be in the future", "time_past"))
            if limit.until > now + MAX_UNTIL:
                days = MAX_UNTIL.days
                message = f"must be at most {days} days ahead"
                raise _fault("until", ErrorText(message, "too_far_ahead", days=days))
        async with self._database.transaction() as tx:
            if limit is None:
                await menu_availability.lift_limit(tx, keys, now)
                await wait_for_standbys(tx)  # it may have been lifted before
            else:
                stored = StoredLimit(item, limit, now, changed_by)
                await menu_availability.set_limit(tx, stored, keys[1:])
            if by is not None:
                await audit.write(tx, [_act(item, limit, now, by, request_id)])
        log.info(
            "menu_availability_changed",
            message=f"{item} is {_description(limit)}.",
            item=item,
            remaining=None if limit is None else limit.remaining,
        )
        await self._current.refresh()
        if not (self._may_be_alone and await self._is_alone()):
            await asyncio.sleep(self._known_after)
        return Changed(item, limit, now, changed_by)

    async def _is_alone(self) -> bool:
        """Return whether no order service is connected to the database; if in doubt, `False`."""
        with contextlib.suppress(Unavailable):
            async with self._database.connection() as connection:
                return not await menu_availability.has_order_service(connection)
        return False

    def _keys(self, change: Change) -> Sequence[str]:
        """Return the keys of what a request names, the one to store first.

        What is no longer on the menu can be lifted, by what it was called.
        """
        selector, offer = change.selector, self._current.offer
        is_lifted = change.limit is None
        if is_lifted and selector.key in offer.limits and not offer.catalogue.has(selector.key):
            return (selector.key,)
        if selector.option is not None:
            return (option_key(_option(offer.catalogue, selector.option)),)
        product = _product(offer.catalogue, selector)
        if not product.is_offered and not (is_lifted and offer.limits.keys() & product.keys):
            message = "is unavailable in the menu file; change it there"
            raise _fault(selector.field, ErrorText(message, "unavailable_in_menu_file"))
        return product.keys


def _option(catalogue: Catalogue, name: str) -> str:
    """Return the name of the option that a request names."""
    options = catalogue.options(name)
    if not options:
        message = "is not the name of an option in a modifier group"
        raise _fault("option", ErrorText(message, "not_on_menu"))
    if len(options) > 1:
        choices = ", ".join(map(repr, options))
        message = f"is like the names of several options; send one of {choices}"
        raise _fault("option", ErrorText(message, "ambiguous", choices=choices))
    return options[0]


def _product(catalogue: Catalogue, selector: Selector) -> Product:
    """Return the product that a request names by its sku or its name."""
    find = catalogue.named if selector.sku is None else catalogue.with_sku
    found = find(selector.text)
    if not found:
        raise _fault(selector.field, ErrorText("is not on the menu", "not_on_menu"))
    if len(found) > 1:
        choices = names(found)
        message = f"is the name of several items; send one of {choices}"
        raise _fault(selector.field, ErrorText(message, "ambiguous", choices=choices))
    return found[0]


def _act(item: str, limit: Limit | None, at: datetime, by: Actor, request_id: str) -> Act:
    details = {} if limit is None else {"remaining": str(limit.remaining)}
    if limit is not None and limit.until is not None:
        details["until"] = limit.until.isoformat()
    return Act(
        at=at,
        actor=by,
        action=AuditAction.CHANGE_AVAILABILITY,
        target=item,
        request_id=request_id,
        details=details,
    )


def _description(limit: Limit | None) -> str:
    if limit is None:
        return "available again"
    return "sold out" if limit.remaining == 0 else f"limited to {limit.remaining}"


def _fault(field: str, message: ErrorText) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, INVALID_BODY, [FieldError(field, message)])
