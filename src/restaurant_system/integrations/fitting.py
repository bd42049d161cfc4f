"""Fit the draft of an order into the limits of our orders, without losing anything of it.

The customer has paid, so an order is not refused because a text is long or an amount has more
decimals than ours. A text that does not fit into its field continues elsewhere in the order: in
instructions among the modifiers of its item, or in the notes. What has no room there either is left
as it is, so that its validation names the fault.
"""

from collections.abc import Iterable

from restaurant_system.integrations.amounts import fit_amounts
from restaurant_system.integrations.draft import (
    INSTRUCTION,
    Draft,
    called,
    instruction,
    joined,
    labelled,
)
from restaurant_system.integrations.long_text import beginning, split
from restaurant_system.integrations.payload import Sourced
from restaurant_system.models.currency import Currency
from restaurant_system.models.customer_name import MAX_LENGTH, nearest_customer_name
from restaurant_system.models.fields import (
    MAX_ADDRESS,
    MAX_ALLERGY_NOTE,
    MAX_DINER,
    MAX_ITEM_NAME,
    MAX_NOTES,
    MAX_PHONE,
    MAX_REFERENCE,
    MAX_SKU,
    MAX_TABLE_LABEL,
    MIN_ADDRESS,
)
from restaurant_system.models.order import OrderType
from restaurant_system.models.order_items import MAX_DEPTH, MAX_MODIFIERS

# Texts with the label of what does not fit, and the limit.
TEXTS_OF_ORDER = {
    "allergy_note": ("Allergies", MAX_ALLERGY_NOTE),
    "customer_name": ("Customer", MAX_LENGTH),
    "delivery_address": ("Address", MAX_ADDRESS),
    "table": ("Table", MAX_TABLE_LABEL),
    "reference": ("Reference", MAX_REFERENCE),
    "phone": ("Phone", MAX_PHONE),
}
TEXTS_OF_ITEM = {"guest": ("For", MAX_DINER), "sku": ("SKU", MAX_SKU)}
# What a text that does not fit begins with, where it would be dangerous to miss the rest of it.
BEGINNINGS = {"allergy_note": "More in the notes: "}
WHOLE_ONLY = frozenset({"phone", "sku"})  # a part of one is another one
ORDER_NOTE = "Order note"


def fit(order: Draft, currency: Currency) -> Draft:
    """Return a draft of an order that keeps to the limits, as far as what it contains allows."""
    items: Sourced | None = order.get("items")
    named = items and Sourced([_named(each) for each in items.value], items.source)
    fitted = fit_amounts({**order, "items": named}, currency)
    _fit_texts(fitted)
    items = fitted["items"]
    if items is not None:
        fitted["items"] = Sourced([_fit_item(each) for each in items.value], items.source)
        _continue_notes(fitted)
    return fitted


def _text(sourced: Sourced | None) -> str:
    """Return a text of a draft, an empty one if it is missing."""
    return sourced.value if sourced is not None and isinstance(sourced.value, str) else ""


def _named(part: Sourced) -> Sourced:
    """Return an item or modifier with a name: one without is called by its id, if it has one."""
    draft: Draft = dict(part.value)
    draft["modifiers"] = [_named(each) for each in draft.get("modifiers") or ()] or None
    draft["name"] = called(draft["name"], draft.get("sku"))
    return Sourced(draft, part.source)


def _fit_texts(order: Draft) -> None:
    """Fit the texts of an order besides those of its items."""
    address: Sourced | None = order.get("delivery_address")
    if address is not None and len(_text(address)) < MIN_ADDRESS:
        order["delivery_address"] = labelled("Address", address)
    charges: list[Draft] = [dict(each) for each in order.get("charges") or ()]
    order["charges"] = charges or None
    lines = [_shorten(order, field, *limits) for field, limits in TEXTS_OF_ORDER.items()]
    lines += [_shorten(each, "name", "Charge", MAX_ITEM_NAME) for each in charges]
    name: Sourced | None = order.get("customer_name")
    order["customer_name"] = name and Sourced(nearest_customer_name(_text(name)), name.source)
    order["reference"] = _reference(order)
    _add_notes(order, [each for each in lines if each is not None])


def _shorten(draft: Draft, field: str, label: str, limit: int) -> Sourced | None:
    """Shorten a text of a draft; return all of it after its label, `None` if it fits."""
    text: Sourced | None = draft.get(field)
    if text is None or len(_text(text)) <= limit:
        return None
    mark = BEGINNINGS.get(field, "")
    part = None if field in WHOLE_ONLY else mark + beginning(text.value, limit - len(mark))
    draft[field] = Sourced(part, text.source)
    return labelled(label, text)


def _reference(order: Draft) -> Sourced | None:
    """Return what identifies an order to people: without a name or number, the platform's id."""
    reference: Sourced | None = order.get("reference")
    is_identified = bool(_text(reference) or _text(order["customer_name"]))
    if is_identified or order.get("order_type") == OrderType.DINE_IN:
        return reference
    external_id: Sourced = order["external_id"]
    return Sourced(beginning(_text(external_id), MAX_REFERENCE), external_id.source)


def _add_notes(order: Draft, lines: list[Sourced]) -> None:
    """Add lines before the notes of an order."""
    notes: Sourced | None = order.get("notes")
    if lines:
        source = notes.source if notes is not None and _text(notes) else lines[0].source
        text = joined([*lines, *([notes] if notes is not None else [])], "\n")
        order["notes"] = Sourced(text.value, source)


def _fit_item(item: Sourced) -> Sourced:
    """Return an item whose texts fit."""
    draft: Draft = dict(item.value)
    before = _continued(draft, "name", MAX_ITEM_NAME)
    after = _continued(draft, "notes", MAX_NOTES)
    for field, limits in TEXTS_OF_ITEM.items():
        whole = _shorten(draft, field, *limits)
        after += [] if whole is None else instruction(whole)
    modifiers = [*before, *(draft.get("modifiers") or ()), *after]
    draft["modifiers"] = _fit_modifiers(modifiers, 1) or None
    return Sourced(draft, item.source)


def _fit_modifiers(modifiers: Iterable[Sourced], level: int) -> list[Sourced]:
    """Return modifiers whose names fit.

    The rest of a name is in the modifier. That of an instruction follows it, and so do all
    instructions to a modifier of the last level.
    """
    fitted: list[Sourced] = []
    for each in modifiers:
        draft: Draft = dict(each.value)
        rest = _continued(draft, "name", MAX_ITEM_NAME)
        inner = [*rest, *_fit_modifiers(draft.get("modifiers") or (), level + 1)]
        is_followed = level >= MAX_DEPTH or _is_instruction(each)
        following = [part for part in inner if is_followed and _is_instruction(part)]
        draft["modifiers"] = [part for part in inner if part not in following] or None
        fitted += [Sourced(draft, each.source), *following]
    return fitted


def _is_instruction(modifier: Sourced) -> bool:
    return modifier.value.get("kind") == INSTRUCTION and not modifier.value.get("modifiers")


def _continued(draft: Draft, field: str, limit: int) -> list[Sourced]:
    """Shorten a text of an item or modifier; return the rest of it as instructions."""
    text: Sourced | None = draft.get(field)
    if text is None or not limit < len(_text(text)) <= limit + MAX_MODIFIERS * MAX_ITEM_NAME:
        return []
    part, *rest = split(text.value, limit, MAX_ITEM_NAME)
    draft[field] = Sourced(part, text.source)
    return [line for each in rest for line in instruction(_line(each, text))]


def _line(text: str, of: Sourced) -> Sourced:
    return Sourced(" ".join(text.split()), of.source)


def _continue_notes(order: Draft) -> None:
    """Continue long notes of an order as instructions among the modifiers of its items."""
    notes: Sourced | None = order.get("notes")
    length = MAX_ITEM_NAME - len(f"{ORDER_NOTE}: ")
    items: list[Sourced] = order["items"].value
    room = [max(MAX_MODIFIERS - _count(each.value.get("modifiers") or ()), 0) for each in items]
    if notes is None or not MAX_NOTES < len(_text(notes)) <= MAX_NOTES + sum(room) * length:
        return
    part, *rest = split(notes.value, MAX_NOTES, length)
    if len(rest) > sum(room):
        return
    order["notes"] = Sourced(part, notes.source)
    lines = [
        line for each in rest for line in instruction(labelled(ORDER_NOTE, _line(each, notes)))
    ]
    for item, free in zip(items, room, strict=True):
        taken, lines = lines[:free], lines[free:]
        item.value["modifiers"] = [*(item.value.get("modifiers") or ()), *taken] or None


def _count(modifiers: Iterable[Sourced]) -> int:
    """Return how many modifiers there are on all levels."""
    return sum(1 + _count(each.value.get("modifiers") or ()) for each in modifiers)
