"""Sign messages with HMAC-SHA256 and verify their origin and integrity.

The signed bytes are the same with both brokers and at every redelivery: ``type``, a line feed,
``message_id`` (a UUID in lower case, with hyphens), a line feed, ``timestamp`` (whole seconds since
1970 in decimal digits, the precision of AMQP), a line feed, and the body. Only types without a line
feed are accepted, and neither id nor timestamp contains one, so the signed bytes of different
messages differ.

No header is signed. The trace context in particular is new at each publication, and decides
nothing: a forged one puts spans into another trace.
"""

import dataclasses
import hmac
from collections.abc import Sequence
from datetime import timedelta

from pydantic import SecretStr

from restaurant_system.errors import MessageRejected
from restaurant_system.models.clock import Clock, utc_now
from restaurant_system.models.message import Message, StatusChanged

SIGNATURE = "x-signature"


class Signer:
    """Signs with the first key, and accepts signatures of every key.

    It refuses status updates whose timestamp is older than `max_update_age`: a third party may have
    published a copy again, whose signature is valid. Without keys it does not sign, and accepts
    every message.
    """

    def __init__(
        self,
        keys: Sequence[SecretStr] = (),
        max_update_age: timedelta = timedelta.max,
        clock: Clock = utc_now,
    ) -> None:
        self._keys = tuple(keys)
        self._max_update_age = max_update_age
        self._clock = clock

    def sign(self, message: Message) -> Message:
        """Return the message with a signature, which replaces any that it had."""
        if not self._keys:
            return message
        signature = _signature(message, self._keys[0])
        return dataclasses.replace(message, headers={**message.headers, SIGNATURE: signature})

    def renew(self, message: Message) -> Message:
        """Return the message, signed by somebody who vouches for it.

        A status update that is too old gets the present time, because it would be refused again.
        """
        if self._keys and self._is_too_old(message):
            message = dataclasses.replace(message, timestamp=self._clock())
        return self.sign(message)

    def verify(self, message: Message, expected_type: str | None = None) -> None:
        """Raise `MessageRejected` unless the message is signed with one of the keys.

        Raises it also for a signed message of another type than `expected_type`, if that is given,
        and for a status update that is too old.
        """
        if not self._keys:
            return
        header = message.headers.get(SIGNATURE)
        if header is None:
            raise MessageRejected("the signature is missing")
        signature = str(header).encode(errors="replace")
        matches = [
            hmac.compare_digest(signature, _signature(message, key).encode()) for key in self._keys
        ]
        if not any(matches) or "\n" in message.type:
            raise MessageRejected("the signature is wrong")
        if expected_type not in {None, message.type}:
            raise MessageRejected(f"its type is not {expected_type}")
        if self._is_too_old(message):
            raise MessageRejected("it is older than signing.max_update_age_hours")

    def _is_too_old(self, message: Message) -> bool:
        age = self._clock() - message.timestamp
        return message.type == StatusChanged.TYPE and age > self._max_update_age


UNSIGNED = Signer()  # without keys


def _signature(message: Message, key: SecretStr) -> str:
    return hmac.digest(key.get_secret_value().encode(), _signed_bytes(message), "sha256").hex()


def _signed_bytes(message: Message) -> bytes:
    seconds = int(message.timestamp.timestamp())
    head = f"{message.type}\n{message.message_id}\n{seconds}\n"
    return head.encode(errors="replace") + message.body
