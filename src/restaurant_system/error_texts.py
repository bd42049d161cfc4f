"""Sentences that explain errors, with a code and the values in them.

The sentences are for the author of a client. A page shows a text of its own for a code, in its
language, into which it fills the values.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Self, TypeAlias

Param: TypeAlias = str | int | float

# The codes of what is wrong with a field, each with the names of its values. Those of pydantic's
# own errors are pydantic's types.
FIELD_CODES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "missing": (),
        "extra_forbidden": (),
        "string_type": (),
        "path_type": (),
        "int_type": (),
        "float_type": (),
        "finite_number": (),
        "bool_type": (),
        "tuple_type": (),
        "model_type": (),
        "enum": ("expected",),
        "greater_than": ("gt",),
        "greater_than_equal": ("ge",),
        "less_than_equal": ("le",),
        "string_too_short": ("min_length",),
        "string_too_long": ("max_length",),
        "too_short": ("min_length",),
        "too_long": ("max_length",),
        # Texts
        "invisible": (),
        "character_refused": ("character",),
        "hidden_character_refused": ("character",),
        "character_not_in_names": ("character",),
        "hidden_character_not_in_names": ("character",),
        "no_letter_or_digit": (),
        "name_invalid": ("max_length",),
        "password_invalid": ("min_length", "max_length"),
        "pin_invalid": ("min_length", "max_length"),
        "pin_easy_to_guess": (),
        "channel_invalid": (),
        "channel_reserved": (),
        "api_key_required": (),
        "scope_unknown": (),
        "no_digit": (),
        "empty": (),
        "order_number_invalid": (),
        "customer_required": (),
        # Times
        "time_invalid": (),
        "date_invalid": (),
        "time_past": (),
        "too_far_ahead": ("days",),
        "too_long_ago": (),
        # Combinations of fields
        "customer_name_required": (),
        "table_required": (),
        "address_required": (),
        "required_with": ("other",),
        "only_for_dine_in": ("order_type",),
        "only_for_delivery": ("order_type",),
        # Amounts and modifiers
        "amount_out_of_range": ("least", "highest"),
        "amount_negative": (),
        "too_many_decimals": ("decimals",),
        "price_with_modifiers_too_high": ("highest",),
        "too_many_modifiers": ("max_length",),
        "modifiers_too_deep": ("levels",),
        # The menu
        "sold_out": ("name",),
        "sold_out_until": ("name", "until"),
        "not_served_then": ("name", "hours"),
        "unavailable_on_menu": ("name",),
        "too_few_left": ("name", "remaining"),
        "not_on_menu": (),
        "sku_not_of_item": ("expected",),
        "ambiguous": ("choices",),
        "several_prices": ("choices",),
        "variation_required": ("choices",),
        "not_name_of_sku": ("name",),
        "not_an_option": (),
        "too_many_options": ("group", "max", "count"),
        "too_few_options": ("group", "min", "options"),
        "price_of_request_negative": (),
        "price_differs_from_menu": ("name", "price"),
        "discount_refused": (),
        "amount_due_below_total": (),
        # What is sold out
        "selector_required": (),
        "availability_required": (),
        "availability_contradictory": (),
        "until_without_limit": (),
        "unavailable_in_menu_file": (),
        # Taps and stations
        "station_name_invalid": (),
        "item_missing": (),
        "item_needless": ("action",),
        "status_not_for_action": ("action", "expected"),
        # Requests
        "json_invalid": (),
        "duplicate_key": (),
        "number_out_of_bounds": (),
        "key_repeated": (),
        "key_invalid": ("min_length", "max_length"),
        "not_percent_encoded": (),
        "order_types_unknown": ("expected", "unknown"),
        "cursor_invalid": (),
    }
)

# The codes of whole problems, each with the names of its values. Those of `RestaurantError`s are
# the names of their classes.
PROBLEM_CODES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        # The request
        "invalid_request": (),
        "invalid_http": (),
        "invalid_host": (),
        "host_not_served": (),
        "foreign_origin": (),
        "upgrade_refused": (),
        "unsupported_media_type": (),
        "body_too_large": ("max_bytes",),
        "head_too_large": (),
        "request_incomplete": (),
        "request_timeout": (),
        "no_such_address": (),
        "method_not_allowed": (),
        "http_error": (),
        "too_many_requests": (),
        "too_many_connections": (),
        "too_many_live_views": (),
        "metrics_not_public": (),
        # The caller
        "not_signed_in": (),
        "sign_in_failed": (),
        "pin_wrong": (),
        "device_not_enrolled": (),
        "signature_refused": (),
        "not_allowed": (),
        "pin_refused": (),
        "too_many_attempts": ("seconds",),
        # Orders
        "differs_from_menu": (),
        "order_not_found": ("order_number",),
        "item_not_found": ("order_number", "item"),
        "no_tracking_link": ("order_number",),
        "idempotency_key_reused": (),
        "external_id_taken": ("order_number",),
        "erased_order_repeated": ("order_number",),
        "order_cancelled_before": (),
        "platform_unknown": (),
        "illegal_move": ("order_number", "current_status"),
        "ready_order_kept": ("order_number", "current_status"),
        "not_ready": ("order_number", "current_status"),
        "handed_over_already": ("order_number", "current_status"),
        "order_changed": ("order_number", "current_status"),
        "too_late_to_undo": ("order_number", "current_status"),
        "not_releasable": ("order_number", "current_status"),
        "not_released": ("order_number", "current_status"),
        "not_of_station": ("order_number", "current_status", "station"),
        "ticket_changed": ("order_number", "current_status"),
        "station_not_open": (),
        "too_many_stations": ("most",),
        # Administration
        "name_taken": (),
        "name_unknown": (),
        "last_manager": ("name",),
        "dead_letter_not_found": (),
        "dead_letters_locked": (),
        "dead_letter_kept": (),
        "too_many_to_read": ("count", "most"),
        "order_of_another_customer": ("order_number",),
        "too_many_orders": ("count", "most"),
        "erasure_refused": (),
        # The service
        "starting": (),
        "service_unavailable": (),
        "internal_error": (),
    }
)


class ErrorText(str):
    """A sentence that explains an error, or the rest of one that begins with a field's name.

    `code` identifies its meaning, and stays the same when the sentence is changed; `params` are the
    values in the sentence. Without a code there is the sentence alone.
    """

    __slots__ = ("code", "params")

    code: str | None
    params: Mapping[str, Param]

    def __new__(cls, text: str, code: str | None = None, /, **params: Param) -> Self:
        """Return a sentence; `code` is a key of `FIELD_CODES` or `PROBLEM_CODES`."""
        self = super().__new__(cls, text)
        self.code = code
        self.params = params
        return self

    def with_text(self, text: str) -> Self:
        """Return another sentence with the same code and values."""
        return type(self)(text, self.code, **self.params)

    @property
    def members(self) -> dict[str, object]:
        """The code and the values, as members of a problem document (RFC 9457)."""
        if self.code is None:
            return {}
        members: dict[str, object] = {"code": self.code}
        return members | {"params": dict(self.params)} if self.params else members
