"""Routes of the fast path: an endpoint and the request lines that it answers."""

import re
from asyncio import Future
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Generic, Self, TypeVar

from restaurant_system.metrics.request_durations import RequestDurations, durations_of
from restaurant_system.models.access import Caller, Capability
from restaurant_system.web.endpoint import Endpoint, EndpointRequest, EndpointResponse
from restaurant_system.web.headers import CONTENT_LENGTH, CONTENT_TYPE, Headers
from restaurant_system.web.problem import response_for

SERVER_ERRORS = (HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.SERVICE_UNAVAILABLE)
PARAMETER = re.compile(r"{\w+}")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FastRoute(Generic[T]):
    """The parts of an `Endpoint`, with a regular expression for its request line."""

    method: str
    template: str  # method and path, for log lines
    request_line: re.Pattern[bytes]
    call: Callable[[EndpointRequest], "Coroutine[Any, Any, T] | Future[T]"]
    to_response: Callable[[T, Caller], EndpointResponse]
    requires: Capability
    durations: RequestDurations

    @classmethod
    def to(cls, endpoint: Endpoint[T]) -> Self:
        """Return a route to an endpoint."""
        path = PARAMETER.sub(f"({endpoint.parameter})", endpoint.path)
        line = rf"{endpoint.method} {path} HTTP/1\.1"
        durations = durations_of(endpoint.method, endpoint.path)
        durations.expect(*SERVER_ERRORS)
        return cls(
            endpoint.method,
            f"{endpoint.method} {endpoint.path}",
            re.compile(line.encode(), re.ASCII),
            endpoint.call,
            endpoint.to_response,
            endpoint.requires,
            durations,
        )

    def match(self, data: bytes, end: int) -> str | None:
        """Match the request line that `data` begins with, up to `end`.

        Return the path parameter, "" if there is none; `None` if the line does not match.
        """
        match = self.request_line.fullmatch(data, 0, end)
        if not match:
            return None
        return match[1].decode() if match.lastindex else ""


def error_response(
    error: Exception, request_id: str, request_headers: Headers = ()
) -> EndpointResponse:
    """Return the response for an error; see `problem.response_for`."""
    problem = response_for(error, request_id, request_headers)
    headers = [
        each for each in problem.raw_headers if each[0] not in {CONTENT_LENGTH, CONTENT_TYPE}
    ]
    media_type = problem.headers["content-type"]
    return EndpointResponse(bytes(problem.body), problem.status_code, headers, media_type)
