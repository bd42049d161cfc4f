"""Orders of platforms that fit our limits only after a change, of which nothing is lost."""

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from restaurant_system.integrations.long_text import split
from restaurant_system.integrations.payload import NUMBER, Node
from restaurant_system.integrations.platform import OrderInvalid
from restaurant_system.models.fields import ItemName
from restaurant_system.models.order import NewOrder
from restaurant_system.models.order_items import Modifier
from tests.support.payloads import PLATFORMS
from tests.unit.test_integrations import faults_of, load, mapped, places_in

WORDS = " ".join(f"word{number}" for number in range(1000))
ITEM = "cart.items.0"
OPTION = {"title": "Cheese", "price": {"unit_price": {"amount": 100, "currency_code": "USD"}}}


def words(length: int) -> str:
    """Return a text of so many characters, the last of which is visible."""
    return WORDS[: length - 1] + "x"


def changed(platform: str, changes: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
    """Return a simple payload with other values at some paths."""
    payload = load(f"{platform}/simple.json")
    for path, value in changes.items():
        *owners, name = path.split(".")
        target = payload
        for part in owners:
            target = target[int(part)] if part.isdecimal() else target.setdefault(part, {})
        target[name] = value
    return payload


def placed(platform: str, changes: dict[str, Any]) -> NewOrder:
    """Return the order of a simple payload with other values at some paths."""
    order = mapped(platform, changed(platform, changes))
    assert isinstance(order, NewOrder)
    return order


def instructions(modifiers: tuple[Modifier, ...]) -> Iterator[str]:
    """Return the instructions among modifiers of all levels, in sequence."""
    for each in modifiers:
        if each.kind == "instruction":
            yield each.name
        yield from instructions(each.modifiers)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_invisible_characters_in_any_text_change_nothing(platform: str) -> None:
    payload, before = (load(f"{platform}/full.json") for _ in "12")
    hidden = "\x07\u200b\u200e\u202e\u00ad\u2060\ufeff\u3164"
    count = 0
    for owner, key in places_in(payload):
        text = owner[key]
        if isinstance(text, str) and not NUMBER.fullmatch(text):
            owner[key] = f"{hidden}{text[:1]}{hidden}{text[1:]}{hidden}"
            count += 1

    assert count > 20
    assert mapped(platform, payload) == mapped(platform, before)


# Values that a program reads, of which there are only some; all other texts are for people.
CODES = frozenset(
    {
        *("amount", "behavior", "currency", "currency_code", "delta", "eventType"),
        *("fulfillment_type", "price", "price_off", "quantity", "resource_type", "service_type"),
        *("subtotal", "total", "type", "unit"),
        *("estimated_pickup_time", "estimated_ready_for_pickup_at", "expected_time"),
        *("indoorDateTime", "pickupTime", "promisedDate", "scheduledDateTimeStart"),
    }
)
IDS = frozenset({"_id", "guid", "id"})
SPOILT = (
    "\x07\u202e😀\u200d te\u200bxt{} \u2066❤\ufe0f👩\u200d👧 \U0001f3f4\U000e0067 e" + "\u0301" * 9
)
LONG = f"lo\u202eng {WORDS[:2000]}"


def texts_in(payload: Any) -> list[tuple[Any, Any]]:  # noqa: ANN401 - JSON
    """Return every place of a text in a payload."""
    return [
        (owner, key)
        for owner, key in places_in(payload)
        if isinstance(owner[key], str) and key not in CODES | IDS
    ]


def words_of(order: object) -> set[str]:
    """Return all words that an order contains."""
    assert isinstance(order, NewOrder)
    texts = re.sub(r"\\[a-z]", " ", str(order.model_dump()))  # escaped line breaks
    return set(re.findall(r"\w+", texts.lower()))


@pytest.mark.parametrize("platform", PLATFORMS)
def test_order_with_spoilt_texts_only_loses_no_word(platform: str) -> None:
    payload = load(f"{platform}/full.json")
    before, after = set[str](), set[str]()
    for found, pattern in ((before, "text{}"), (after, SPOILT)):
        for number, (owner, key) in enumerate(texts_in(payload)):
            owner[key] = pattern.format(number)
        found |= {each for each in words_of(mapped(platform, payload)) if each.startswith("text")}

    assert len(before) > 10
    assert after == before


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("text", ["", "\u200b\u2800\u200e \u3164\n"])
def test_order_is_accepted_whichever_of_its_texts_is_empty(platform: str, text: str) -> None:
    payload = load(f"{platform}/full.json")

    for owner, key in texts_in(payload):
        sent, owner[key] = owner[key], text
        assert isinstance(mapped(platform, payload), NewOrder)
        owner[key] = sent


@pytest.mark.parametrize("platform", PLATFORMS)
def test_order_is_accepted_whichever_of_its_texts_is_long(platform: str) -> None:
    payload = load(f"{platform}/full.json")
    words, count = set(LONG.replace("\u202e", "").split()), 0

    for owner, key in texts_in(payload):
        sent, owner[key] = owner[key], "long"
        is_read = "long" in words_of(mapped(platform, payload))
        owner[key] = LONG
        found = words_of(mapped(platform, payload))
        assert words <= found if is_read else not words & found, key
        owner[key] = sent
        count += is_read

    assert count > 10


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("Bob 😀", "Bob"),
        ("Ann_Lee", "Ann Lee"),
        ("“Bob”", "Bob"),
        ("\u200eAnn", "Ann"),
        ("Ann\u200b", "Ann"),
        ("Ann\tLee", "Ann Lee"),
        ("❤\ufe0f Zoë 👩\u200d👧 (1) ❤\ufe0f\u0301", "Zoë (1)"),
        ("A\u200c\u200cB \u200c", "AB"),
        ("क्\u200dष", "क्\u200dष"),
        ("e" + "\u0301" * 9, "e" + "\u0301" * 6),
        ("😀", None),
        ("\u200b", None),
    ],
)
def test_customer_name_keeps_what_names_may_contain(sent: str, name: str | None) -> None:
    order = placed("uber_eats", {"eater.first_name": sent, "eater.last_name": None})

    assert order.customer_name == name
    assert order.reference == "484B1"


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters() | st.sampled_from("aक\u0301\u094d\u200c\u200d 😀"), max_size=80))
@example("e\u0301\u200d" + "a\u200d" * 40)
@example("\u2800" * 30 + "a")
def test_every_part_of_a_split_text_is_a_valid_name(text: str) -> None:
    line = Node(text).line().value or ""

    parts = split(line, 9, 7)

    for part in parts:
        TypeAdapter(ItemName).validate_python(part)
    assert all(len(part) <= limit for part, limit in zip(parts, [9, *[7] * 80], strict=False))
    letters = ["".join(filter(str.isalnum, each)) for each in ("".join(parts), line)]
    assert letters[0] == letters[1]


def test_order_without_name_and_number_is_referred_to_by_its_id() -> None:
    order = placed("uber_eats", {"eater": {"first_name": "😀"}, "display_id": None})

    assert (order.customer_name, order.reference) == (None, order.external_id)


def test_customer_name_whose_only_letter_is_far_behind_is_in_the_notes() -> None:
    order = placed("uber_eats", {"eater": {"first_name": "(" * 120 + "Zoë"}})

    assert (order.customer_name, order.reference) == (None, "484B1")
    assert order.notes == f"Customer: {'(' * 120}Zoë"


@pytest.mark.parametrize(("sku", "name"), [("BURGER-1", "BURGER-1"), (None, "(no name)")])
def test_item_without_a_name_is_called_by_its_id(sku: str | None, name: str) -> None:
    changes: dict[str, Any] = {"items.0.name": "\u200b", "items.0.plu": sku}
    changes |= {"items.0.quantity": Decimal("0.5"), "items.0.subItems": [{"name": ""}]}

    item = placed("deliverect", changes).items[0]

    assert (item.name, item.sku) == (f"{name} (0.5)", sku)
    assert [(each.name, each.quantity) for each in item.modifiers] == [("(no name)", 1)]


@pytest.mark.parametrize(
    ("platform", "changes"),
    [
        ("uber_eats", {"eater.delivery": {"location": 7, "notes": 7}, "packaging": " "}),
        ("doordash", {"delivery_address": 7, "tax": "", "categories.0.items.0.extras": ""}),
        ("deliverect", {"deliveryAddress": "", "payment": "", "orderIsAlreadyPaid": ""}),
        ("toast", {"details.order.deliveryInfo": "", "details.order.table": "\u200b"}),
    ],
)
def test_empty_text_is_no_object_number_or_flag(platform: str, changes: dict[str, Any]) -> None:
    """Nor is an address read to which the restaurant does not deliver."""
    before = placed(platform, {})

    order = placed(platform, changes)

    assert order.items == before.items


def test_eaters_with_one_first_name_have_two_names() -> None:
    names = [("Sam", "A"), ("Sam", "B"), ("Ann", None), ("ann", None)]
    eaters = [
        {"id": f"e{number}", "first_name": first, "last_name": last}
        for number, (first, last) in enumerate(names)
    ]
    (item,) = load("uber_eats/simple.json")["cart"]["items"]
    items = [item | {"eater_id": each["id"]} for each in eaters]

    order = placed("uber_eats", {"eaters": eaters, "cart.items": items})

    assert [each.guest for each in order.items] == ["Sam A", "Sam B", "Ann", "ann (2)"]


def test_access_code_without_a_phone_number_is_kept() -> None:
    order = placed("uber_eats", {"eater.phone": None, "eater.phone_code": "555 55"})

    assert order.phone == "PIN 555 55"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (9_007_199_254_740_993_000, "9007199254740993000"),
        (Decimal("15550100199000.0"), "15550100199000"),
        (Decimal("1.0"), "1"),
        (Decimal("1E+15"), "1000000000000000"),
        (Decimal("50.50"), "50.50"),
    ],
)
def test_number_in_place_of_a_text_is_kept_in_digits(number: object, text: str) -> None:
    changes = {"id": number, "eater.phone": number, "cart.special_instructions": number}

    order = placed("uber_eats", changes)

    assert (order.external_id, order.phone, order.notes) == (text, text, text)


def test_unicode_forms_of_an_id_are_two_ids() -> None:
    ids = {placed("uber_eats", {"id": each}).external_id for each in ("\u00e9", "e\u0301")}

    assert len(ids) == 2


@pytest.mark.parametrize(
    ("field", "sent", "value"),
    [
        ("notes", "no\u200e nuts", "no nuts"),
        ("name", "Pi\u00adzza\u200b", "Pizza"),
        ("name", "Pi\u2028zza\v1", "Pi zza 1"),
        ("notes", "one\u2028two", "one\ntwo"),
    ],
)
def test_text_of_an_item_is_stored_without_invisible_characters(
    field: str, sent: str, value: str
) -> None:
    names = {"notes": "special_instructions", "name": "title"}

    (item,) = placed("uber_eats", {f"{ITEM}.{names[field]}": sent}).items

    assert (getattr(item, field), item.modifiers) == (value, ())


@pytest.mark.parametrize(
    ("field", "path", "text", "separator"),
    [
        ("name", "title", words(130), " "),
        ("name", "title", "長" * 130, ""),
        ("notes", "special_instructions", words(600), " "),
    ],
)
def test_long_text_of_an_item_continues_as_instructions(
    field: str, path: str, text: str, separator: str
) -> None:
    (item,) = placed("uber_eats", {f"{ITEM}.{path}": text}).items

    parts = list(instructions(item.modifiers))
    assert parts
    assert all(len(each) <= 120 for each in parts)
    assert separator.join([getattr(item, field), *parts]) == text


def test_long_diner_and_sku_are_kept_as_instructions() -> None:
    diner, sku = words(60), "s" * 65
    item = "categories.0.items.0"

    changes = {f"{item}.consumer_name": diner, f"{item}.merchant_supplied_id": sku}
    first = placed("doordash", changes).items[0]

    assert first.sku is None
    assert first.guest is not None
    assert diner.startswith(first.guest)
    assert list(instructions(first.modifiers)) == [f"For: {diner}", f"SKU: {sku}"]


def test_long_name_of_an_option_on_the_last_level_continues_after_it() -> None:
    option: dict[str, Any] = OPTION | {"title": words(300)}
    for _ in range(3):
        option = OPTION | {"selected_modifier_groups": [{"selected_items": [option]}]}

    order = placed(
        "uber_eats", {f"{ITEM}.selected_modifier_groups": [{"selected_items": [option]}]}
    )

    inner = order.items[0].modifiers
    while inner[0].modifiers:
        inner = inner[0].modifiers
    assert " ".join(each.name for each in inner) == words(300)
    assert [each.kind for each in inner] == ["choice", "instruction", "instruction"]


@pytest.mark.parametrize(
    ("platform", "changes", "fields", "notes"),
    [
        ("uber_eats", {"cart.special_instructions": words(500)}, {}, words(500)),
        ("uber_eats", {"eater.phone": "1" * 41}, {"phone": None}, f"Phone: {'1' * 41}"),
        ("uber_eats", {"display_id": "7" * 65}, {"reference": "7" * 64}, f"Reference: {'7' * 65}"),
        (
            "uber_eats",
            {"eater": {"first_name": "n" * 101}},
            {"customer_name": "n" * 100},
            f"Customer: {'n' * 101}",
        ),
        (
            "uber_eats",
            {f"{ITEM}.special_requests.allergy.allergy_instructions": "a" * 210},
            {"allergy_note": "More in the notes: " + "a" * 181},
            f"Allergies: {'a' * 210}",
        ),
        (
            "deliverect",
            {"orderType": 3, "table": "T" * 21},
            {"table": "T" * 20},
            f"Table: {'T' * 21}",
        ),
        (
            "deliverect",
            {"orderType": 1, "table": "12"},
            {"table": None, "table_number": None},
            "Table: 12",
        ),
        (
            "deliverect",
            {"orderType": 1, "table": None, "deliveryAddress": {"street": "1"}},
            {"delivery_address": None},
            None,
        ),
        (
            "deliverect",
            {"orderType": 2, "table": None, "courier": "restaurant"}
            | {"deliveryAddress": {"street": "B1"}},
            {"delivery_address": "Address: B1"},
            None,
        ),
        (
            "deliverect",
            {"orderType": 2, "table": None, "courier": "restaurant"}
            | {"deliveryAddress": {"street": "B" * 301}},
            {"delivery_address": "B" * 300},
            f"Address: {'B' * 301}",
        ),
        (
            "deliverect",
            {"discounts": [{"name": "d" * 121, "amount": 100}]},
            {},
            f"Charge: {'d' * 121}",
        ),
        (
            "deliverect",
            {"payment": {"due": -1}, "orderIsAlreadyPaid": False},
            {"amount_due": None},
            None,
        ),
    ],
)
def test_text_that_does_not_fit_its_field_is_in_the_notes(
    platform: str, changes: dict[str, Any], fields: dict[str, object], notes: str | None
) -> None:
    order = placed(platform, changes)

    assert {name: getattr(order, name) for name in fields} == fields
    assert order.notes == notes


def excluding(*allergens: str, **allergy: object) -> dict[str, Any]:
    """Return the part of an item or option that names allergens, with other fields of theirs."""
    return {
        "special_requests": {
            "allergy": {"allergens_to_exclude": [{"type": each} for each in allergens], **allergy}
        }
    }


def test_allergy_note_has_the_allergens_of_all_items_and_options() -> None:
    """What is written at one item or option is there, too, and nowhere else."""
    title = "Menu Complet Midi: Burger Montagnard, Frites Maison XL"
    price = {"unit_price": {"amount": 100, "currency_code": "USD"}}
    item = {"title": title, "quantity": 1, "price": price} | excluding("GLUTEN", "DAIRY")
    inner = OPTION | {"special_instructions": "Well done"} | excluding("SOY")
    option = OPTION | {"selected_modifier_groups": [{"selected_items": [inner]}]}
    last = item | excluding("PEANUTS", "gluten", allergy_instructions="clean pan")
    option |= excluding(allergy_instructions="gluten")
    last |= {"selected_modifier_groups": [{"selected_items": [option]}]}
    last["special_instructions"] = "Cut in half"

    order = placed("uber_eats", {"cart.items": [*[item] * 9, last]})

    assert order.allergy_note == "GLUTEN, DAIRY, PEANUTS, SOY, clean pan"
    assert order.notes is None
    *others, tenth = order.items
    assert {each.notes for each in others} == {"Allergies: GLUTEN, DAIRY"}
    assert tenth.notes == "Allergies: PEANUTS, gluten, clean pan\nCut in half"
    assert list(instructions(tenth.modifiers)) == [
        "Allergies: SOY",
        "Well done",
        "Allergies: gluten",
    ]


def test_allergy_note_that_is_too_long_has_the_names_of_allergens_and_says_so() -> None:
    long, short = ({"type": "OTHER", "freeform_text": each} for each in (words(300), "kiwi"))
    allergy = {"allergens_to_exclude": [long, short, {"type": "PEANUTS"}, {"type": "SOY"}]}

    order = placed("uber_eats", {f"{ITEM}.special_requests.allergy": allergy})

    assert order.allergy_note is not None
    assert order.allergy_note.startswith("More in the notes: PEANUTS, SOY, kiwi, word0")
    assert order.notes == f"Allergies: PEANUTS, SOY, kiwi, {words(300)}"


def test_long_notes_of_an_order_continue_among_the_modifiers() -> None:
    order = placed("uber_eats", {"cart.special_instructions": words(600)})

    assert order.notes is not None
    rest = [each.removeprefix("Order note: ") for each in instructions(order.items[0].modifiers)]
    assert " ".join([order.notes, *rest]) == words(600)


@pytest.mark.parametrize(
    ("quantity", "amount", "quantities", "name", "total"),
    [
        (2000, 1150, [999, 999, 2], "Margherita", "23000"),
        (Decimal("2.0"), 1150, [2], "Margherita", "23"),
        (Decimal("1.5"), 1150, [1], "Margherita (1.5)", "17.25"),
        (2, -100, [2], "Margherita", "0"),
    ],
)
def test_quantity_or_price_of_an_item_is_stored_without_a_loss(
    quantity: object, amount: int, quantities: list[int], name: str, total: str
) -> None:
    changes = {f"{ITEM}.quantity": quantity, f"{ITEM}.price.unit_price.amount": amount}

    order = placed("uber_eats", changes)

    assert [each.quantity for each in order.items] == quantities
    assert {each.name for each in order.items} == {name}
    assert order.total_amount == Decimal(total)


@pytest.mark.parametrize(
    ("platform", "path"),
    [
        ("doordash", "categories.0.items.0.quantity"),
        ("deliverect", "items.0.quantity"),
        ("hubrise", "items.0.quantity"),
        ("open_delivery", "items.0.quantity"),
        ("toast", "details.order.checks.0.selections.0.quantity"),
    ],
)
def test_fraction_of_an_item_is_accepted_of_every_platform(platform: str, path: str) -> None:
    first = placed(platform, {path: Decimal("0.5")}).items[0]

    assert first.quantity == 1
    assert "0.5" in first.name


SELECTION = "details.order.checks.0.selections.0"


@pytest.mark.parametrize(
    ("platform", "changes", "name"),
    [
        ("hubrise", {"product_name": "", "sku_ref": "RIB", "quantity": "0.350"}, "RIB (0.350)"),
        ("hubrise", {"product_name": None, "sku_name": "Large", "sku_ref": "RIB"}, "RIB (Large)"),
        (
            "toast",
            {"displayName": "", "item": {"guid": "i1"}, "quantity": Decimal("0.35")}
            | {"unitOfMeasure": "LB"},
            "i1 (0.350 lb)",
        ),
        (
            "open_delivery",
            {"name": " ", "externalCode": "E", "unit": "KG", "quantity": Decimal("0.35")},
            "E (0.350 kg)",
        ),
    ],
)
def test_weight_or_size_of_an_item_without_a_name_is_kept(
    platform: str, changes: dict[str, Any], name: str
) -> None:
    item = SELECTION if platform == "toast" else "items.0"
    order = placed(platform, {f"{item}.{field}": value for field, value in changes.items()})

    assert order.items[0].name == name


def test_what_is_said_about_an_option_without_a_name_is_kept() -> None:
    extra = [{"displayName": "", "preModifier": {"name": "EXTRA"}, "price": 1}]
    weighed = [{"name": "", "quantity": Decimal("0.2"), "unit": "KG"}]

    orders = [
        placed("toast", {f"{SELECTION}.modifiers": extra}),
        placed("open_delivery", {"items.0.options": weighed}),
    ]

    names = [each.items[0].modifiers[0].name for each in orders]
    assert names == ["EXTRA (no name)", "(no name) (0.200 kg)"]


@pytest.mark.parametrize("quantity", ["-0.5", "-2"])
@pytest.mark.parametrize(
    ("platform", "path", "unit"),
    [
        ("hubrise", "items.0", "unit"),
        ("hubrise", "items.0.options.0", "unit"),
        ("open_delivery", "items.0", "unit"),
        ("toast", SELECTION, "unitOfMeasure"),
        ("uber_eats", ITEM, "unit"),
    ],
)
def test_negative_quantity_is_refused_also_as_a_weight_or_a_fraction(
    platform: str, path: str, unit: str, quantity: str
) -> None:
    payload = changed(platform, {"items.0.options": [{"name": "Egg"}]} if "options" in path else {})
    owner = payload
    for part in path.split("."):
        owner = owner[int(part)] if part.isdecimal() else owner[part]
    owner |= {"quantity": quantity, unit: "KG"}

    assert list(faults_of(platform, payload)) == [f"{path}.quantity"]


def test_item_with_a_negative_price_is_a_discount_with_its_name() -> None:
    order = placed("uber_eats", {f"{ITEM}.price.unit_price.amount": -100})

    assert order.items[0].price == 0
    assert [(each.name, each.amount) for each in order.charges] == [("Margherita", Decimal(-2))]


def test_modifiers_in_any_quantity_cost_what_the_platform_says() -> None:
    options = [OPTION | {"quantity": each} for each in (150, Decimal("0.5"), 0)]

    order = placed("uber_eats", {f"{ITEM}.selected_modifier_groups": [{"selected_items": options}]})

    found = [(each.name, each.quantity, each.price) for each in order.items[0].modifiers]
    assert found == [
        ("Cheese", 99, 1),
        ("Cheese", 51, 1),
        ("Cheese (0.5)", 1, Decimal("0.5")),
    ]


def test_fraction_of_a_cent_becomes_a_charge() -> None:
    """Toast sends what three portions cost together."""
    modifiers = [{"displayName": "Salsa", "quantity": 3, "price": 1}]

    order = placed("toast", {f"{SELECTION}.modifiers": modifiers, f"{SELECTION}.quantity": 1})

    (salsa,) = order.items[0].modifiers
    assert (salsa.quantity, salsa.price) == (3, Decimal("0.33"))
    assert ("Rounding", Decimal("0.01")) in [(each.name, each.amount) for each in order.charges]


@pytest.mark.parametrize(
    ("sold", "total", "rounding"),
    [([(3, 10)], 10, "0.01"), ([(3, 20), (6, 10)], 30, "-0.03"), ([(4, 10)], 10, None)],
)
def test_portions_that_toast_sells_for_one_price_cost_that_together(
    sold: list[tuple[int, int]], total: int, rounding: str | None
) -> None:
    payload = changed("toast", {})
    check = payload["details"]["order"]["checks"][0]
    check["selections"] = [
        {"displayName": "Taco", "quantity": count, "preDiscountPrice": price}
        for count, price in sold
    ]
    check["taxAmount"] = None

    order = mapped("toast", payload)

    assert isinstance(order, NewOrder)
    assert order.total_amount == total
    assert [each.amount for each in order.charges] == ([Decimal(rounding)] if rounding else [])


def test_charges_beyond_the_limit_are_one() -> None:
    """The one that would be too many may be ours: the customer has paid."""
    fees = [{"name": f"Fee {number}", "price": "0.50 EUR"} for number in range(20)]
    changes = {"charges": fees, "items.0.price": "1.005 EUR", "items.0.quantity": 1}

    order = placed("hubrise", changes | {"total": "11.01 EUR", "discounts": None})

    assert len(order.charges) == 20
    assert order.charges[18].name == "Fee 18"
    last = order.charges[19]
    assert last.name.startswith("Fee 19, ")
    assert order.total_amount == Decimal("11.01")


@pytest.mark.parametrize(("quantity", "price"), [("0", "-5.00 EUR"), ("1", "-0.001 EUR")])
def test_charge_of_nothing_is_left_out(quantity: str, price: str) -> None:
    payload = load("hubrise/simple.json")
    (item,) = payload["items"]
    payload["items"].append(item | {"quantity": quantity, "price": price})
    payload |= {"total": None}

    order = mapped("hubrise", payload)

    assert isinstance(order, NewOrder)
    assert order.charges == ()


def test_total_is_rounded_as_the_amount_due_is() -> None:
    """Open Delivery sends both, and each with more decimals than the currency has."""
    money = {"value": Decimal("3.335"), "currency": "BRL"}
    changes = {"items.0.unitPrice": money, "items.0.quantity": 3, "items.0.totalPrice": None}
    changes |= {"payments.pending": Decimal("10.005"), "items.0.options": None}

    order = placed("open_delivery", changes | {"otherFees": None, "discounts": None})

    assert order.total_amount == order.amount_due == Decimal("10.01")


def test_item_of_which_there_are_none_is_left_out() -> None:
    payload = load("uber_eats/simple.json")
    (item,) = payload["cart"]["items"]
    payload["cart"]["items"].append(item | {"quantity": 0})

    order = mapped("uber_eats", payload)

    assert isinstance(order, NewOrder)
    assert [each.quantity for each in order.items] == [2]


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"cart.items": []}, "cart.items"),
        ({f"{ITEM}.quantity": 0}, f"{ITEM}.quantity"),
        ({f"{ITEM}.quantity": -1}, f"{ITEM}.quantity"),
        ({f"{ITEM}.quantity": 10**6}, f"{ITEM}.quantity"),
        ({f"{ITEM}.title": words(6500)}, f"{ITEM}.title"),
        ({f"{ITEM}.special_instructions": "n" * 6600}, f"{ITEM}.special_instructions"),
        ({"cart.special_instructions": "n" * 6500}, "cart.special_instructions"),
        ({"cart.special_instructions": f"{'w' * 61} " * 90}, "cart.special_instructions"),
        ({"estimated_ready_for_pickup_at": "2099-01-01T00:00:00Z"}, "estimated_ready"),
        ({"type": "DELIVERY_BY_RESTAURANT"}, "eater.delivery.location"),
        ({"id": "i" * 129}, "id"),
        ({f"{ITEM}.selected_modifier_groups": [{"selected_items": [OPTION] * 51}]}, ITEM),
    ],
)
def test_order_that_cannot_fit_is_refused_once_with_its_path(
    changes: dict[str, Any], path: str
) -> None:
    payload = changed("uber_eats", changes)

    with pytest.raises(OrderInvalid) as refusal:
        mapped("uber_eats", payload)

    (fault,) = faults_of("uber_eats", payload)
    assert fault.startswith(path)
    is_known = len(payload["id"]) <= 128
    assert refusal.value.external_id == (payload["id"] if is_known else None)


def test_title_of_an_item_is_at_fault_only_where_it_is() -> None:
    allergy = {"allergens_to_exclude": [{"type": "PEANUTS"}]}
    changes = {f"{ITEM}.title": "x" * 6500, f"{ITEM}.special_requests.allergy": allergy}

    faults = faults_of("uber_eats", changed("uber_eats", changes))

    assert list(faults) == [f"{ITEM}.title"]
