"""Publish many messages at once, each confirmed.

aiormq publishes one message a call, with a task, a lock and several futures for each. Here a batch
is written as one piece; aiormq matches confirmations to messages as for its own, by the channel's
`delivery_tag`, `confirmations` and `message_id_delivery_tag`.
"""

import asyncio
from collections.abc import Iterator, Sequence
from uuid import UUID

import aiormq
from aiormq.abc import ChannelFrame

from restaurant_system.messaging import topology
from restaurant_system.messaging.broker import Refused, unroutable
from restaurant_system.messaging.rabbitmq.message_format import INEXPRESSIBLE, frames_of
from restaurant_system.models.message import Message

Confirmation = asyncio.Future[object]


class Publisher:
    """Publishes on one channel, for any number of callers at once.

    Of publications with one message id, one at a time is in flight: aiormq finds the delivery tag
    of a returned message by its message id, and would take one for the other.
    """

    def __init__(self, channel: aiormq.Channel) -> None:
        self.channel = channel
        self._in_flight: dict[UUID, asyncio.Future[None]] = {}

    async def publish(self, messages: Sequence[Message]) -> list[Refused]:
        """Publish messages in this order; return, once all are confirmed, those that were refused.

        Raises what `translate_errors` knows when the channel closes before.
        """
        refused = []
        for batch in _with_distinct_ids(messages):
            while others := [
                self._in_flight[each.message_id]
                for each in batch
                if each.message_id in self._in_flight
            ]:
                await asyncio.wait(others)
            refused += await self._publish_distinct(batch)
        return refused

    async def _publish_distinct(self, messages: Sequence[Message]) -> list[Refused]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._in_flight.update((each.message_id, done) for each in messages)
        try:
            return await _publish(self.channel, messages)
        finally:
            for each in messages:
                del self._in_flight[each.message_id]
            done.set_result(None)


def _with_distinct_ids(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """Cut messages into batches, in order, none of which has two of one message id."""
    batch: dict[UUID, Message] = {}
    for message in messages:
        if message.message_id in batch:
            yield list(batch.values())
            batch = {}
        batch[message.message_id] = message
    if batch:
        yield list(batch.values())


async def _publish(channel: aiormq.Channel, messages: Sequence[Message]) -> list[Refused]:
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
        except INEXPRESSIBLE as error:  # or its exchange is unknown
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
            return unroutable(message)
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
        # If it ends with an error after that, asyncio logs one that nobody has retrieved.
        answered.add_done_callback(_retrieve)
        answered.cancel()
        closing.cancel()


def _retrieve(answered: "asyncio.Future[list[object]]") -> None:
    if not answered.cancelled():
        answered.exception()
