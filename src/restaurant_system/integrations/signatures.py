"""Verify that a platform has sent a body: by a signature over its bytes, or by a token.

Signatures and tokens are compared in constant time.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

HEX = re.compile(r"[0-9A-Fa-f]{64}")
TIMESTAMP = re.compile(rb'"timestamp"\s*:\s*"([^"\\]{1,40})"')
MAX_TIMESTAMPS = 20  # fields of that name in one body that may be the signed one
MAX_AGE = timedelta(hours=24)  # a platform sends a message again for hours
MAX_CLOCK_SKEW = timedelta(minutes=5)
BEARER = "bearer "


class SignatureInvalid(Exception):
    """A signature or token is wrong, or too old; the text may be published."""


class SignatureMismatch(SignatureInvalid):
    """A signature or token was not made with this secret."""

    def __init__(self, header: str) -> None:
        super().__init__(
            f"The value of {header} does not match the body and the secret that is configured here;"
            " compare the secret with that of the platform."
        )


class Signature(Protocol):
    """How a platform proves that it has sent a body."""

    @property
    def header(self) -> str:
        """The name of the header field with the signature or token, in lower case."""

    def verify(self, value: str, body: bytes, secret: str, *, now: datetime) -> None:
        """Verify the value of the header field; raises `SignatureInvalid`."""


def verify(
    signature: Signature, value: str, body: bytes, secrets: Iterable[str], *, now: datetime
) -> None:
    """Verify the value of a header field by any of several secrets; raises `SignatureInvalid`."""
    for secret in secrets:
        try:
            return signature.verify(value, body, secret, now=now)
        except SignatureMismatch:
            continue
    raise SignatureMismatch(signature.header)


@dataclass(frozen=True, slots=True)
class BodyHmac:
    """The HMAC-SHA256 of the body, in hexadecimal or Base64."""

    header: str

    def verify(self, value: str, body: bytes, secret: str, *, now: datetime) -> None:  # noqa: ARG002 - of the protocol
        """Verify the HMAC."""
        if not hmac.compare_digest(_digest_in(value), _hmac(secret, body).digest()):
            raise SignatureMismatch(self.header)


@dataclass(frozen=True, slots=True)
class TimestampedHmac:
    """The HMAC-SHA256 of the body followed by its field `timestamp`, which limits its age."""

    header: str

    def verify(self, value: str, body: bytes, secret: str, *, now: datetime) -> None:
        """Verify the HMAC and the age."""
        signed, digest = _hmac(secret, body), _digest_in(value)
        for match in list(TIMESTAMP.finditer(body))[:MAX_TIMESTAMPS]:
            candidate = signed.copy()
            candidate.update(match[1])
            if hmac.compare_digest(digest, candidate.digest()):
                self._check_age(match[1].decode("ascii", "replace"), now)
                return
        raise SignatureMismatch(self.header)

    def _check_age(self, timestamp: str, now: datetime) -> None:
        try:
            sent = datetime.fromisoformat(timestamp)
        except ValueError:
            raise SignatureInvalid("The timestamp of the message is no time.") from None
        age = now - (sent if sent.tzinfo else sent.replace(tzinfo=UTC))
        if not -MAX_CLOCK_SKEW <= age <= MAX_AGE:
            raise SignatureInvalid(
                f"The message was signed more than {MAX_AGE.total_seconds() / 3600:.0f} hours ago,"
                " or in the future; check the clock of this machine."
            )


@dataclass(frozen=True, slots=True)
class Token:
    """A secret that the platform sends as it is, alone or after `Bearer`."""

    header: str = "authorization"

    def verify(self, value: str, body: bytes, secret: str, *, now: datetime) -> None:  # noqa: ARG002 - of the protocol
        """Compare the token with the secret."""
        token = value[len(BEARER) :] if value[: len(BEARER)].lower() == BEARER else value
        # Hashes of equal length, so that the time of the comparison does not tell the length.
        given, expected = (hashlib.sha256(each.strip().encode()) for each in (token, secret))
        if not hmac.compare_digest(given.digest(), expected.digest()):
            raise SignatureMismatch(self.header)


def _hmac(secret: str, body: bytes) -> hmac.HMAC:
    return hmac.new(secret.encode(), body, hashlib.sha256)


def _digest_in(value: str) -> bytes:
    """Return the digest in a header field; an empty one, which equals no digest, if it is none."""
    value = value.strip()
    if HEX.fullmatch(value):
        return bytes.fromhex(value)
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return b""
