"""Publishing many messages at once, each confirmed.

aiormq publishes one message a call, with a task, a lock and several futures for each. Here a batch
is written as one piece; aiormq matches confirmations to messages as for its own, by the channel's
books: `delivery_tag`, `confirmations`, `message_id_delivery_tag`.
"""

import asyncio
from collections.abc import Sequence

import aiormq
from aiormq.abc import ChannelFrame

from restaurant_system.messaging import topology
from restaurant_system.messaging.broker import Refused, nowhere
from restaurant_system.messaging.rabbitmq.wire import INEXPRESSIBLE, frames_of
from restaurant_system.models.message import Message

Confirmation = asyncio.Future[object]


async def publish(channel: aiormq.Channel, messages: Sequence[Message]) -> list[Refused]:
    """Publish messages in this order; return, once all are confirmed, those that were refused.

    Raises what `away_as_unavailable` knows when the channel closes before.
    """
    written, frames, refused = _expressed(channel, messages)
    if not written:
        return refused
    async with channel.lock:
        await channel.write_queue.put(ChannelFrame(payload=frames, should_close=False))
        confirmations = [_enter(channel, message) for message in written]
    try:
        answers = await _answers(channel, confirmations)
    finally:
        for message in written:
            channel.message_id_delivery_tag.pop(str(message.message_id), None)
    reasons = [_reason(message, answer) for message, answer in zip(written, answers, strict=True)]
    refused += [
        Refused(message, reason)
        for message, reason in zip(written, reasons, strict=True)
        if reason is not None
    ]
    return refused


def _expressed(
    channel: aiormq.Channel, messages: Sequence[Message]
) -> tuple[list[Message], bytes, list[Refused]]:
    """Return the messages that AMQP can express, their frames, and the others."""
    written, frames, refused = [], [], []
    for message in messages:
        try:
            frame = frames_of(
                message,
                channel.number,
                mandatory=topology.exchange(message.exchange).mandatory,
                largest=channel.max_content_size,
            )
        except INEXPRESSIBLE as error:  # or it goes nowhere that we know
            refused.append(Refused(message, str(error)))
        else:
            written.append(message)
            frames.append(frame)
    return written, b"".join(frames), refused


def _enter(channel: aiormq.Channel, message: Message) -> Confirmation:
    """Enter a message that was just written, in its turn, in the channel's books."""
    confirmation: Confirmation = channel.loop.create_future()
    channel.delivery_tag += 1
    channel.confirmations[channel.delivery_tag] = confirmation
    channel.message_id_delivery_tag[str(message.message_id)] = channel.delivery_tag
    return confirmation


def _reason(message: Message, answer: object) -> str | None:
    """Return why the broker refused a message, `None` if it is confirmed."""
    match answer:
        case aiormq.PublishError():
            return nowhere(message)
        case aiormq.DeliveryError():
            return "the broker answered with a nack"
        case BaseException():
            raise answer
        case _:
            return None


async def _answers(
    channel: aiormq.Channel, confirmations: Sequence[Confirmation]
) -> Sequence[object]:
    """Wait until each is answered; return the answers, refusals among them."""
    answered = asyncio.gather(*confirmations, return_exceptions=True)
    closing = channel.closing
    try:
        await asyncio.wait({answered, closing}, return_when=asyncio.FIRST_COMPLETED)
        if not answered.done():
            raise aiormq.ChannelInvalidStateError("the channel closed")
        return await answered
    finally:
        answered.cancel()
        closing.cancel()
