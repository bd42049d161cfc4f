"""Signatures: the form that docs/asyncapi.yaml gives to other programs, and what it notices."""

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
from tests.support.messages import make_order_message

DOCUMENT = yaml.safe_load((Path(__file__).parents[2] / "docs/asyncapi.yaml").read_text("utf-8"))
EXAMPLE = DOCUMENT["components"]["schemas"]["signature"]["x-example"]

OLD, NEW = SecretStr("an old key, soon to be dropped"), SecretStr("a new key, fresh from the mint")

# To the second, in the years that AMQP's timestamps are good for.
MOMENTS = st.datetimes(datetime(1970, 1, 2), datetime(2105, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001 - strategies add the zone
    lambda moment: moment.replace(microsecond=0)
)
MESSAGES = st.builds(
    make_order_message,
    message_id=st.uuids(),
    timestamp=MOMENTS,
    body=st.binary(max_size=40),
)


def signed(message: Message, key: SecretStr = NEW) -> Message:
    """Sign a message."""
    return Signer([key]).sign(message)


def fault(message: Message, *keys: SecretStr) -> str:
    """Return what is said about a message that is refused."""
    with pytest.raises(MessageRejected) as refusal:
        Signer(keys or [NEW]).verify(message)
    return str(refusal.value)


def test_the_documents_example() -> None:
    """The example by which other programs check themselves is signed as the document says."""
    message = make_order_message(
        message_id=UUID(EXAMPLE["message_id"]),
        timestamp=datetime.fromtimestamp(EXAMPLE["timestamp"], UTC),
        body=EXAMPLE["body"].encode(),
    )

    assert signed(message, SecretStr(EXAMPLE["key"])).headers == {SIGNATURE: EXAMPLE["x-signature"]}


@given(message=MESSAGES)
def test_what_is_signed_is_accepted(message: Message) -> None:
    """Whoever knows the key accepts what was signed with it, and finds it unchanged."""
    genuine = signed(message)

    Signer([NEW]).verify(genuine)

    assert dataclasses.replace(genuine, headers={}) == message


@given(message=MESSAGES, changes=MESSAGES)
@pytest.mark.parametrize("field", ["message_id", "timestamp", "body"])
def test_a_change_is_noticed(field: str, message: Message, changes: Message) -> None:
    """A message whose id, time or body is another's is refused."""
    changed = dataclasses.replace(signed(message), **{field: getattr(changes, field)})

    if changed == signed(message):
        Signer([NEW]).verify(changed)
    else:
        assert fault(changed) == "the signature is wrong"


@given(message=MESSAGES, moved=st.integers(1, 20))
def test_nothing_slips_from_one_field_into_the_next(message: Message, moved: int) -> None:
    """Digits that leave the time for the body, with the line feed or without, are noticed."""
    seconds = int(message.timestamp.timestamp())
    fewer = datetime.fromtimestamp(seconds // 10, UTC)
    digit = str(seconds % 10).encode()

    for body in (digit + message.body, digit + b"\n" + message.body, message.body[moved:]):
        forged = dataclasses.replace(signed(message), timestamp=fewer, body=body)
        assert fault(forged) == "the signature is wrong"


@given(message=MESSAGES, microseconds=st.integers(0, 999_999))
def test_parts_of_a_second_do_not_count(message: Message, microseconds: int) -> None:
    """What AMQP cuts off a timestamp is not signed: both brokers carry the signature."""
    exact = dataclasses.replace(
        message, timestamp=message.timestamp + timedelta(microseconds=microseconds)
    )

    assert signed(exact).headers == signed(message).headers


@given(message=MESSAGES, key=st.text(min_size=16, max_size=40))
def test_another_key_is_noticed(message: Message, key: str) -> None:
    """Who does not know the key cannot sign."""
    assert fault(signed(message, SecretStr(key + "?"))) == "the signature is wrong"


@pytest.mark.parametrize("stated", ["", "no hex", "ü", "0" * 64, 7, "\ud800"])
def test_what_is_no_signature_is_wrong(stated: str | int) -> None:
    """Whatever stands in the header, it is compared, and nothing breaks."""
    assert fault(make_order_message(headers={SIGNATURE: stated})) == "the signature is wrong"


def test_a_message_without_a_signature_is_refused() -> None:
    """Where there are keys, a signature is not optional."""
    assert fault(make_order_message()) == "the signature is missing"


def test_keys_are_rotated() -> None:
    """The first key signs, each is accepted; one that was dropped is not."""
    before, after = Signer([OLD, NEW]), Signer([NEW, OLD])
    order = make_order_message()

    after.verify(before.sign(order))
    before.verify(after.sign(order))

    assert after.sign(order) == signed(order, NEW)
    assert fault(before.sign(order), NEW) == "the signature is wrong"


def test_to_sign_is_to_vouch() -> None:
    """A signature that is there, wrong or of an older key, gives way; other headers stay."""
    order = make_order_message(headers={SIGNATURE: "forged", "x-attempts": 2})

    Signer([NEW]).verify(Signer([NEW]).sign(order))

    assert Signer([NEW]).sign(order).headers["x-attempts"] == 2


def test_without_keys_nothing_is_signed_and_nothing_checked() -> None:
    """Signatures are for those who want them."""
    forged = make_order_message(headers={SIGNATURE: "forged"})

    Signer().verify(forged)
    Signer().verify(make_order_message())

    assert Signer().sign(forged) == forged


def test_keys_are_not_shown() -> None:
    """No repr of what holds a key tells it."""
    assert OLD.get_secret_value() not in repr(vars(Signer([OLD])))
