"""Hot roads: the few that are driven most, from the line to the endpoint and back without a stop.

uvicorn's cycle, ASGI, our middleware, Starlette's routing and FastAPI stand between a line and an
ordinary endpoint, and cost several times what a look-up itself does. The endpoint of a hot road is
called with what was read, and what it finds is written by the road. `line.py` goes this way with
ordinary requests only; one that is unusual in any respect takes the ordinary road, on which
`respond_over_asgi` has the same endpoint answer.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Generic, NamedTuple, Self, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from restaurant_system.web.body import JSON
from restaurant_system.web.headers import LENGTH, TYPE, Headers
from restaurant_system.web.problem import response_for

PARAMETER = re.compile(r"{\w+}")
UNRESERVED = "[A-Za-z0-9._~-]+"  # RFC 3986, 2.3: what stands in an address for itself

T = TypeVar("T")


class FastRequest:
    """A request: what stands in its address for the parameter, if there is one, and the rest."""

    def __init__(
        self, parameter: str, headers: Headers, body: bytes | bytearray, request_id: str
    ) -> None:
        self.parameter = parameter
        self.headers = headers
        self.body = body
        self.request_id = request_id


class FastResponse(NamedTuple):
    """What is answered; its length and its request id are added on the way."""

    body: bytes
    status: int = HTTPStatus.OK
    headers: Headers = ()
    media_type: str = JSON


@dataclass(frozen=True, slots=True)
class FastRoute(Generic[T]):
    """Requests with a certain first line, the endpoint that finds something out, and its answer.

    An endpoint that returns a future has no task made for it, and its log lines no request id. It
    may also raise at once.
    """

    template: str  # for log lines
    first_line: re.Pattern[bytes]
    endpoint: Callable[[FastRequest], Awaitable[T]]
    answer: Callable[[T], FastResponse]

    @classmethod
    def create(
        cls,
        method: str,
        path: str,
        endpoint: Callable[[FastRequest], Awaitable[T]],
        answer: Callable[[T], FastResponse],
        *,
        parameter: str = UNRESERVED,
    ) -> Self:
        """Make a road of a path with one parameter at most, in braces, of a certain look."""
        line = rf"{method} {PARAMETER.sub(f'({parameter})', path)} HTTP/1\.1"
        return cls(f"{method} {path}", re.compile(line.encode(), re.ASCII), endpoint, answer)

    def parameter(self, line: bytes) -> str | None:
        """Return what stands in a first line for it, "" if there is none; `None` if not ours."""
        ours = self.first_line.fullmatch(line)
        if not ours:
            return None
        return ours[1].decode() if ours.lastindex else ""


def error_response(error: Exception, request_id: str, headers_sent: Headers = ()) -> FastResponse:
    """Return the response for an error; see `problem.response_for`."""
    problem = response_for(error, request_id, headers_sent)
    own = [each for each in problem.raw_headers if each[0] not in {LENGTH, TYPE}]
    return FastResponse(
        bytes(problem.body), problem.status_code, own, problem.headers["content-type"]
    )


async def respond_over_asgi(road: FastRoute[T], request: Request) -> Response:
    """Have the endpoint of a hot road answer a request that came the ordinary way."""
    parameter = next(iter(request.path_params.values()), "")
    headers, body = request.headers.raw, await request.body()
    asked = FastRequest(parameter, headers, body, request.scope["request_id"])
    answer = road.answer(await road.endpoint(asked))
    stated = {name.decode(): value.decode() for name, value in answer.headers}
    return Response(answer.body, answer.status, stated, answer.media_type)
