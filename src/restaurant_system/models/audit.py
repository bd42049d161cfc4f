"""What people do, as it is recorded. No entry contains data of customers, passwords or keys."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class AuditAction(StrEnum):
    """An act of a person."""

    PLACE_ORDER = "place_order"
    CANCEL_ORDER = "cancel_order"
    COMPLETE_ORDER = "complete_order"
    RELEASE_ORDER = "release_order"
    HAND_OVER_ORDER = "hand_over_order"
    UNDO_HAND_OVER = "undo_hand_over"
    MARK_UNCOLLECTED = "mark_uncollected"
    UNDO_UNCOLLECTED = "undo_uncollected"
    SEND_BACK_ORDER = "send_back_order"
    UNDO_SEND_BACK = "undo_send_back"
    OPEN_STATION = "open_station"
    START_TICKET = "start_ticket"
    UNSTART_TICKET = "unstart_ticket"
    BUMP_TICKET = "bump_ticket"
    RECALL_TICKET = "recall_ticket"
    RUSH_TICKET = "rush_ticket"
    UNRUSH_TICKET = "unrush_ticket"
    ACKNOWLEDGE_TICKET = "acknowledge_ticket"
    SIGN_IN = "sign_in"
    SIGN_IN_FAILED = "sign_in_failed"
    SIGN_OUT = "sign_out"
    ADD_USER = "add_user"
    DISABLE_USER = "disable_user"
    RESET_USER = "reset_user"
    ADD_KEY = "add_key"
    DISABLE_KEY = "disable_key"
    RESET_KEY = "reset_key"
    EXPORT_PERSONAL_DATA = "export_personal_data"
    ERASE_PERSONAL_DATA = "erase_personal_data"
    REQUEUE_DEAD_LETTER = "requeue_dead_letter"
    DISCARD_DEAD_LETTER = "discard_dead_letter"
    ENROL_DEVICE = "enrol_device"
    REMOVE_DEVICE = "remove_device"
    SET_PIN = "set_pin"
    REMOVE_PIN = "remove_pin"
    CHANGE_AVAILABILITY = "change_availability"


@dataclass(frozen=True, slots=True)
class Actor:
    """A person who does something, with the client address; `None` means this machine."""

    who: str | None
    role: str | None = None
    client: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """An act of a person, and what it was done to."""

    at: datetime
    actor: Actor
    action: AuditAction
    target: str | None = None
    request_id: str | None = None
    details: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
