"""Endpoints that FastAPI can answer over ASGI, and a protocol without ASGI.

An endpoint gets an `EndpointRequest`. A function serializes its result to an `EndpointResponse`.
"""

from asyncio import Future
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Generic, NamedTuple, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from restaurant_system.models.access import Caller, Capability
from restaurant_system.web.access_checks import CLIENT
from restaurant_system.web.access_control import caller_of
from restaurant_system.web.headers import Headers
from restaurant_system.web.json_body import JSON

UNRESERVED = "[A-Za-z0-9._~-]+"  # characters that a path need not escape; RFC 3986, 2.3

T = TypeVar("T")


class EndpointRequest:
    """A request with its path parameter ("" if the path has none)."""

    def __init__(
        self,
        parameter: str,
        headers: Headers,
        body: bytes | bytearray,
        request_id: str,
        *,
        caller: Caller,
        client: str | None,
    ) -> None:
        self.parameter = parameter
        self.headers = headers
        self.body = body
        self.request_id = request_id
        self.caller = caller
        self.client = client


class EndpointResponse(NamedTuple):
    """A response without its length and request id, which are added when it is sent."""

    body: bytes
    status: int = HTTPStatus.OK
    headers: Headers = ()
    media_type: str = JSON


@dataclass(frozen=True, slots=True)
class Endpoint(Generic[T]):
    """A function for the requests of one method and path, and the serializer of its result.

    The path has at most one parameter, in braces; `parameter` is the regular expression for the
    values that need no ASGI. `to_response` serializes the result of `call` for a caller, who has
    the capability that is required. A `call` that returns a future runs without a task of its own,
    and its log lines have no request id. It may also raise at once.
    """

    method: str
    path: str
    call: Callable[[EndpointRequest], "Coroutine[Any, Any, T] | Future[T]"]
    to_response: Callable[[T, Caller], EndpointResponse]
    requires: Capability
    parameter: str = UNRESERVED


async def respond_over_asgi(endpoint: Endpoint[T], request: Request) -> Response:
    """Answer a request that came over ASGI."""
    parameter = next(iter(request.path_params.values()), "")
    headers, body = request.headers.raw, await request.body()
    caller = caller_of(request)
    received = EndpointRequest(
        parameter,
        headers,
        body,
        request.scope["request_id"],
        caller=caller,
        client=request.scope[CLIENT],
    )
    response = endpoint.to_response(await endpoint.call(received), caller)
    response_headers = {name.decode(): value.decode() for name, value in response.headers}
    response_headers["content-type"] = response.media_type  # without Starlette's charset
    return Response(response.body, response.status, response_headers)
