"""Read who requests a move of an order, and send its result."""

from typing import TypeVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from restaurant_system.models.access import Caller
from restaurant_system.models.order import Move
from restaurant_system.models.status import OrderStatus
from restaurant_system.web.json_body import JSON, read_optional_json

AnyMove = TypeVar("AnyMove", bound=Move)


class OrderMoved(BaseModel):
    """The response to a change of an order's status, or of its marks while it is ready."""

    order_number: str
    status: OrderStatus


async def read_move(request: Request, model: type[AnyMove]) -> AnyMove:
    """Read the body of a request, which is optional; raises `Refusal`."""
    return read_optional_json(request.headers.raw, await request.body(), model)


def is_by_person(caller: Caller, move: Move) -> bool:
    """Tell whether a person requests a move: by signing in, or by a program that says who it is.

    Without access control, everybody counts as a person.
    """
    return caller.name is None or caller.role is not None or move.changed_by is not None


def made_by(caller: Caller, move: AnyMove) -> AnyMove:
    """Return a move that a person makes by that person's name, whatever the body states.

    A program may state whom it acts for; otherwise it acts by the name of its API key.
    """
    if caller.name is None or (caller.role is None and move.changed_by is not None):
        return move
    return move.model_copy(update={"changed_by": caller.name})


def respond(answer: BaseModel, *, is_replayed: bool = False) -> Response:
    """Send an answer, and whether an earlier request with the same key had it first."""
    headers = {"Idempotency-Replayed": "true"} if is_replayed else None
    return Response(answer.model_dump_json(), headers=headers, media_type=JSON)
