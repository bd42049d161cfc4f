"""An order is compared with the menu: what is sold out, what must be chosen, and what it costs."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from restaurant_system.models.access import UNGUARDED, Caller, Capability, Role
from restaurant_system.models.menu_check import (
    CheckedOrder,
    MenuRules,
    allot,
    check,
    rules_for,
)
from restaurant_system.models.menu_offer import Catalogue, Limit, Offer
from restaurant_system.models.order import NewOrder
from restaurant_system.services.order.menu_file import read_menu
from restaurant_system.web.json_body import parse_json
from tests.support.orders import make_item, make_order_body

MENU = """
modifier_groups:
  - name: Crust
    min: 1
    max: 1
    options: [{name: Thin, kind: choice, default: true}, {name: Filled, price: 2, kind: choice}]
  - name: Extras
    max: 2
    options: [{name: Olives, price: 1.20}, {name: Egg, price: 1.50}, {name: Ham, available: false}]
  - name: Sauce
    min: 1
    max: 1
    options: [{name: Pesto, price: 1, default: true}, {name: Ragù, price: 2}]
sections:
  - name: Pizza
    items:
      - name: Margherita
        sku: MAR
        price: 9.50
        variations: [{name: Large, sku: MAR-L, price: 12.50}, {name: Kids, price: 6}]
        modifier_groups: [Crust, Extras]
      - {name: Bianca, price: 8, available: false}
      - {name: Calzone, sku: CAL, variations: [{name: Half, price: 7}, {name: Whole, price: 12}]}
      - {name: Marinara, price: 8}
      - {name: Lasagne, sku: LAS, price: 11, modifier_groups: [Sauce]}
  - name: Cocktails
    hours: [{from: 18:00, to: 02:00}]
    items: [{name: Margherita, price: 8.50}, {name: Spritz, price: 7}, {name: Marinara, price: 8}]
"""
AMBIGUOUS = (
    "is the name of several items with different prices;"
    " send the sku, or one of 'MAR', 'Cocktails / Margherita'"
)
# A Monday; in Rome 12:00.
NOON = datetime(2024, 12, 16, 11, tzinfo=UTC)
SEVEN_PM = NOON + timedelta(hours=8)


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    """Return the products of the menu."""
    path: Path = tmp_path_factory.mktemp("menu") / "menu.yaml"
    path.write_text(MENU)
    return Catalogue(read_menu(path))


def compared(
    catalogue: Catalogue,
    *items: dict[str, Any],
    rules: MenuRules = MenuRules.PRICES,
    at: datetime = NOON,
    limits: dict[str, Limit] | None = None,
    **fields: object,
) -> CheckedOrder:
    """Compare an order of these items with the menu."""
    offer = Offer(catalogue, limits or {}, ZoneInfo("Europe/Rome"))
    body = make_order_body(items=[make_item(**item) for item in items], **fields)
    order = parse_json(body, NewOrder)
    return check(offer, order, at, rules)


def faults(*arguments: Any, **options: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - of `compared`
    """Return what is wrong with an order."""
    return [(each.field, each.message) for each in compared(*arguments, **options).faults]


CRUST = [{"name": "Thin", "kind": "choice", "price": 0}]


def test_order_that_agrees_with_the_menu_has_no_fault(catalogue: Catalogue) -> None:
    filled = {"name": "filled", "kind": "choice", "price": 2}
    extras = [{"name": "Olives", "price": 1.20, "quantity": 2}, {"name": "Well done", "price": 0}]

    assert not faults(
        catalogue,
        {"sku": "MAR", "price": 9.50},  # with the default crust
        {"sku": "MAR-L", "price": 12.50, "modifiers": [filled, *extras]},
        {"sku": "CAL", "name": "Calzone (Whole)", "price": 12},
        # Without a sku the order states the prices.
        {"name": "Marinara", "price": 0.01, "modifiers": [{"name": "Staff", "price": -0.01}]},
        {"name": "Something typed", "sku": "of a platform", "price": 3},
    )


@pytest.mark.parametrize(
    ("item", "fault"),
    [
        (
            {"name": "Bianca"},
            ("items.0", "is not available; the menu has it as unavailable (Bianca)"),
        ),
        (
            {"name": "bianca"},
            ("items.0", "is not available; the menu has it as unavailable (Bianca)"),
        ),
        ({"name": "Spritz"}, ("items.0", "is served only from 18:00 to 02:00 (Spritz)")),
        (
            {"sku": "MAR", "price": 0.01},
            ("items.0.price", "must be 9.50, the menu's price of 'Margherita'"),
        ),
        (
            {"sku": "MAR-L", "price": 9.50},
            ("items.0.price", "must be 12.50, the menu's price of 'Margherita (Large)'"),
        ),
        (
            {"sku": "MAR", "price": 9.50, "modifiers": [{"name": "Egg", "price": 0}]},
            ("items.0.modifiers.0.price", "must be 1.50, the menu's price of 'Egg'"),
        ),
        (
            {"sku": "MAR", "price": 9.50, "modifiers": [{"name": "Staff meal", "price": -9}]},
            ("items.0.modifiers.0.price", "must not be negative; the menu has no such option"),
        ),
        (
            {"sku": "MAR", "price": 9.50, "modifiers": [{"name": "Ham", "price": 0}]},
            ("items.0.modifiers.0", "is not available; the menu has it as unavailable (Ham)"),
        ),
        (
            {"sku": "MAR", "price": 9.50, "modifiers": [{"name": "egg", "kind": "instruction"}]},
            ("items.0.modifiers.0.price", "must be 1.50, the menu's price of 'Egg'"),
        ),
        (
            {"name": "Marinara", "modifiers": [{"name": "Bianca", "kind": "choice"}]},
            (
                "items.0.modifiers.0",
                "is not available; the menu has it as unavailable (Bianca)",
            ),
        ),
        (
            {"name": "Margherita", "price": 9.50},
            (
                "items.0.name",
                AMBIGUOUS,
            ),
        ),
        (
            {"sku": "CAL", "price": 7},
            ("items.0.sku", "must be that of a variation: 'Calzone (Half)', 'Calzone (Whole)'"),
        ),
        (
            {
                "sku": "MAR",
                "price": 9.50,
                "modifiers": [{"name": "Olives", "price": 1.20, "quantity": 3}],
            },
            ("items.0.modifiers", "must have at most 2 of 'Extras', not 3"),
        ),
        (  # its default is not free, so it must be sent
            {"sku": "LAS", "price": 11},
            ("items.0.modifiers", "must have at least 1 of 'Sauce': 'Pesto', 'Ragù'"),
        ),
    ],
)
def test_order_that_disagrees_with_the_menu_has_one_fault(
    catalogue: Catalogue, item: dict[str, Any], fault: tuple[str, str]
) -> None:
    assert faults(catalogue, item) == [fault]


def test_rules_of_a_caller_decide_what_is_a_fault(catalogue: Catalogue) -> None:
    """Staff may set prices; a platform's order is refused only for what is sold out."""
    items = [
        {"sku": "MAR", "price": 1},
        {"sku": "LAS", "price": 1},
        {"name": "Margherita", "price": 1},
        {"name": "Bianca", "price": 1},
    ]

    found = {
        rule.name: [field for field, _ in faults(catalogue, *items, rules=rule)]
        for rule in MenuRules
    }

    with_names = ["items.0.price", "items.1.name", "items.1.modifiers", "items.1.price"]
    with_names += ["items.2.name", "items.3"]
    assert found == {
        "AVAILABILITY": ["items.3"],
        "CHOICES": ["items.1.modifiers", "items.2.name", "items.3"],
        "PRICES": [
            "items.0.price",
            "items.1.modifiers",
            "items.1.price",
            "items.2.name",
            "items.3",
        ],
        "NAMES": with_names,
        "PUBLIC": with_names,
    }


NOT_AN_OPTION = "is not an option of the item; send a request with the kind instruction"


@pytest.mark.parametrize(
    ("item", "fault"),
    [
        (
            {"sku": "MAR", "name": "Lasagne", "price": 9.50},
            ("items.0.name", "must be 'Margherita', the menu's name of the sku"),
        ),
        (
            {"sku": "mar", "name": "Margherita", "price": 0.01},
            ("items.0.price", "must be 9.50, the menu's price of 'Margherita'"),
        ),
        (
            {"name": "LASAGNE", "price": 0.01, "modifiers": [{"name": "Pesto", "price": 1}]},
            ("items.0.price", "must be 11.00, the menu's price of 'Lasagne'"),
        ),
        (
            {"name": "Marinara", "price": 0.01},
            ("items.0.price", "must be 8.00, the menu's price of 'Pizza / Marinara'"),
        ),
        (
            {"name": "Lobster", "price": 0.01},
            (
                "items.0.name",
                "is not on the menu; send the order_name or the sku of an item of GET /menu",
            ),
        ),
        (
            {"name": "Lasagne", "sku": "mine", "price": 11},
            ("items.0.sku", "must be that of the menu: 'LAS'"),
        ),
        (
            {"name": "Calzone", "price": 7},
            ("items.0.name", "must be that of a variation: 'Calzone (Half)', 'Calzone (Whole)'"),
        ),
        (
            {"name": "Marinara", "price": 8, "modifiers": [{"name": "Off", "price": -7}]},
            ("items.0.modifiers.0.name", NOT_AN_OPTION),
        ),
        (
            {"name": "Marinara", "price": 8, "modifiers": [{"name": "Egg", "price": 0}]},
            ("items.0.modifiers.0.name", NOT_AN_OPTION),
        ),
        (
            {
                "name": "Marinara",
                "price": 8,
                "modifiers": [{"name": "Off", "kind": "instruction", "price": -7}],
            },
            ("items.0.modifiers.0.price", "must not be negative; the menu has no such option"),
        ),
    ],
)
def test_anonymous_caller_orders_what_the_menu_has_at_its_prices(
    catalogue: Catalogue, item: dict[str, Any], fault: tuple[str, str]
) -> None:
    assert faults(catalogue, item, rules=MenuRules.PUBLIC, at=SEVEN_PM) == [fault]


def test_anonymous_caller_lowers_nothing_that_is_to_be_paid(catalogue: Catalogue) -> None:
    """A program with an API key may give discounts."""
    kids = {"sku": "MAR", "name": "Margherita (Kids)", "price": 6, "modifiers": CRUST}
    request = {"name": "Well done", "kind": "instruction"}
    charges = [{"name": "Tip", "amount": 2}, {"name": "Promo", "amount": -5}]
    items = [kids, {"name": "pizza /  marinara", "price": 8, "modifiers": [request]}]

    def found(rules: MenuRules, **fields: object) -> list[tuple[str, str]]:
        return faults(catalogue, *items, rules=rules, **fields)

    assert found(MenuRules.PUBLIC, charges=charges, amount_due=10.99) == [
        ("charges.1.amount", "must not be negative; a discount needs an API key"),
        ("amount_due", "must not be below the total; leave it out, or use an API key"),
    ]
    assert not found(MenuRules.PUBLIC, charges=charges[:1], amount_due=16)
    assert not found(MenuRules.NAMES, charges=charges, amount_due=0)


@pytest.mark.parametrize(
    "spelling",
    [
        "panna  COTTA è",
        "Panna\u00a0cotta\u2003è",
        "Panna cotta e\u0300",
        "Panna cotta \u00c8",
        "Pan\u200dna cotta è\ufe0f",
        "\uff30anna cotta è",
    ],
)
def test_spelling_does_not_evade_what_is_sold_out(tmp_path: Path, spelling: str) -> None:
    path = tmp_path / "menu.yaml"
    path.write_text(
        "modifier_groups: [{name: More, options: [{name: Panna cotta è}]}]\n"
        "sections: [{name: Dolci, items: ["
        "{name: Panna cotta è, price: 6, variations: [{name: Panna cotta è, price: 7}]},"
        "{name: Other, sku: Panna cotta è, price: 6, modifier_groups: [More]}]}]"
    )
    catalogue = Catalogue(read_menu(path))
    keys = ("name:Dolci / Panna cotta è", "sku:Panna cotta è", "option:Panna cotta è")

    found = faults(
        catalogue,
        {"name": spelling},
        {"name": f"{spelling} ({spelling})"},
        {"name": "Different", "sku": spelling},
        {"name": "Other", "modifiers": [{"name": spelling, "price": 0}]},
        limits={key: Limit(0) for key in keys},
        rules=MenuRules.AVAILABILITY,
    )

    assert [field.split(".")[1] for field, _ in found] == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("key", "refused"),
    [
        ("sku:MAR", {0, 1, 2, 8, 9, 10}),
        ("sku:MAR-L", {1, 8}),
        ("name:Pizza / Margherita (Kids)", {2}),
        ("option:Olives", {3, 4, 9}),
        ("name:Pizza / Marinara", set()),  # the one of the cocktails is left
        ("name:Cocktails / Margherita", {6}),
    ],
)
def test_what_is_sold_out_is_refused_by_sku_and_by_name(
    catalogue: Catalogue, key: str, refused: set[int]
) -> None:
    """For everybody, and until the time that was set."""
    until = SEVEN_PM + timedelta(hours=1)
    olives = [{"name": "Olives", "price": 1.20}]
    large = {"name": "Margherita (Large)", "kind": "choice", "quantity": 2}
    items: list[dict[str, Any]] = [
        {"sku": "MAR", "price": 9.50},
        {"sku": "MAR-L", "price": 12.50},
        {"name": "Margherita (Kids)", "price": 6},
        {"name": "Lasagne", "price": 11, "modifiers": olives},
        {"name": "Lasagne", "price": 11, "modifiers": [{"name": "Pita", "modifiers": olives}]},
        {"name": "Lasagne", "modifiers": [{"name": "Olives", "kind": "remove"}]},
        {"name": "Cocktails / Margherita", "price": 8.50},
        {"name": "Marinara", "price": 8},
        {"name": "Family box of a platform", "modifiers": [large]},
        {"sku": "MAR", "price": 9.50, "modifiers": [{"name": "Olives", "kind": "instruction"}]},
        {"sku": "MAR", "price": 9.50, "modifiers": [{"name": "Olives", "kind": "remove"}]},
    ]
    limits = {key: Limit(0, until)}

    found = faults(catalogue, *items, limits=limits, at=SEVEN_PM, rules=MenuRules.AVAILABILITY)

    assert {int(field.split(".")[1]) for field, _ in found} == refused
    assert all("is sold out until 2024-12-16T20:00:00" in message for _, message in found)
    assert not faults(catalogue, *items, limits=limits, at=until, rules=MenuRules.AVAILABILITY)


def test_order_for_later_is_compared_with_what_is_offered_then(catalogue: Catalogue) -> None:
    later = datetime.now(UTC).replace(hour=20, minute=0, second=0) + timedelta(days=2)
    spritz = {"name": "Spritz", "price": 7}
    limits = {"name:Cocktails / Spritz": Limit(0, later - timedelta(hours=1))}

    assert not faults(catalogue, spritz, limits=limits, ready_at=later.isoformat())
    assert faults(catalogue, spritz, ready_at=(later - timedelta(hours=6)).isoformat())


def test_order_whose_time_has_passed_is_compared_with_what_is_offered_now(
    catalogue: Catalogue,
) -> None:
    now = datetime.now(UTC)
    eight_pm = now.replace(hour=20, minute=0, second=0, microsecond=0)
    eight_pm -= timedelta(days=eight_pm > now)  # an order may be from the last 24 hours
    spritz = {"name": "Spritz", "price": 7}
    past = {"ready_at": eight_pm.isoformat()}
    limits = {"name:Cocktails / Spritz": Limit(0, eight_pm + timedelta(hours=1))}

    assert faults(catalogue, spritz, at=eight_pm + timedelta(hours=16), **past)
    assert not faults(catalogue, spritz, at=eight_pm + timedelta(hours=2), limits=limits, **past)


def test_portions_of_items_and_options_are_counted_with_their_quantities(
    catalogue: Catalogue,
) -> None:
    limits = {"sku:MAR": Limit(5), "sku:MAR-L": Limit(2), "option:Egg": Limit(4)}
    egg = {"name": "Egg", "price": 1.50, "quantity": 2}

    found = compared(
        catalogue,
        {"sku": "MAR-L", "price": 12.50, "quantity": 2, "modifiers": [egg]},
        {"sku": "MAR", "price": 9.50, "quantity": 3},
        {"name": "Marinara", "quantity": 9},
        limits=limits,
    )

    assert found.faults == []
    taken = {"sku:MAR-L": 2, "sku:MAR": 2 + 3, "option:Egg": 4}
    assert allot(found.portions, limits, NOON) == (taken, [])
    less = limits | {"sku:MAR": Limit(4), "option:Egg": Limit(0)}
    assert [(each.field, each.message) for each in allot(found.portions, less, NOON).faults] == [
        ("items.0.modifiers.0", "is sold out (Egg)"),
        ("items.1", "is more than what is left: 4 (Margherita)"),
    ]


@pytest.mark.parametrize("rules", [MenuRules.AVAILABILITY, MenuRules.PUBLIC])
def test_name_that_sections_share_is_sold_by_the_section_that_has_enough(
    catalogue: Catalogue, rules: MenuRules
) -> None:
    """The counts of the moment of the sale decide, not those of the comparison before it."""
    first, second = keys = ("name:Pizza / Marinara", "name:Cocktails / Marinara")
    marinara = {"name": "Marinara", "price": 8, "quantity": 2}
    found = compared(
        catalogue, marinara, marinara, limits={first: Limit(4)}, rules=rules, at=SEVEN_PM
    )
    assert found.faults == []

    def sold(*left: int) -> tuple[dict[str, int], int]:
        limits = {key: Limit(count) for key, count in zip(keys, left, strict=False)}
        taken, faults = allot(found.portions, limits, SEVEN_PM)
        return dict(taken), len(faults)

    assert sold(4) == ({first: 4}, 0)
    assert sold(1) == ({}, 0)  # as many of the second as are ordered
    assert sold(3, 2) == ({first: 2, second: 2}, 0)
    assert sold(0, 9) == ({second: 4}, 0)
    assert sold(3, 1)[1] == 1


@pytest.mark.parametrize(
    ("key", "is_sold_out"),
    [
        ("name:Pizza / Margherita", True),  # set before it had a sku
        ("sku:MAR", True),
        ("name:Margherita", False),
        ("name:Cocktails / Margherita", False),
    ],
)
def test_sku_and_names_of_other_sections_do_not_lift_what_is_sold_out(
    catalogue: Catalogue, key: str, *, is_sold_out: bool
) -> None:
    found = faults(catalogue, {"sku": "MAR", "price": 9.50}, limits={key: Limit(0)})

    assert bool(found) == is_sold_out


def test_only_staff_and_platforms_may_send_other_prices() -> None:
    """Without access control no caller is known to be staff."""
    may_order = Caller("shop", None, frozenset({Capability.PLACE_ORDERS}))
    may_move = Caller("till", None, may_order.capabilities | {Capability.MOVE_ORDERS})
    anonymous = Caller(None, None, may_order.capabilities)

    assert {each.name: rules_for(each) for each in (may_order, may_move)} == {
        "shop": MenuRules.NAMES,
        "till": MenuRules.CHOICES,
    }
    assert rules_for(Caller.person("Ada", Role.STAFF, device="Counter")) is MenuRules.CHOICES
    assert rules_for(anonymous) is MenuRules.PUBLIC
    assert rules_for(UNGUARDED) is MenuRules.PRICES
    assert rules_for(None) is MenuRules.AVAILABILITY
