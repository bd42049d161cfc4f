"""How platforms prove that they have sent a body."""

import base64
import hashlib
import hmac
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from restaurant_system.integrations.platform import ReadOrder, interpret
from restaurant_system.integrations.registry import platforms
from restaurant_system.integrations.signatures import (
    BodyHmac,
    Signature,
    SignatureInvalid,
    TimestampedHmac,
    Token,
    verify,
)
from restaurant_system.models.currency import Currency
from tests.support.payloads import PLATFORMS, SECRET, parse, signed

NOW = datetime(2026, 11, 28, 20, 0, tzinfo=UTC)
BODY = b'{"timestamp": "2026-11-28T19:59:58.500Z", "details": {"order": {}}}'
# Of OpenSSL: printf '%s' BODY | openssl dgst -sha256 -hmac SECRET
DIGEST = bytes.fromhex("8ed6fe586c1051258e8de20f0e34bb12b6d1739a3403d4e13525153feb85a5e5")


def is_valid(signature: Signature, value: str, body: bytes = BODY, *, secret: str = SECRET) -> bool:
    """Tell whether the value of a header is valid for a body."""
    try:
        signature.verify(value, body, secret, now=NOW)
    except SignatureInvalid:
        return False
    return True


@pytest.mark.parametrize("platform", PLATFORMS)
def test_platform_signs_as_it_documents(platform: str) -> None:
    signature = platforms()[platform].signature

    headers = {name.lower(): value for name, value in signed(platform, BODY).items()}
    of_others = {name.lower(): value for name, value in signed(platform, BODY, "other").items()}

    assert is_valid(signature, headers[signature.header])
    assert not is_valid(signature, of_others[signature.header])


def test_documented_example_is_signed_as_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "integrations.md").read_text()
    (body,) = re.findall(r"body='(\{\"_id\".*)'", text)
    (secret,) = re.findall(r"secret=(\S+)", text)
    (signature,) = re.findall(r"`([0-9a-f]{64})`", text)

    deliverect = platforms()["deliverect"]

    assert is_valid(deliverect.signature, signature, body.encode(), secret=secret)
    assert isinstance(interpret(deliverect, parse(body.encode()), Currency("EUR")), ReadOrder)


@pytest.mark.parametrize("value", [DIGEST.hex(), DIGEST.hex().upper(), base64.b64encode(DIGEST)])
def test_hmac_may_be_in_hexadecimal_or_base64(value: str | bytes) -> None:
    text = value if isinstance(value, str) else value.decode()

    assert is_valid(BodyHmac("x"), text)


@pytest.mark.parametrize(
    "value",
    ["", " ", "sha256=", DIGEST.hex()[:-1], DIGEST.hex() + "00", "é" * 64, "====", SECRET],
)
def test_text_that_is_not_the_hmac_is_refused(value: str) -> None:
    assert not is_valid(BodyHmac("x"), value)
    assert not is_valid(TimestampedHmac("x"), value)


def test_hmac_is_of_every_byte_of_the_body() -> None:
    assert not is_valid(BodyHmac("x"), DIGEST.hex(), BODY + b" ")


def timestamped(body: bytes, timestamp: bytes) -> str:
    """Sign a body and its timestamp as Toast does."""
    digest = hmac.new(SECRET.encode(), body + timestamp, hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


@pytest.mark.parametrize(
    ("age", "result"),
    [
        (timedelta(0), "valid"),
        (timedelta(hours=23), "valid"),
        (timedelta(hours=25), "refused"),
        (timedelta(minutes=-4), "valid"),
        (timedelta(minutes=-6), "refused"),
    ],
)
def test_old_message_is_refused_although_its_signature_is_right(
    age: timedelta, result: str
) -> None:
    timestamp = (NOW - age).isoformat().encode()
    body = b'{"timestamp": "%b"}' % timestamp

    assert is_valid(TimestampedHmac("x"), timestamped(body, timestamp), body) is (result == "valid")


def test_either_of_two_secrets_may_sign() -> None:
    digest, secrets = DIGEST.hex(), ["another-secret-of-tests", SECRET]

    for valid in (secrets, secrets[::-1]):
        verify(BodyHmac("x"), digest, BODY, valid, now=NOW)
    for invalid in (secrets[:1], []):
        with pytest.raises(SignatureInvalid, match="does not match"):
            verify(BodyHmac("x"), digest, BODY, invalid, now=NOW)


def test_old_message_is_called_old_whichever_secret_has_signed_it() -> None:
    body = b'{"timestamp": "2026-11-20T19:00:00Z"}'
    signature = timestamped(body, b"2026-11-20T19:00:00Z")

    for secrets in ([SECRET, "another"], ["another", SECRET]):
        with pytest.raises(SignatureInvalid, match="24 hours ago"):
            verify(TimestampedHmac("x"), signature, body, secrets, now=NOW)


def test_timestamp_is_found_after_others_that_are_not_signed() -> None:
    body = b'{"a": {"timestamp": "2020-01-01T00:00:00Z"}, "timestamp": "2026-11-28T19:00:00+0000"}'

    assert is_valid(TimestampedHmac("x"), timestamped(body, b"2026-11-28T19:00:00+0000"), body)


@pytest.mark.parametrize("timestamp", [b"", b"yesterday", b"\xff"])
def test_signed_text_that_is_no_time_is_refused(timestamp: bytes) -> None:
    body = b'{"timestamp": "%b"}' % timestamp

    assert not is_valid(TimestampedHmac("x"), timestamped(body, timestamp), body)


@pytest.mark.parametrize("value", [SECRET, f"Bearer {SECRET}", f"bearer  {SECRET} "])
def test_token_may_stand_alone_or_after_bearer(value: str) -> None:
    assert is_valid(Token(), value)
    assert not is_valid(Token(), value, secret=SECRET + "x")
