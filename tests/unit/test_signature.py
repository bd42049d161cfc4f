"""Signing and verification, as docs/asyncapi.yaml specifies them."""

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from restaurant_system.errors import MessageRejected
from restaurant_system.messaging.signature import SIGNATURE, Signer
from restaurant_system.models.message import Message
from tests.support.messages import make_order_message, make_status_update

DOCUMENT = yaml.safe_load((Path(__file__).parents[2] / "docs/asyncapi.yaml").read_text("utf-8"))
EXAMPLE = DOCUMENT["components"]["schemas"]["signature"]["x-example"]

OLD, NEW = SecretStr("an old key, soon to be dropped"), SecretStr("a new key, just generated")

# In whole seconds, within the range of AMQP timestamps.
TIMES = st.datetimes(datetime(1970, 1, 2), datetime(2105, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001 - strategies add the zone
    lambda time: time.replace(microsecond=0)
)
MESSAGES = st.builds(
    make_order_message,
    type=st.sampled_from(["order.received", "order.status_changed", ""]),
    message_id=st.uuids(),
    timestamp=TIMES,
    body=st.binary(max_size=40),
)


def signed(message: Message, key: SecretStr = NEW) -> Message:
    """Return a signed message."""
    return Signer([key]).sign(message)


def fault(message: Message, *keys: SecretStr) -> str:
    """Return the reason for which a message's signature is rejected."""
    with pytest.raises(MessageRejected) as rejection:
        Signer(keys or [NEW]).verify(message)
    return str(rejection.value)


def test_signature_of_the_documented_example_is_correct() -> None:
    message = make_order_message(
        type=EXAMPLE["type"],
        message_id=UUID(EXAMPLE["message_id"]),
        timestamp=datetime.fromtimestamp(EXAMPLE["timestamp"], UTC),
        body=EXAMPLE["body"].encode(),
    )

    assert signed(message, SecretStr(EXAMPLE["key"])).headers == {SIGNATURE: EXAMPLE["x-signature"]}


@given(message=MESSAGES)
def test_signed_message_is_accepted_and_otherwise_unchanged(message: Message) -> None:
    correct = signed(message)

    Signer([NEW]).verify(correct)

    assert dataclasses.replace(correct, headers={}) == message


@given(message=MESSAGES, changes=MESSAGES)
@pytest.mark.parametrize("field", ["type", "message_id", "timestamp", "body"])
def test_changed_field_makes_the_signature_wrong(
    field: str, message: Message, changes: Message
) -> None:
    changed = dataclasses.replace(signed(message), **{field: getattr(changes, field)})

    if changed == signed(message):
        Signer([NEW]).verify(changed)
    else:
        assert fault(changed) == "the signature is wrong"


@given(message=MESSAGES, moved=st.integers(1, 20))
def test_bytes_moved_between_fields_make_the_signature_wrong(message: Message, moved: int) -> None:
    seconds = int(message.timestamp.timestamp())
    fewer = datetime.fromtimestamp(seconds // 10, UTC)
    digit = str(seconds % 10).encode()

    for body in (digit + message.body, digit + b"\n" + message.body, message.body[moved:]):
        forged = dataclasses.replace(signed(message), timestamp=fewer, body=body)
        assert fault(forged) == "the signature is wrong"


@given(message=MESSAGES, microseconds=st.integers(0, 999_999))
def test_microseconds_are_not_signed(message: Message, microseconds: int) -> None:
    """AMQP timestamps have whole seconds."""
    exact = dataclasses.replace(
        message, timestamp=message.timestamp + timedelta(microseconds=microseconds)
    )

    assert signed(exact).headers == signed(message).headers


@given(message=MESSAGES, key=st.text(min_size=16, max_size=40))
def test_signature_with_another_key_is_wrong(message: Message, key: str) -> None:
    assert fault(signed(message, SecretStr(key + "?"))) == "the signature is wrong"


@pytest.mark.parametrize("header", ["", "no hex", "ü", "0" * 64, 7, "\ud800"])
def test_malformed_signature_is_wrong(header: str | int) -> None:
    assert fault(make_order_message(headers={SIGNATURE: header})) == "the signature is wrong"


def test_message_without_a_signature_is_refused() -> None:
    assert fault(make_order_message()) == "the signature is missing"


def test_first_key_signs_and_every_key_verifies() -> None:
    """A removed key no longer verifies messages."""
    before, after = Signer([OLD, NEW]), Signer([NEW, OLD])
    order = make_order_message()

    after.verify(before.sign(order))
    before.verify(after.sign(order))

    assert after.sign(order) == signed(order, NEW)
    assert fault(before.sign(order), NEW) == "the signature is wrong"


def test_signing_replaces_a_signature_and_keeps_other_headers() -> None:
    order = make_order_message(headers={SIGNATURE: "forged", "x-attempts": 2})

    Signer([NEW]).verify(Signer([NEW]).sign(order))

    assert Signer([NEW]).sign(order).headers["x-attempts"] == 2


def test_without_keys_messages_are_neither_signed_nor_verified() -> None:
    forged = make_order_message(headers={SIGNATURE: "forged"})

    Signer().verify(forged)
    Signer().verify(make_order_message())

    assert Signer().sign(forged) == forged


def test_signing_keys_are_not_in_the_repr() -> None:
    assert OLD.get_secret_value() not in repr(vars(Signer([OLD])))


def test_signed_message_of_another_type_is_refused() -> None:
    """A captured update that is copied into a queue of the kitchen, for example."""
    update = signed(make_order_message(type="order.status_changed"))

    with pytest.raises(MessageRejected, match=r"its type is not order\.received"):
        Signer([NEW]).verify(update, "order.received")


def test_status_update_that_is_too_old_is_refused_until_it_is_renewed() -> None:
    """A captured one is still signed. An order may wait for as long as it does."""
    now = datetime(2024, 12, 16, 12, 0, tzinfo=UTC)
    signer = Signer([NEW], timedelta(hours=1), lambda: now)
    fresh = signer.sign(make_status_update(timestamp=now - timedelta(hours=1)))
    old = signer.sign(make_status_update(timestamp=now - timedelta(hours=1, seconds=1)))

    signer.verify(fresh)
    signer.verify(signer.sign(make_order_message(timestamp=now - timedelta(days=9))))
    with pytest.raises(MessageRejected, match=r"older than signing\.max_update_age_hours"):
        signer.verify(old)
    signer.verify(signer.renew(old))
    assert signer.renew(fresh) == fresh
    Signer((), timedelta(hours=1), lambda: now).verify(old)


def test_type_with_a_line_feed_is_refused() -> None:
    """It could move bytes between the type and the id."""
    assert fault(signed(make_order_message(type="order\nreceived"))) == "the signature is wrong"
