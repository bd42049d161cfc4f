"""Routes of the fast path: a request line, an endpoint, and its response."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Generic, NamedTuple, Self, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from restaurant_system.web.headers import CONTENT_LENGTH, CONTENT_TYPE, Headers
from restaurant_system.web.json_body import JSON
from restaurant_system.web.problem import response_for

PARAMETER = re.compile(r"{\w+}")
UNRESERVED = "[A-Za-z0-9._~-]+"  # characters that a path need not escape; RFC 3986, 2.3

T = TypeVar("T")


class FastRequest:
    """A request with its path parameter ("" if the path has none)."""

    def __init__(
        self, parameter: str, headers: Headers, body: bytes | bytearray, request_id: str
    ) -> None:
        self.parameter = parameter
        self.headers = headers
        self.body = body
        self.request_id = request_id


class FastResponse(NamedTuple):
    """A response without its length and request id, which are added when it is sent."""

    body: bytes
    status: int = HTTPStatus.OK
    headers: Headers = ()
    media_type: str = JSON


@dataclass(frozen=True, slots=True)
class FastRoute(Generic[T]):
    """An endpoint for the requests that a request line matches.

    `to_response` serializes the endpoint's result. An endpoint that returns a future runs without
    a task of its own, and its log lines have no request id. It may also raise at once.
    """

    template: str  # method and path, for log lines
    request_line: re.Pattern[bytes]
    endpoint: Callable[[FastRequest], Awaitable[T]]
    to_response: Callable[[T], FastResponse]

    @classmethod
    def create(
        cls,
        method: str,
        path: str,
        endpoint: Callable[[FastRequest], Awaitable[T]],
        to_response: Callable[[T], FastResponse],
        *,
        parameter: str = UNRESERVED,
    ) -> Self:
        """Return a route for a path with at most one parameter, in braces.

        `parameter` is the regular expression for its value.
        """
        line = rf"{method} {PARAMETER.sub(f'({parameter})', path)} HTTP/1\.1"
        return cls(f"{method} {path}", re.compile(line.encode(), re.ASCII), endpoint, to_response)

    def match(self, request_line: bytes) -> str | None:
        """Return the path parameter, "" if there is none; `None` if the line does not match."""
        match = self.request_line.fullmatch(request_line)
        if not match:
            return None
        return match[1].decode() if match.lastindex else ""


def error_response(
    error: Exception, request_id: str, request_headers: Headers = ()
) -> FastResponse:
    """Return the response for an error; see `problem.response_for`."""
    problem = response_for(error, request_id, request_headers)
    headers = [
        each for each in problem.raw_headers if each[0] not in {CONTENT_LENGTH, CONTENT_TYPE}
    ]
    media_type = problem.headers["content-type"]
    return FastResponse(bytes(problem.body), problem.status_code, headers, media_type)


async def respond_over_asgi(route: FastRoute[T], request: Request) -> Response:
    """Answer a request that came over ASGI with the endpoint of a fast route."""
    parameter = next(iter(request.path_params.values()), "")
    headers, body = request.headers.raw, await request.body()
    fast_request = FastRequest(parameter, headers, body, request.scope["request_id"])
    response = route.to_response(await route.endpoint(fast_request))
    response_headers = {name.decode(): value.decode() for name, value in response.headers}
    response_headers["content-type"] = response.media_type  # without Starlette's charset
    return Response(response.body, response.status, response_headers)
