"""Signatures: who knows the key has sent this message, and nobody has changed it since.

What is signed is the same on either broker and at every redelivery: ``message_id`` (a UUID in lower
case, with hyphens), a line feed, ``timestamp`` (whole seconds since 1970, in decimal digits, for
AMQP carries no more), a line feed, the body as it is. Neither of the first two can hold a line
feed, so no two messages read the same.
"""

import dataclasses
import hmac
from collections.abc import Sequence

from pydantic import SecretStr

from restaurant_system.errors import MessageRejected
from restaurant_system.models.message import Message

SIGNATURE = "x-signature"


class Signer:
    """Signs with the first of its keys, and accepts any of them.

    Without keys it signs nothing and accepts everything.
    """

    def __init__(self, keys: Sequence[SecretStr] = ()) -> None:
        self._keys = tuple(keys)

    def sign(self, message: Message) -> Message:
        """Vouch for a message: return it with our signature, in place of any that it had."""
        if not self._keys:
            return message
        signature = _signature(message, self._keys[0])
        return dataclasses.replace(message, headers={**message.headers, SIGNATURE: signature})

    def verify(self, message: Message) -> None:
        """Raise `MessageRejected` unless the message is signed with one of our keys."""
        if not self._keys:
            return
        stated = message.headers.get(SIGNATURE)
        if stated is None:
            raise MessageRejected("the signature is missing")
        given = str(stated).encode(errors="replace")
        genuine = [
            hmac.compare_digest(given, _signature(message, key).encode()) for key in self._keys
        ]
        if not any(genuine):
            raise MessageRejected("the signature is wrong")


UNSIGNED = Signer()  # for a restaurant that has no keys


def _signature(message: Message, key: SecretStr) -> str:
    return hmac.digest(key.get_secret_value().encode(), _signed(message), "sha256").hex()


def _signed(message: Message) -> bytes:
    """Return what is signed of a message, in the one form that there is for it."""
    seconds = int(message.timestamp.timestamp())
    return f"{message.message_id}\n{seconds}\n".encode() + message.body
