"""The HTTP routes of dead letters, which do what the commands `dead-letters` do."""

from http import HTTPStatus
from typing import Annotated, Literal
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel
from starlette.requests import Request

from restaurant_system.database.connection import Database
from restaurant_system.error_texts import ErrorText
from restaurant_system.messaging import dead_letters
from restaurant_system.messaging.broker import Broker
from restaurant_system.messaging.dead_letters import All, ById, DeadLetter, Record, Result
from restaurant_system.messaging.signature import Signer
from restaurant_system.models.access import Capability
from restaurant_system.models.audit import AuditAction
from restaurant_system.models.clock import rfc_3339
from restaurant_system.models.fields import StrictModel
from restaurant_system.services.order.dead_letter_requests import MAX_LETTERS, DeadLetterRequests
from restaurant_system.web.actors import administrator_of
from restaurant_system.web.api import Feature
from restaurant_system.web.guarded_router import GuardedRouter
from restaurant_system.web.json_body import read_body
from restaurant_system.web.openapi import DEAD_LETTER_PROBLEMS, request_body
from restaurant_system.web.problem import Refusal

MAX_PAGE = 200


class AllDeadLetters(StrictModel):
    """The body that selects all dead letters there are."""

    all: Literal[True]


class DeadLetterEntry(BaseModel):
    """A dead letter; what its headers do not say is empty."""

    id: str
    first_seen: str
    order_number: str
    queue: str
    attempts: str
    reason: str


class DeadLetterDetails(DeadLetterEntry):
    """A dead letter with its properties, headers and body; each invalid byte is escaped."""

    exchange: str
    routing_key: str
    type: str
    request_id: str
    sent_by: str
    sent_at: str
    priority: int
    content_type: str
    headers: dict[str, str | int]
    body: str


class DeadLettersResponse(BaseModel):
    """Dead letters, the oldest first, and how many there are in all."""

    dead_letters: list[DeadLetterEntry]
    count: int


class DeadLetterResponse(BaseModel):
    """The copies of a dead letter, from several queues."""

    copies: list[DeadLetterDetails]


class RefusedLetter(BaseModel):
    """A dead letter that cannot be requeued, and why."""

    id: str
    reason: str


class RequeuedResponse(BaseModel):
    """How many dead letters were requeued, and which stay.

    The `unverified` ones have no valid signature, or are too old; requeue each by its id.
    """

    requeued: int
    refused: list[RefusedLetter]
    unverified: int


class DiscardedResponse(BaseModel):
    """How many dead letters were discarded."""

    discarded: int


class DeadLetterHandler:
    """Lists, shows, requeues and discards dead letters for managers."""

    def __init__(
        self, database: Database, broker: Broker, signer: Signer, requests: DeadLetterRequests
    ) -> None:
        self._database = database
        self._broker = broker
        self._signer = signer
        self._requests = requests

    def feature(self) -> Feature:
        """Return the routes of dead letters."""
        router = GuardedRouter(tags=["dead letters"])
        for path, endpoint, summary in (
            ("", self.list_letters, "Dead letters, the oldest first"),
            ("/{letter_id}", self.show, "A dead letter with its headers and body"),
        ):
            router.add_api_route(
                f"/dead-letters{path}",
                endpoint,
                methods=["GET"],
                requires=Capability.ADMINISTER,
                summary=summary,
                operation_id="dead_letter" if path else "dead_letters",
                responses=DEAD_LETTER_PROBLEMS,
            )
        for action, one, every, summary in (
            ("requeue", self.requeue, self.requeue_all, "Publish as if new"),
            ("discard", self.discard, self.discard_all, "Delete for good"),
        ):
            router.add_api_route(
                f"/dead-letters/{{letter_id}}/{action}",
                one,
                methods=["POST"],
                requires=Capability.ADMINISTER,
                summary=f"{summary}: one dead letter",
                operation_id=f"{action}_dead_letter",
                responses=DEAD_LETTER_PROBLEMS,
            )
            router.add_api_route(
                f"/dead-letters/{action}",
                every,
                methods=["POST"],
                requires=Capability.ADMINISTER,
                summary=f"{summary}: all dead letters",
                operation_id=f"{action}_dead_letters",
                responses=DEAD_LETTER_PROBLEMS,
                openapi_extra=request_body(AllDeadLetters),
            )
        return Feature(router)

    async def list_letters(
        self,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
        offset: Annotated[int, Query(ge=0, le=MAX_LETTERS)] = 0,
    ) -> DeadLettersResponse:
        """Return a page of the dead letters."""

        async def count_and_read() -> tuple[int, list[DeadLetter]]:
            count = await self._requests.count()
            return count, await dead_letters.read(self._broker, limit=offset + limit)

        count, letters = await self._requests.run(count_and_read)
        entries = [DeadLetterEntry(**_fields(each)) for each in letters[offset:]]
        return DeadLettersResponse(dead_letters=entries, count=count)

    async def show(self, letter_id: UUID) -> DeadLetterResponse:
        """Return a dead letter."""
        letters = await self._requests.run_on_all(lambda: dead_letters.read(self._broker))
        copies = ById([str(letter_id)]).select(letters)
        return DeadLetterResponse(copies=[_details(each) for each in copies])

    async def requeue(self, letter_id: UUID, request: Request) -> RequeuedResponse:
        """Requeue a dead letter, and vouch for it; refuse if no copy of it can be."""
        response = await self._requeue(request, ById([str(letter_id)]))
        if response.refused and not response.requeued:
            message = f"It stays a dead letter: {response.refused[0].reason}."
            raise Refusal(HTTPStatus.CONFLICT, ErrorText(message, "dead_letter_kept"))
        return response

    async def discard(self, letter_id: UUID, request: Request) -> DiscardedResponse:
        """Discard a dead letter."""
        return await self._discard(request, ById([str(letter_id)]))

    async def requeue_all(self, request: Request) -> RequeuedResponse:
        """Requeue all dead letters whose signatures are valid."""
        await read_body(request, AllDeadLetters)
        return await self._requeue(request, All())

    async def discard_all(self, request: Request) -> DiscardedResponse:
        """Discard all dead letters."""
        await read_body(request, AllDeadLetters)
        return await self._discard(request, All())

    async def _requeue(self, request: Request, selection: ById | All) -> RequeuedResponse:
        record = self._recorder(request, AuditAction.REQUEUE_DEAD_LETTER)
        result = await self._requests.run_on_all(
            lambda: dead_letters.requeue(
                self._broker, self._signer, selection, Result(), record=record
            )
        )
        refused = [
            RefusedLetter(id=str(each.message.message_id), reason=each.reason)
            for each in result.refused
        ]
        return RequeuedResponse(requeued=result.done, refused=refused, unverified=result.unverified)

    async def _discard(self, request: Request, selection: ById | All) -> DiscardedResponse:
        record = self._recorder(request, AuditAction.DISCARD_DEAD_LETTER)
        result = await self._requests.run_on_all(
            lambda: dead_letters.discard(self._broker, selection, Result(), record=record)
        )
        return DiscardedResponse(discarded=result.done)

    def _recorder(self, request: Request, action: AuditAction) -> Record:
        by, request_id = administrator_of(request), request.scope["request_id"]
        return dead_letters.recorder(self._database, action, by, request_id)


def _fields(letter: DeadLetter) -> dict[str, str]:
    return {name: getattr(letter, name) for name in DeadLetterEntry.model_fields}


def _details(letter: DeadLetter) -> DeadLetterDetails:
    message = letter.message
    return DeadLetterDetails(
        **_fields(letter),
        exchange=letter.exchange,
        routing_key=letter.routing_key,
        type=message.type,
        request_id=message.correlation_id,
        sent_by=message.app_id,
        sent_at=rfc_3339(message.timestamp),
        priority=message.priority,
        content_type=message.content_type,
        headers=dict(message.headers),
        body=message.body.decode(errors="backslashreplace"),
    )
