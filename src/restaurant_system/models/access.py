"""Roles, API keys and what their owners may do.

Everything that is guarded requires a capability. People have the capabilities of their role;
programs have those that are the scopes of their API key.
"""

import contextlib
import hashlib
import itertools
import secrets
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Self

from restaurant_system.error_texts import ErrorText
from restaurant_system.models.fields import invalid_value
from restaurant_system.models.text import is_visible, refused_character

MAX_NAME_LENGTH = 100
MIN_PASSWORD_LENGTH, MAX_PASSWORD_LENGTH = 8, 200
TOKEN_BYTES = 32  # 256 random bits; so a plain hash of a token is safe to store
MIN_PIN_LENGTH, MAX_PIN_LENGTH = 4, 8
GENERATED_PIN_LENGTH = 6
KEY_PREFIX = "rsk_"  # by which scanners for leaked secrets find a key


class Capability(StrEnum):
    """What a caller may do."""

    READ_STATUS = "read_status"  # of one order by its number: the status and the estimate
    PLACE_ORDERS = "place_orders"
    TICKETS = "tickets"  # read, start, bump, recall, rush and acknowledge
    READ_ORDERS = "read_orders"  # orders, lists, history, statistics, workers
    MOVE_ORDERS = "move_orders"  # cancel and complete
    METRICS = "metrics"  # and the API documentation
    ADMINISTER = "administer"  # users, API keys, dead letters, personal data


class Role(StrEnum):
    """The role of a person."""

    KITCHEN = "kitchen"
    STAFF = "staff"
    MANAGER = "manager"


EVERYONE = frozenset({Capability.READ_STATUS})  # signed in or not
STAFF = EVERYONE | {
    Capability.PLACE_ORDERS,
    Capability.TICKETS,
    Capability.READ_ORDERS,
    Capability.MOVE_ORDERS,
}
CAPABILITIES: Mapping[Role, frozenset[Capability]] = {
    Role.KITCHEN: EVERYONE | {Capability.TICKETS},
    Role.STAFF: STAFF,
    Role.MANAGER: frozenset(Capability),
}
# Four digits are too few for this; a manager signs in with the password.
NOT_BY_PIN = frozenset({Capability.ADMINISTER})
SCOPES = tuple(each for each in Capability if each not in EVERYONE)


@dataclass(frozen=True, slots=True)
class Caller:
    """A person or a program that sends a request, and what it may do; anonymous without a name.

    Only a person has a role. `device` is the name of the device on which the person has signed in
    with a PIN, `None` for everybody else.
    """

    name: str | None
    role: Role | None
    capabilities: frozenset[Capability]
    device: str | None = None

    @classmethod
    def person(cls, name: str, role: Role, device: str | None = None) -> Self:
        """Return a person who has signed in, with a PIN on a device or else with the password."""
        withheld = frozenset[Capability]() if device is None else NOT_BY_PIN
        return cls(name, role, CAPABILITIES[role] - withheld, device)

    @property
    def is_anonymous(self) -> bool:
        """Whether access is controlled, and the caller has neither a session nor an API key."""
        return self.name is None and self is not UNGUARDED

    def may(self, capability: Capability) -> bool:
        """Return whether the caller has a capability."""
        return capability in self.capabilities


# The caller of every request to a service without access control.
UNGUARDED = Caller(None, None, frozenset(Capability))


class CredentialKind(StrEnum):
    """What a token is: the cookie of a person's session, or the API key of a program."""

    SESSION = "session"
    API_KEY = "api_key"


class Credential(NamedTuple):
    """A token as it is stored: its SHA-256."""

    kind: CredentialKind
    digest: bytes

    @classmethod
    def of(cls, kind: CredentialKind, token: bytes) -> Self:
        """Return the credential for a token."""
        return cls(kind, hashlib.sha256(token).digest())


def new_token() -> str:
    """Return a random token of visible ASCII characters."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def new_api_key() -> str:
    """Return a random API key."""
    return KEY_PREFIX + new_token()


def new_password() -> str:
    """Return a random password of 80 bits that can be typed: four groups of lower-case letters."""
    letters = "abcdefghjkmnpqrstuvwxyz23456789"  # without those that look alike
    groups = ("".join(secrets.choice(letters) for _ in range(4)) for _ in range(4))
    return "-".join(groups)


def clean_name(name: str) -> str:
    """Return the name of a user or of an API key, trimmed; raises `ValueError`."""
    cleaned = unicodedata.normalize("NFC", name).strip()
    is_short = len(cleaned) <= MAX_NAME_LENGTH
    if not is_short or not is_visible(cleaned) or refused_character(cleaned) is not None:
        message = (
            f"must have 1 to {MAX_NAME_LENGTH} visible characters, and no control or format"
            " character"
        )
        raise invalid_value(ErrorText(message, "name_invalid", max_length=MAX_NAME_LENGTH))
    return cleaned


def folded_name(name: str) -> str:
    """Return a text that is equal for names that differ in case or in Unicode form only."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name.strip()).casefold())


def clean_password(password: str) -> str:
    """Return a password in one Unicode form, whatever the keyboard; raises `ValueError`."""
    cleaned = unicodedata.normalize("NFKC", password)
    is_long_enough = MIN_PASSWORD_LENGTH <= len(cleaned) <= MAX_PASSWORD_LENGTH
    if not is_long_enough or refused_character(cleaned) is not None:
        least, most = MIN_PASSWORD_LENGTH, MAX_PASSWORD_LENGTH
        message = f"must have {least} to {most} characters, and no control or format character"
        raise invalid_value(
            ErrorText(message, "password_invalid", min_length=least, max_length=most)
        )
    return cleaned


def clean_pin(pin: str) -> str:
    """Return a PIN in ASCII digits; raises `ValueError`."""
    cleaned = unicodedata.normalize("NFKC", pin).strip()
    is_number = cleaned.isascii() and cleaned.isdigit()
    if not is_number or not MIN_PIN_LENGTH <= len(cleaned) <= MAX_PIN_LENGTH:
        least, most = MIN_PIN_LENGTH, MAX_PIN_LENGTH
        message = f"must have {least} to {most} digits, and nothing else"
        raise invalid_value(ErrorText(message, "pin_invalid", min_length=least, max_length=most))
    steps = {int(after) - int(before) for before, after in itertools.pairwise(cleaned)}
    if steps in ({0}, {1}, {-1}):
        message = "is easy to guess: use neither one digit nor digits in a row"
        raise invalid_value(ErrorText(message, "pin_easy_to_guess"))
    return cleaned


def new_pin() -> str:
    """Return a random PIN."""
    while True:
        pin = "".join(secrets.choice("0123456789") for _ in range(GENERATED_PIN_LENGTH))
        with contextlib.suppress(ValueError):
            return clean_pin(pin)
