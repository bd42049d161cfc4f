"""Payloads of ordering platforms as orders and cancellations."""

import contextlib
import copy
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restaurant_system.integrations.platform import (
    Nothing,
    PayloadInvalid,
    ReadOrder,
    interpret,
)
from restaurant_system.integrations.registry import platforms
from restaurant_system.models.currency import Currency
from restaurant_system.models.external_order import ExternalOrder
from restaurant_system.models.order import NewOrder
from tests.support.payloads import PLATFORMS, currency_of, parse, read_file

# What each payload says that its items, or the whole order, cost.
TOTALS = {
    "uber_eats": "41.58",
    "doordash": "36.72",
    "deliverect": "8.875",
    "hubrise": "36.35",
    "toast": "55.40",
    "open_delivery": "144.95",
}


def load(name: str) -> Any:  # noqa: ANN401 - JSON
    """Parse a file."""
    return parse(read_file(name))


def mapped(platform: str, payload: object) -> object:
    """Return what a payload means."""
    return meaning_of(platform, payload, currency_of(platform))


def meaning_of(platform: str, payload: object, currency: Currency) -> object:
    """Return what a payload means: of one that places an order, the order."""
    meaning = interpret(platforms()[platform], payload, currency)
    return meaning.order if isinstance(meaning, ReadOrder) else meaning


def faults_of(platform: str, payload: object) -> dict[str, str]:
    """Return the messages of the faults of a payload by path."""
    with pytest.raises(PayloadInvalid) as raised:
        mapped(platform, payload)
    return {each.path: each.message for each in raised.value.faults}


def test_every_platform_has_payloads() -> None:
    assert set(platforms()) == set(PLATFORMS)


@pytest.mark.parametrize("kind", ["simple", "full"])
@pytest.mark.parametrize("platform", PLATFORMS)
def test_payload_becomes_an_order_without_a_loss(platform: str, kind: str) -> None:
    order = mapped(platform, load(f"{platform}/{kind}.json"))

    expected = load(f"{platform}/{kind}.order.json")
    assert order == NewOrder.model_validate(expected, context=currency_of(platform))


@pytest.mark.parametrize("platform", PLATFORMS)
def test_total_is_that_of_the_platform(platform: str) -> None:
    order = mapped(platform, load(f"{platform}/full.json"))

    assert isinstance(order, NewOrder)
    assert order.total_amount == Decimal(TOTALS[platform])


@pytest.mark.parametrize("platform", PLATFORMS)
def test_cancellation_names_the_order_as_the_order_itself_does(platform: str) -> None:
    order = mapped(platform, load(f"{platform}/full.json"))
    cancellation = mapped(platform, load(f"{platform}/cancel.json"))

    assert isinstance(order, NewOrder)
    assert cancellation == ExternalOrder.model_validate(
        {"channel": platform, "external_id": order.external_id}
    )


@pytest.mark.parametrize("platform", PLATFORMS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_no_payload_fails_otherwise_than_by_naming_its_faults(
    platform: str, data: st.DataObject
) -> None:
    payload = load(f"{platform}/full.json")
    json = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**12), 10**12),
        st.decimals(allow_nan=False, allow_infinity=False),
        st.text(max_size=300),
        st.sampled_from([10**5000, Decimal("1E+999999"), Decimal("1E-999999")]),
        st.just([]),
        st.just({}),
        st.just([None, 1, "x", {}]),
    )
    for _ in range(data.draw(st.integers(1, 3))):
        owner, key = data.draw(st.sampled_from(places_in(payload)))
        owner[key] = copy.deepcopy(data.draw(json))

    with contextlib.suppress(PayloadInvalid):
        mapped(platform, payload)


def places_in(value: Any) -> list[tuple[Any, Any]]:  # noqa: ANN401 - JSON
    """Return every place of a value in a JSON document: its object or list, and its key there."""
    keys = list(value) if isinstance(value, dict) else range(len(value))
    places = [(value, key) for key in keys]
    inner = [value[key] for key in keys if isinstance(value[key], dict | list)]
    return places + [place for each in inner for place in places_in(each)]


@pytest.mark.parametrize(
    "number", [10**5000, Decimal("1E+999999"), Decimal("1E-999999")], ids=["long", "big", "small"]
)
def test_number_that_is_too_long_to_calculate_with_is_refused(number: object) -> None:
    payload = load("open_delivery/full.json")
    payload["items"][0]["quantity"] = number
    payload["displayId"] = number

    faults = faults_of("open_delivery", payload)

    assert faults["items.0.quantity"] == "is a number beyond all bounds"
    assert "displayId" in faults


def test_all_faults_are_listed_with_their_paths_in_the_payload() -> None:
    payload = load("uber_eats/full.json")
    item = payload["cart"]["items"][0]
    fries = item["selected_modifier_groups"][0]["selected_items"][0]
    dip = fries["selected_modifier_groups"][0]["selected_items"][0]
    payload["type"] = "DRONE"
    payload["eater"]["first_name"] = ["Bad name"]
    item["quantity"] = "several"
    dip["title"] = {"en": "Dip"}
    dip["price"]["base_unit_price"]["currency_code"] = "EUR"
    payload["cart"]["items"][1]["price"] = {"unit_price": {"amount": 10**11}}
    payload["estimated_ready_for_pickup_at"] = "soon"

    faults = faults_of("uber_eats", payload)

    inner = (
        "cart.items.0.selected_modifier_groups.0.selected_items.0"
        ".selected_modifier_groups.0.selected_items.0"
    )
    assert faults.keys() == {
        "type",
        "eater.first_name",
        "cart.items.0.quantity",
        f"{inner}.title",
        f"{inner}.price.base_unit_price.currency_code",
        "cart.items.1.price.unit_price.amount",
        "estimated_ready_for_pickup_at",
    }
    assert "USD" in faults[f"{inner}.price.base_unit_price.currency_code"]
    assert "999999.99" in faults["cart.items.1.price.unit_price.amount"]


def with_many_items(payload: Any) -> None:  # noqa: ANN401 - JSON
    payload["items"] = payload["items"][:1] * 101


def with_many_levels(payload: Any) -> None:  # noqa: ANN401 - JSON
    options = payload["items"][0].setdefault("subItems", [])
    for _ in range(5):
        options.append({"name": "Level", "quantity": 1, "subItems": []})
        options = options[-1]["subItems"]


def with_long_note(payload: Any) -> None:  # noqa: ANN401 - JSON
    payload["note"] = "n" * 6500


def without_id(payload: Any) -> None:  # noqa: ANN401 - JSON
    del payload["_id"]


def without_items(payload: Any) -> None:  # noqa: ANN401 - JSON
    del payload["items"]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (with_many_items, "items"),
        (with_many_levels, "items.0.subItems.0"),
        (with_long_note, "note"),
        (without_id, "_id"),
        (without_items, "items"),
    ],
)
def test_payload_that_does_not_fit_is_refused_and_not_shortened(
    change: Callable[[Any], None], path: str
) -> None:
    payload = load("deliverect/simple.json")
    change(payload)

    faults = faults_of("deliverect", payload)

    assert faults
    assert all(each.startswith(path) for each in faults)


@pytest.mark.parametrize("payload", [None, [], "x", 1, {}])
@pytest.mark.parametrize("platform", PLATFORMS)
def test_payload_of_another_shape_is_refused(platform: str, payload: object) -> None:
    assert faults_of(platform, payload)


@pytest.mark.parametrize(
    ("platform", "code", "amount", "price"),
    [
        ("uber_eats", "JPY", 1200, Decimal(1200)),
        ("uber_eats", "KWD", 1125, Decimal("1.125")),
        ("uber_eats", "TWD", 100000, Decimal(1000)),
        ("uber_eats", "IDR", 4500000, Decimal(45000)),
    ],
)
def test_minor_units_have_the_decimals_of_the_currency(
    platform: str, code: str, amount: int, price: Decimal
) -> None:
    payload = load(f"{platform}/simple.json")
    payload["payment"] = {}
    payload["cart"]["items"][0]["price"] = {"unit_price": {"amount": amount, "currency_code": code}}

    order = meaning_of(platform, payload, Currency(code))

    assert isinstance(order, NewOrder)
    assert order.items[0].price == price


@pytest.mark.parametrize(
    ("platform", "payload"),
    [
        ("uber_eats", {"event_type": "store.provisioned", "meta": {}}),
        ("doordash", {"event": {"type": "MenuStatus"}, "order": {}}),
        ("doordash", {"event": {"type": "OrderCancellationRejected"}, "order": {"id": "3"}}),
        ("hubrise", {"resource_type": "catalog", "event_type": "update"}),
        ("hubrise", {"id": "5dpm9", "status": "completed"}),
        ("toast", {"eventType": "stock_updated", "details": {}}),
        ("open_delivery", {"eventType": "DISPATCHED", "orderId": "1"}),
    ],
)
def test_event_about_something_else_changes_nothing(platform: str, payload: dict[str, Any]) -> None:
    assert isinstance(mapped(platform, payload), Nothing)


@pytest.mark.parametrize(
    ("platform", "payload", "path"),
    [
        ("uber_eats", {"event_type": "orders.notification", "meta": {}}, "event_type"),
        ("open_delivery", {"eventType": "CREATED", "orderId": "1"}, "eventType"),
    ],
)
def test_announcement_without_the_order_is_refused(
    platform: str, payload: dict[str, Any], path: str
) -> None:
    assert "fetch the order" in faults_of(platform, payload)[path]


@pytest.mark.parametrize(
    "event",
    ["OrderCancel", "OrderCancelled", "order_canceled", "OrderCancellation", "order.cancelled"],
)
def test_every_spelling_of_a_cancellation_of_doordash_cancels(event: str) -> None:
    payload = {"event": {"type": event}, "order": {"id": "3"}}

    assert mapped("doordash", payload) == ExternalOrder(channel="doordash", external_id="3")


def test_cancellation_of_doordash_that_is_not_known_is_refused() -> None:
    payload = {"event": {"type": "OrderCancelRequested"}, "order": {"id": "3"}}

    assert list(faults_of("doordash", payload)) == ["event.type"]


def test_doordash_order_with_a_reference_of_the_shop_is_no_cancellation() -> None:
    payload = load("doordash/full.json")

    assert isinstance(mapped("doordash", payload | {"external_order_id": "ours"}), NewOrder)
    payload["order"]["external_order_id"] = "ours"
    assert isinstance(mapped("doordash", payload), NewOrder)


def test_fees_and_discounts_that_only_a_total_contains_are_charges() -> None:
    uber, deliverect, delivery = (
        load(f"{each}/full.json") for each in ("uber_eats", "deliverect", "open_delivery")
    )
    charges = uber["payment"]["charges"]
    charges["total_fee"]["amount"] += 150
    charges["total"]["amount"] += 150
    deliverect |= {"discounts": []}
    delivery |= {"otherFees": [], "discounts": delivery["discounts"][:1]}

    for platform, payload, total in (
        ("uber_eats", uber, Decimal("43.08")),
        ("deliverect", deliverect, Decimal(TOTALS["deliverect"])),
        ("open_delivery", delivery, Decimal(TOTALS["open_delivery"])),
    ):
        order = mapped(platform, payload)

        assert isinstance(order, NewOrder)
        assert order.total_amount == total


@pytest.mark.parametrize("gross", [{"preDiscountPrice": 13}, {"receiptLinePrice": 12}, {}])
def test_discount_on_a_modifier_of_toast_is_deducted(gross: dict[str, int]) -> None:
    payload = load("toast/simple.json")
    check = payload["details"]["order"]["checks"][0]
    bacon = {"displayName": "Bacon", "quantity": 1, "price": 0}
    bacon |= {"appliedDiscounts": [{"name": "Locals", "discountAmount": 1}]}
    check["selections"] = [{"displayName": "Burger", "quantity": 1, "price": 11} | gross]
    check["selections"][0] |= {"modifiers": [bacon]}
    check["selections"][0] |= {"appliedDiscounts": [{"name": "Locals", "discountAmount": 1}]}
    check["taxAmount"] = None

    order = mapped("toast", payload)

    assert isinstance(order, NewOrder)
    assert order.total_amount == 11
    assert [(each.name, each.amount) for each in order.charges] == [("Locals", Decimal(-2))]
    assert order.items[0].modifiers[0].price == 1


def test_prices_that_include_the_tax_are_not_taxed_again() -> None:
    payload = load("uber_eats/full.json")
    payload["payment"]["charges"]["total"]["amount"] -= 310

    order = mapped("uber_eats", payload)

    assert isinstance(order, NewOrder)
    assert "Tax" not in {each.name for each in order.charges}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"deliveryInfo": {"address1": "1 Hoy St", "city": "Paris"}}, ("delivery", "own_delivery")),
        ({"deliveryInfo": {}, "diningOption": {"behavior": "DINE_IN"}}, ("dine_in", "counter")),
        ({"table": {"guid": "t", "name": "Terrace 3"}}, ("dine_in", None)),
        ({"curbsidePickupInfo": {"transportDescription": "van"}}, ("takeout", "curbside")),
        ({}, ("takeout", "counter")),
    ],
)
def test_type_of_a_toast_order_follows_from_its_dining_option_or_its_contents(
    changes: dict[str, Any], expected: tuple[str, str | None]
) -> None:
    payload = load("toast/simple.json")
    order = payload["details"]["order"]
    del order["diningOption"]
    order |= changes

    result = mapped("toast", payload)

    assert isinstance(result, NewOrder)
    assert (result.order_type, result.handoff) == expected


def test_update_of_payments_and_estimates_leaves_a_toast_order_the_same() -> None:
    payload = load("toast/full.json")
    before = mapped("toast", payload)
    check = payload["details"]["order"]["checks"][0]
    check["payments"].append({"amount": 5.0, "tipAmount": 2.0})
    order = payload["details"]["order"]
    order |= {
        "paidDate": "2026-12-24T21:00:00.000+0000",
        "estimatedFulfillmentDate": "2026-12-24T21:30:00.000+0000",
    }
    payload["timestamp"] = "2026-12-24T21:00:05.000+0000"

    assert mapped("toast", payload) == before


def test_deliverect_order_whose_channel_uses_an_id_again_is_another_order() -> None:
    first, second = (load("deliverect/simple.json") for _ in "12")
    second["_id"] = "72a1b2c3d4e5f6a7b8c9d002"

    ids = {mapped("deliverect", each).external_id for each in (first, second)}  # type: ignore[attr-defined]

    assert ids == {first["_id"], second["_id"]}


def test_deliverect_message_to_a_kitchen_display_is_read_with_its_own_names() -> None:
    payload = load("deliverect/simple.json")
    payload["orderId"] = payload.pop("_id")
    payload["customerName"] = "MD1"
    item = payload["items"][0]
    item["itemRemark"] = "No garlic sauce"
    item["subItems"] = [{"name": "Cola", "quantity": 1, "itemRemark": "Iced"}]

    order = mapped("deliverect", payload)

    assert isinstance(order, NewOrder)
    assert (order.external_id, order.customer_name) == (payload["orderId"], "MD1")
    assert order.items[0].notes == "No garlic sauce"
    (cola,) = order.items[0].modifiers
    assert [(each.name, each.kind) for each in cola.modifiers] == [("Iced", "instruction")]
    assert mapped("deliverect", payload | {"status": 100}) == ExternalOrder(
        channel="deliverect", external_id=payload["orderId"]
    )


@pytest.mark.parametrize("voided", ["check", "selection", "check without selections"])
def test_toast_order_of_which_everything_was_voided_is_cancelled(voided: str) -> None:
    payload = load("toast/simple.json")
    order = payload["details"]["order"]
    (check,) = order["checks"]
    owner = check["selections"][0] if voided == "selection" else check
    owner["voided"] = True
    if voided == "check without selections":
        check["selections"] = []

    assert mapped("toast", payload) == ExternalOrder(channel="toast", external_id=order["guid"])


@pytest.mark.parametrize(
    ("name", "removed"),
    [
        ("No onions", "onions"),
        ("NO Onions", "Onions"),
        ("No Onions", "Onions"),
        ("NO ONIONS", "ONIONS"),
        ("no red onions", "red onions"),
        ("NO Red Onions", "Red Onions"),
        ("NO RED ONIONS", "RED ONIONS"),
        ("No Sour Cream", "Sour Cream"),
        ("No 7 Burger Sauce", None),
        ("NO 7 Burger Sauce", None),
        ("No. 7 sauce", None),
        ("No Bake Cheesecake", None),
        ("No bake cheesecake", None),
        ("NO BAKE CHEESECAKE", None),
        ("No-bake cheesecake", None),
        ("No Name Burger", None),
        ("No preference", None),
        ("No, thanks", None),
        ("No thank you", None),
        ("No", None),
        ("Noodles", None),
        ("Nori", None),
    ],
)
def test_option_that_begins_with_no_removes_something_only_if_it_cannot_be_a_name(
    name: str, removed: str | None
) -> None:
    payload = load("deliverect/simple.json")
    payload["items"][0]["subItems"] = [
        {"name": name, "quantity": 1},
        {"name": name, "quantity": 1, "price": 100},
    ]

    order = mapped("deliverect", payload)

    assert isinstance(order, NewOrder)
    free, paid = order.items[0].modifiers
    assert (free.name, free.kind) == ((name, "choice") if removed is None else (removed, "remove"))
    assert (paid.name, paid.kind) == (name, "choice")


def test_platform_says_itself_what_is_removed() -> None:
    uber, hubrise, toast = (
        load(f"{each}/simple.json") for each in ("uber_eats", "hubrise", "toast")
    )
    names = ["No 7 Burger Sauce", "No onions"]
    uber["cart"]["items"][0]["selected_modifier_groups"] = [
        {"removed_items": [{"title": each} for each in names]}
    ]
    hubrise["items"][0]["options"] = [{"name": each, "removed": True} for each in names]
    selection = toast["details"]["order"]["checks"][0]["selections"][0]
    selection["modifiers"] = [
        {"displayName": each, "preModifier": {"name": "NO"}, "price": 0}
        for each in ("7 Burger Sauce", "NO Onions")
    ]

    for platform, payload in (("uber_eats", uber), ("hubrise", hubrise), ("toast", toast)):
        order = mapped(platform, payload)

        assert isinstance(order, NewOrder)
        sauce, onions = order.items[0].modifiers
        assert (sauce.kind, onions.kind) == ("remove", "remove")
        assert sauce.name.endswith("7 Burger Sauce")
        assert onions.name.lower() == "onions"


@pytest.mark.parametrize("platform", ["uber_eats", "doordash", "hubrise", "toast"])
def test_option_of_several_groups_keeps_the_name_of_its_group(platform: str) -> None:
    """One without a name does not: several such are several options of no name."""
    payload = load(f"{platform}/simple.json")
    sold = [("Left half", "Ham"), ("Right half", "ham"), ("Base", "Tomato"), ("Base", "Tomato")]
    sold += [("Drink", ""), ("Side", "\u200b"), ("", "")]
    match platform:
        case "uber_eats":
            price = {"unit_price": {"amount": 100, "currency_code": "USD"}}
            payload["cart"]["items"][0]["selected_modifier_groups"] = [
                {"title": group, "selected_items": [{"title": name, "quantity": 1, "price": price}]}
                for group, name in sold
            ]
        case "doordash":
            payload.get("order", payload)["categories"][0]["items"][0]["extras"] = [
                {"name": group, "options": [{"name": name, "quantity": 1, "price": 100}]}
                for group, name in sold
            ]
        case "hubrise":
            payload["items"][0]["options"] = [
                {"option_list_name": group, "name": name, "price": "1.00 EUR"}
                for group, name in sold
            ]
        case "toast":
            payload["details"]["order"]["checks"][0]["selections"][0]["modifiers"] = [
                {"optionGroup": {"name": group}, "displayName": name, "quantity": 1, "price": 1}
                for group, name in sold
            ]

    order = mapped(platform, payload)

    assert isinstance(order, NewOrder)
    names = [each.name for each in order.items[0].modifiers]
    assert names == ["Left half: Ham", "Right half: ham", "Tomato", "Tomato", *["(no name)"] * 3]


def test_long_name_of_a_group_becomes_an_instruction() -> None:
    payload, long = load("hubrise/simple.json"), "Left half " * 11
    payload["items"][0]["options"] = [
        {"option_list_name": group, "name": "Smoked ham", "price": "1.00 EUR"}
        for group in (long, "Right")
    ]

    order = mapped("hubrise", payload)

    assert isinstance(order, NewOrder)
    left, right = order.items[0].modifiers
    assert [left.name, right.name] == ["Smoked ham", "Right: Smoked ham"]
    assert [(each.name, each.kind) for each in left.modifiers] == [(long.strip(), "instruction")]


def weighed(platform: str, code: str, share: str, total: str | None) -> Any:  # noqa: ANN401 - JSON
    """Return a payload with an item of 999 per unit, two extras of 0.5 or 1, and one of 125."""
    payload, small = load(f"{platform}/simple.json"), "1" if code == "JPY" else "0.5"
    prices = [Decimal(each) for each in ("999", small, small, "125")]
    amount = None if total is None else Decimal(total)
    match platform:
        case "hubrise":
            item, *options = ({"price": f"{each} {code}", "quantity": 1} for each in prices)
            item |= {"product_name": "Roast", "quantity": share}
            item["options"] = [each | {"name": "Extra"} for each in options]
            item["subtotal"] = None if total is None else f"{total} {code}"
            payload |= {"items": [item], "total": None}
        case "open_delivery":
            money = [{"value": each, "currency": code} for each in prices]
            options = [{"name": "E", "quantity": 1, "unitPrice": each} for each in money[1:]]
            payload["items"] = [
                {"name": "Roast", "quantity": share, "unit": "KG", "unitPrice": money[0]}
                | {"options": options, "totalPrice": total and {"value": amount, "currency": code}}
            ]
            payload |= {"payments": None, "otherFees": None, "discounts": None}
        case "toast":
            payload["details"]["order"]["checks"][0]["selections"] = [
                {"displayName": "Roast", "quantity": share, "receiptLinePrice": prices[0]}
                | {"preDiscountPrice": amount, "modifiers": []}
                | {"modifiers": [{"displayName": "E", "price": each} for each in prices[1:]]}
            ]
    return payload


@pytest.mark.parametrize("platform", ["hubrise", "open_delivery", "toast"])
@pytest.mark.parametrize(
    ("code", "share", "total"),
    [
        ("EUR", "0.35", "393.75"),
        ("EUR", "1.5", "1687.51"),  # as the platform has rounded it
        ("EUR", "0.001", "1.13"),
        ("JPY", "0.350", "394"),
        ("JPY", "0.001", "1"),
        ("KWD", "0.350", "393.750"),
        ("KWD", "0.333", "374.625"),
        ("KWD", "0.001", "1.125"),
    ],
)
def test_price_by_weight_is_that_of_the_platform_to_the_minor_unit(
    platform: str, code: str, share: str, total: str
) -> None:
    order = meaning_of(platform, weighed(platform, code, share, total), Currency(code))

    assert isinstance(order, NewOrder)
    assert order.items_total == Decimal(total)
    assert order.items[0].quantity == 1


@pytest.mark.parametrize("platform", ["hubrise", "open_delivery"])
@pytest.mark.parametrize(
    ("code", "share", "total"),
    [("EUR", "0.333", "374.63"), ("JPY", "0.333", "375"), ("KWD", "1.5", "1687.5")],
)
def test_price_by_weight_without_a_total_is_rounded_once(
    platform: str, code: str, share: str, total: str
) -> None:
    order = meaning_of(platform, weighed(platform, code, share, None), Currency(code))

    assert isinstance(order, NewOrder)
    assert order.items_total == Decimal(total)


def test_portions_of_toast_without_a_total_cost_their_share() -> None:
    payload = weighed("toast", "EUR", "1.5", None)

    order = meaning_of("toast", payload, Currency("EUR"))

    assert isinstance(order, NewOrder)
    assert (order.items[0].name, order.items[0].price) == ("Roast (1.5)", Decimal("1498.5"))


def test_long_remark_on_a_modifier_becomes_several_instructions() -> None:
    payload = load("deliverect/simple.json")
    remark = " ".join(f"word{number}" for number in range(60))
    payload["items"][0]["subItems"] = [{"name": "Bread", "quantity": 1, "remark": remark}]

    order = mapped("deliverect", payload)

    assert isinstance(order, NewOrder)
    parts = [each.name for each in order.items[0].modifiers[0].modifiers]
    assert len(parts) > 1
    assert " ".join(parts) == remark
