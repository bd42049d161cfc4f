"""The HTTP routes of the menu, and of what is sold out on it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Self

from pydantic import BaseModel, Field, PlainValidator, WithJsonSchema, model_validator
from starlette.requests import Request
from starlette.responses import Response

from restaurant_system.database.menu_availability import StoredLimit
from restaurant_system.error_texts import ErrorText
from restaurant_system.models.access import Capability
from restaurant_system.models.clock import parse_rfc_3339, rfc_3339
from restaurant_system.models.currency import Currency
from restaurant_system.models.fields import StrictModel, invalid_value
from restaurant_system.models.menu import DAYS, Day, Hours, MenuItem, ModifierGroup
from restaurant_system.models.menu_offer import Catalogue, Limit, Offer, Product, Reason, State
from restaurant_system.models.money import Money
from restaurant_system.models.order_items import ModifierKind
from restaurant_system.services.order.availability import Availability, Change, Changed, Selector
from restaurant_system.services.order.current_menu import CurrentMenu
from restaurant_system.web.access_control import caller_of
from restaurant_system.web.actors import actor_of
from restaurant_system.web.api import Feature
from restaurant_system.web.guarded_router import PUBLIC, GuardedRouter
from restaurant_system.web.json_body import JSON, read_body
from restaurant_system.web.openapi import BODY_PROBLEMS, PROBLEMS, header_parameter, request_body
from restaurant_system.web.static_files import StaticContent

KNOWN = header_parameter("If-None-Match", "The ETag of the menu that the client has")
ETAG = {"ETag": {"description": "Changes with the menu", "schema": {"type": "string"}}}
MAX_PORTIONS = 99_999
MAX_NAME_LENGTH = 300  # of a section, an item and a variation together


class StateResponse(BaseModel):
    """Whether something can be ordered now, and why not.

    `remaining` portions are left until the time `until`, or until people change it.
    """

    available: bool
    reason: Reason | None
    remaining: int | None
    until: str | None


class OptionResponse(StateResponse):
    """A modifier that may be chosen; those with `default` are chosen beforehand."""

    name: str
    price: Money
    default: bool
    kind: ModifierKind


class GroupResponse(BaseModel):
    """Options of which an item has at least `min` and at most `max`."""

    name: str
    min: int
    max: int
    options: list[OptionResponse]


class HoursResponse(BaseModel):
    """Days, and a time of day from which and until when; in the time zone of the restaurant."""

    days: list[Day]
    start: str = Field(alias="from")
    end: str = Field(alias="to")


class VariationResponse(StateResponse):
    """A form of an item. An order names it by `sku`, or by `order_name`."""

    name: str
    order_name: str
    sku: str | None
    price: Money


class MenuItemResponse(StateResponse):
    """An item on the menu. An order names it by `sku`, or by `order_name`.

    `price` is null if one of its variations must be ordered.
    """

    name: str
    order_name: str
    sku: str | None
    price: Money | None
    description: str | None
    allergens: list[str]
    prep_seconds: int | None
    station: str | None
    hours: list[HoursResponse]
    variations: list[VariationResponse]
    modifier_groups: list[GroupResponse]


class MenuSectionResponse(BaseModel):
    """A named group of menu items."""

    name: str
    items: list[MenuItemResponse]


class CurrencyResponse(BaseModel):
    """The currency of all amounts (ISO 4217), if one is configured, and their decimals at most."""

    code: str | None
    decimals: int


class MenuResponse(BaseModel):
    """The menu as it can be ordered now, in the order in which it is to be shown.

    `tables` are numbers and labels of tables, for the counter.
    """

    currency: CurrencyResponse
    tables: list[str]
    sections: list[MenuSectionResponse]
    next_business_day: str


def _future_time(value: object) -> datetime:
    moment = parse_rfc_3339(value) if isinstance(value, str) else None
    if moment is None:
        message = 'must be a time with its offset, such as "2024-12-17T05:00:00Z"'
        raise invalid_value(ErrorText(message, "time_invalid"))
    return moment


Until = Annotated[
    datetime,
    PlainValidator(_future_time),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH)]


class AvailabilityBody(StrictModel):
    """Which item, variation or option is sold out, until when, or how many of it are left.

    Exactly one of `sku`, `name` and `option` names it. `available: false` marks it as sold out,
    with `remaining` once so many have been ordered; `available: true` without `remaining` lifts
    what was set.
    """

    sku: Name | None = None
    name: Name | None = None
    option: Name | None = None
    available: bool | None = None
    remaining: int | None = Field(default=None, ge=0, le=MAX_PORTIONS)
    until: Until | None = None

    @model_validator(mode="after")
    def _is_clear(self) -> Self:
        if sum(each is not None for each in (self.sku, self.name, self.option)) != 1:
            message = "must have exactly one of sku, name and option"
            raise invalid_value(ErrorText(message, "selector_required"))
        if self.available is None and self.remaining is None:
            message = "must have available or remaining"
            raise invalid_value(ErrorText(message, "availability_required"))
        if self.available and self.remaining == 0:
            message = "must have available: false with remaining: 0, or remaining above 0"
            raise invalid_value(ErrorText(message, "availability_contradictory"))
        if self.available and self.remaining is None and self.until is not None:
            message = "must have until only with available: false, or with remaining"
            raise invalid_value(ErrorText(message, "until_without_limit"))
        return self

    def change(self) -> Change:
        """Return what is to be changed."""
        lifts = self.available is True and self.remaining is None
        limit = None if lifts else Limit(self.remaining or 0, self.until)
        return Change(Selector(self.sku, self.name, self.option), limit)


class LimitResponse(BaseModel):
    """What people have set for an item, a variation or an option.

    It has no effect while it is not `on_menu`, because the menu calls nothing so any more.
    """

    on_menu: bool
    sku: str | None
    name: str | None
    option: str | None
    available: bool
    remaining: int | None
    until: str | None
    changed_at: str | None
    changed_by: str | None


class LimitsResponse(BaseModel):
    """Everything that people have marked as sold out or limited."""

    limits: list[LimitResponse]


class MenuHandler:
    """Returns the current menu, or 304 to a client that has it, and changes what is sold out."""

    def __init__(self, current: CurrentMenu, availability: Availability) -> None:
        self._current = current
        self._availability = availability
        self._offer: Offer | None = None
        self._page = StaticContent(b"", JSON)
        self._page_until = datetime.max.replace(tzinfo=UTC)

    def feature(self) -> Feature:
        """Return the routes of the menu."""
        router = GuardedRouter(tags=["menu"])
        router.add_api_route(
            "/menu",
            self.menu,
            methods=["GET"],
            requires=PUBLIC,
            response_model=MenuResponse,
            summary="Get the menu",
            operation_id="menu",
            responses={
                HTTPStatus.OK: {"headers": ETAG},
                HTTPStatus.NOT_MODIFIED: {"description": "The client has this menu"},
                **PROBLEMS,
            },
            openapi_extra={"parameters": [KNOWN]},
        )
        router.add_api_route(
            "/menu/availability",
            self.limits,
            methods=["GET"],
            requires=Capability.MOVE_ORDERS,
            summary="Get what is marked as sold out or limited",
            operation_id="menu_availability",
            responses=PROBLEMS,
        )
        router.add_api_route(
            "/menu/availability",
            self.change,
            methods=["POST"],
            requires=Capability.MOVE_ORDERS,
            summary="Mark something on the menu as sold out, limited or available again",
            operation_id="change_menu_availability",
            responses=BODY_PROBLEMS,
            openapi_extra=request_body(AvailabilityBody),
        )
        return Feature(router)

    async def menu(self, request: Request) -> Response:
        """Return the menu, or that it has not changed."""
        await self._current.read_file()
        offer, now = self._current.offer, self._current.now()
        if offer is not self._offer or now >= self._page_until:
            tomorrow = self._current.next_business_day()
            self._offer = offer
            self._page_until = min(offer.changes_at(now) or tomorrow, tomorrow)
            content = _menu_response(offer, now, tomorrow, self._current.currency).model_dump_json(
                by_alias=True
            )
            self._page = StaticContent(content.encode(), JSON)
        return await self._page.respond(request)

    async def limits(self) -> LimitsResponse:
        """Return what people have set."""
        stored = await self._availability.limits()
        catalogue = self._current.offer.catalogue
        return LimitsResponse(limits=[_limit_response(catalogue, each) for each in stored])

    async def change(self, request: Request) -> LimitResponse:
        """Mark something as sold out, limited or available again."""
        body = await read_body(request, AvailabilityBody)
        changed = await self._availability.change(
            body.change(),
            by=actor_of(request),
            changed_by=caller_of(request).name,
            request_id=request.scope["request_id"],
        )
        return _limit_response(self._current.offer.catalogue, changed)


def _limit_response(catalogue: Catalogue, set_limit: StoredLimit | Changed) -> LimitResponse:
    kind, name = catalogue.reference(set_limit.item)
    limit = set_limit.limit
    return LimitResponse(
        on_menu=catalogue.has(set_limit.item),
        sku=name if kind == "sku" else None,
        name=name if kind == "name" else None,
        option=name if kind == "option" else None,
        available=limit is None or limit.remaining > 0,
        remaining=None if limit is None else limit.remaining,
        until=_time(None if limit is None else limit.until),
        changed_at=_time(set_limit.changed_at),
        changed_by=set_limit.changed_by,
    )


def _menu_response(
    offer: Offer, now: datetime, tomorrow: datetime, currency: Currency
) -> MenuResponse:
    catalogue = offer.catalogue
    return MenuResponse(
        currency=CurrencyResponse(code=currency.code, decimals=currency.decimals),
        tables=list(catalogue.menu.table_labels),
        sections=[
            MenuSectionResponse(
                name=section.name,
                items=[
                    _item_response(offer, item, product, now)
                    for item, product in zip(section.items, products, strict=True)
                ],
            )
            for section, products in zip(catalogue.menu.sections, catalogue.items, strict=True)
        ],
        next_business_day=rfc_3339(tomorrow),
    )


def _item_response(
    offer: Offer, item: MenuItem, product: Product, now: datetime
) -> MenuItemResponse:
    return MenuItemResponse(
        **_state_fields(offer.state(product, now)),
        name=item.name,
        order_name=product.name,
        sku=product.sku,
        price=item.price,
        description=item.description,
        allergens=list(item.allergens),
        prep_seconds=item.prep_seconds,
        station=item.station,
        hours=_hours(product.hours),
        variations=[
            VariationResponse(
                **_state_fields(offer.state(each, now)),
                name=variation.name,
                order_name=each.name,
                sku=each.sku,
                price=variation.price,
            )
            for variation, each in zip(item.variations, product.variations, strict=True)
        ],
        modifier_groups=[_group_response(offer, group, now) for group in product.groups],
    )


def _group_response(offer: Offer, group: ModifierGroup, now: datetime) -> GroupResponse:
    return GroupResponse(
        name=group.name,
        min=group.min,
        max=group.max,
        options=[
            OptionResponse(
                **_state_fields(offer.option_state(option, now)),
                name=option.name,
                price=option.price,
                default=option.default,
                kind=option.kind,
            )
            for option in group.options
        ],
    )


def _hours(hours: Sequence[Hours]) -> list[HoursResponse]:
    return [
        HoursResponse.model_validate(
            {
                "days": [day for day in DAYS if day in each.days],
                "from": f"{each.start:%H:%M}",
                "to": f"{each.end:%H:%M}",
            }
        )
        for each in hours
    ]


def _state_fields(state: State) -> dict[str, object]:
    limit = state.limit
    return {
        "available": state.is_available,
        "reason": state.reason,
        "remaining": None if limit is None else limit.remaining,
        "until": _time(None if limit is None else limit.until),
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else rfc_3339(moment)
