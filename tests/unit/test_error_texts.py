"""The codes of errors: each is documented, and has a text on pages in every language."""

import ast
import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from string import Formatter
from typing import Any

import pytest
from pydantic import BaseModel

import restaurant_system
from restaurant_system import errors, screens
from restaurant_system.error_texts import FIELD_CODES, PROBLEM_CODES
from restaurant_system.errors import RestaurantError
from restaurant_system.models.order import Charge, NewOrder
from restaurant_system.models.order_items import Modifier, OrderItem
from restaurant_system.services.display.handler import OpenStation
from restaurant_system.services.order.menu_handler import AvailabilityBody
from restaurant_system.validation_messages import MESSAGES
from restaurant_system.web.json_body import parse_json
from restaurant_system.web.problem import STATUSES, Refusal, response_for
from tests.support.invalid_orders import INVALID_ORDERS

SOURCES = Path(restaurant_system.__file__).parent
CODES = {**FIELD_CODES, **PROBLEM_CODES}
LANGUAGES = ("en", "de", "es")
WORDS = {
    language: json.loads((files(screens) / "texts" / f"{language}.json").read_text("utf-8"))
    for language in LANGUAGES
}
# Codes without a text on pages: these send no such request, or have other texts for the response.
NOT_ON_PAGES = {
    # values of JSON types and fields that no page sends, also by its platform or its API key
    *("string_type", "path_type", "finite_number", "bool_type", "tuple_type", "model_type"),
    *("greater_than", "amount_negative", "modifiers_too_deep", "required_with", "channel_invalid"),
    *("channel_reserved", "api_key_required", "scope_unknown", "not_percent_encoded"),
    *("json_invalid", "duplicate_key", "number_out_of_bounds", "key_repeated", "key_invalid"),
    *("cursor_invalid", "item_missing", "item_needless", "status_not_for_action"),
    *("selector_required", "availability_required", "availability_contradictory"),
    *("until_without_limit", "no_digit", "empty", "order_number_invalid", "customer_required"),
    # orders of anonymous callers, who cannot open the counter, and of API keys
    *("sku_not_of_item", "not_name_of_sku", "not_an_option"),
    *("discount_refused", "amount_due_below_total"),
    # the text is in `access`, `account`, `sign_in`, `order_types`, `orders` or `error`
    *("name_invalid", "password_invalid", "pin_invalid", "pin_easy_to_guess", "date_invalid"),
    *("sign_in_failed", "pin_wrong", "pin_refused", "device_not_enrolled", "too_many_attempts"),
    *("name_taken", "name_unknown", "last_manager", "order_types_unknown", "no_tracking_link"),
    # responses from 500 on
    *("starting", "service_unavailable", "internal_error"),
    # other requests of programs
    *("invalid_http", "invalid_host", "host_not_served", "upgrade_refused", "head_too_large"),
    *("unsupported_media_type", "request_incomplete", "method_not_allowed", "http_error"),
    *("metrics_not_public", "signature_refused", "platform_unknown", "external_id_taken"),
    *("erased_order_repeated", "dead_letter_not_found", "dead_letters_locked", "dead_letter_kept"),
    *("too_many_to_read", "order_of_another_customer", "too_many_orders", "erasure_refused"),
}
NUMBER = "ORD_20241216_001"
OF_ORDERS: list[RestaurantError] = [
    errors.OrderNotFound(NUMBER),
    errors.ItemNotFound(NUMBER, 3),
    errors.NoTrackingLink(NUMBER),
    errors.ExternalIdTaken(NUMBER),
    errors.ErasedOrderRepeated(NUMBER),
    errors.OrderOfAnotherCustomer(NUMBER),
    errors.IllegalMove(NUMBER, "ready", "cooking"),
    errors.ReadyOrderKept(NUMBER, "ready", "cancelled"),
    errors.NotReady(NUMBER, "cooking", "handed over"),
    errors.HandedOverAlready(NUMBER),
    errors.OrderChanged(NUMBER, "ready"),
    errors.TooLateToUndo(NUMBER, "ready"),
    errors.NotReleasable(NUMBER, "received"),
    errors.NotReleased(NUMBER, "received", "cooking", is_scheduled=True),
    errors.NotOfStation(NUMBER, "received", "cooking", "fryer"),
    errors.TicketChanged(NUMBER, "cooking", "ready", "grill"),
]
OTHERS: list[RestaurantError] = [
    errors.NotSignedIn(),
    errors.SignInFailed(),
    errors.PinWrong(),
    errors.DeviceNotEnrolled(),
    errors.SignatureRefused("It is old."),
    errors.NotAllowed("Ask."),
    errors.PinRefused(),
    errors.TooManyAttempts(30),
    errors.IdempotencyKeyReused("Send a new one."),
    errors.OrderCancelledBefore(),
    errors.NameTaken("Choose another."),
    errors.NameUnknown("There is none."),
    errors.LastManager("Ada"),
    errors.DeadLetterNotFound("There is none."),
    errors.DeadLettersLocked(),
    errors.TooManyOrders(600, 500),
    errors.TooManyStations("stations", 8),
    errors.ErasureRefused("a trigger"),
]


def texts_with_codes() -> Iterator[tuple[str, ast.expr, set[str | None]]]:
    """Yield the file, the code and the names of the values of each text that the sources make."""
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.Call)
                and getattr(node.func, "id", None) == "ErrorText"
                and len(node.args) > 1
            ):
                file = str(path.relative_to(SOURCES))
                yield file, node.args[1], {each.arg for each in node.keywords}


def test_every_text_has_a_documented_code_and_its_values() -> None:
    used, wrong, computed = set[str](), set[tuple[str, str]](), set[str]()
    for file, code, values in texts_with_codes():
        match code:
            case ast.Constant(str() as name):
                used.add(name)
                if name not in CODES or values != {*CODES[name]}:
                    wrong.add((file, name))
            case _:
                computed.add(file)

    assert wrong == set()
    assert computed == {"validation_messages.py", "web/problem.py"}  # of pydantic, of a class
    of_classes = {each.code for each in OF_ORDERS + OTHERS}
    assert set(CODES) == used | (set(MESSAGES) - {"value_error"}) | of_classes


@pytest.mark.parametrize("error", OF_ORDERS + OTHERS, ids=lambda each: each.code)
def test_error_of_a_class_has_its_code_and_values_in_the_response(error: RestaurantError) -> None:
    problem = json.loads(bytes(response_for(error, "r-1").body))

    assert (problem["detail"], problem["code"]) == (str(error), error.code)
    assert {*problem.get("params", {})} == {*PROBLEM_CODES[error.code]}


def test_every_class_with_a_status_of_its_own_has_a_code() -> None:
    codes = {each.code for each in STATUSES if issubclass(each, RestaurantError)}

    assert len(codes) == len(STATUSES)
    assert codes <= set(PROBLEM_CODES)


def forms(text: Any) -> list[str]:  # noqa: ANN401 - a string, or plural forms
    """Return all forms of a text."""
    return [text] if isinstance(text, str) else [*text.values()]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_code_that_a_page_can_meet_has_a_text_with_its_values_alone(language: str) -> None:
    texts = {code: forms(text) for code, text in WORDS[language]["errors"].items()}
    assert texts.keys() - {"of_field"} == set(CODES) - NOT_ON_PAGES
    assert set(CODES) >= NOT_ON_PAGES

    for code, expected in CODES.items():
        for form in texts.get(code, []):
            filled_in = {name for _, name, _, _ in Formatter().parse(form) if name is not None}
            assert filled_in <= {*expected}, code


@pytest.mark.parametrize(
    "model", [NewOrder, OrderItem, Modifier, Charge, AvailabilityBody, OpenStation]
)
def test_every_field_that_a_page_sends_has_a_label(model: type[BaseModel]) -> None:
    assert model.model_fields.keys() <= WORDS["en"]["fields"].keys()


def test_every_fault_of_an_order_has_a_code_and_its_values() -> None:
    for invalid in INVALID_ORDERS:
        with pytest.raises(Refusal) as refused:
            parse_json(invalid.body, NewOrder)

        for each in refused.value.errors:
            assert each.message.code is not None, invalid
            assert {*each.message.params} == {*FIELD_CODES[each.message.code]}, invalid
