"""The HTTP protocol answers raw bytes as plain uvicorn does with the same ASGI application.

`HTTP_CASES=100000 pytest tests/unit/test_http_differential.py` runs more than the usual number of
cases; `HTTP_SEED` chooses others. uvicorn is sent one request at a time, because it answers an
invalid request before earlier ones that are still in progress; the tested one gets all at once,
split at any byte. Deliberate differences are left out: the limits, Upgrade, a Host that is missing,
repeated or invalid, and a target in absolute form with an invalid host or one that is not served.
"""

import asyncio
import contextlib
import itertools
import json
import os
import random
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from http import HTTPStatus
from typing import NamedTuple

import httpx
import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from restaurant_system.models.access import Caller, Capability
from restaurant_system.web import api
from restaurant_system.web.api import Feature, Site
from restaurant_system.web.endpoint import (
    Endpoint,
    EndpointRequest,
    EndpointResponse,
    respond_over_asgi,
)
from restaurant_system.web.guarded_router import GuardedRouter
from tests.support.raw_connection import EMPTY_LINE, RawConnection
from tests.support.services import serve_site

READ = Capability.READ_STATUS
CASES = int(os.environ.get("HTTP_CASES", "250"))
SEED = int(os.environ.get("HTTP_SEED", "1"))
RESPONSE_TIMEOUT = 3.0  # s to wait for an expected response
SILENCE = 0.03  # s without a byte after which no response is expected
END_WITH_HOST = b"\r\nHost: localhost" + EMPTY_LINE


class Comparable(NamedTuple):
    """The parts of a response that are compared."""

    status: int
    content: object
    headers: tuple[str | None, ...]


async def echo_fast(request: EndpointRequest) -> bytes:
    """Return the parameter and the body, at once or after a moment."""
    await asyncio.sleep(random.choice((0, 0, 0.002)))  # noqa: S311 - no secret
    return request.parameter.encode() + b"|" + bytes(request.body)


async def echo(request: Request) -> Response:
    """Return the request as the application receives it."""
    body = await request.body()
    await asyncio.sleep(0.001 if len(body) % 2 else 0)
    scope = request.scope
    sent = [[part.decode("latin-1") for part in field] for field in scope["headers"]]
    fields = [field for field in sent if field[0] != "x-trailer"]  # received early or not
    return JSONResponse(
        {
            "method": scope["method"],
            "path": scope["path"],
            "raw": scope["raw_path"].decode("latin-1"),
            "query": scope["query_string"].decode("latin-1"),
            "version": scope["http_version"],
            "body": body.decode("latin-1"),
            "fields": fields,
        }
    )


def to_response(body: bytes, _: Caller) -> EndpointResponse:
    """Return a response with this body."""
    return EndpointResponse(body)


def make_site() -> Site:
    """Build an application with two endpoints and a route that echoes over ASGI."""
    price = Endpoint("GET", "/soups/{name}/price", echo_fast, to_response, requires=READ)
    order = Endpoint("POST", "/soups", echo_fast, to_response, requires=READ)

    async def documented_price(request: Request) -> Response:
        return await respond_over_asgi(price, request)

    async def documented_order(request: Request) -> Response:
        return await respond_over_asgi(order, request)

    router = GuardedRouter()
    router.add_api_route("/soups/{name}/price", documented_price, methods=["GET"], requires=READ)
    router.add_api_route("/soups", documented_order, methods=["POST"], requires=READ)
    methods = ["GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH"]
    router.add_api_route("/echo{rest:path}", echo, methods=methods, requires=READ)
    return api.build("Site", [Feature(router, endpoints=[price, order])])


class Case:
    """Random requests for one connection, and how they are split."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self.valid = 0  # number of requests before the first invalid one

    def requests(self) -> list[bytes]:
        """Return valid requests, sometimes with an invalid one and others after it."""
        number = self.valid = self._random.randint(1, 6)
        requests = [self._request() for _ in range(number)]
        if self._random.random() < 0.45:
            self.valid = self._random.randint(0, number)
            requests.insert(self.valid, self._invalid())
        return requests

    def pieces(self, stream: bytes) -> list[bytes]:
        """Split a stream at random bytes."""
        cuts = sorted(
            self._random.choices(range(len(stream) + 1), k=self._random.choice((0, 1, 4, 9)))
        )
        return [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    def pauses(self) -> bool:
        """Tell whether to wait between two pieces."""
        return self._random.random() < 0.7

    def _request(self) -> bytes:
        choose = self._random.choice
        method, target = choose(
            [
                *[("GET", f"/soups/{name}/price") for name in ("pea", "a.b-c_d~", "p%65a", "%2F")],
                *[
                    ("POST", "/soups"),
                    ("POST", "/soups?x=1"),
                    ("GET", "/soups"),
                    ("HEAD", "/soups"),
                ],
                *[("GET", "/nothing"), ("OPTIONS", "/soups"), ("DELETE", "/soups/pea/price")],
                *[("GET", "http://localhost/soups/pea/price"), ("GET", "/soups/pea/price#part")],
                *[("POST", "/echo/%41%20b?q=%zz"), ("PUT", "/echo//x/../y"), ("HEAD", "/echo/h")],
                *[("GET", "http://localhost/echo?a=b"), ("PATCH", "/echo/%C3%A9;p=1")],
            ]
        )
        version = choose(["1.1"] * 12 + ["1.0"])
        fields = [b"Host: localhost", *self._fields()]
        body = b""
        if method in {"POST", "PUT", "PATCH"} or self._random.random() < 0.1:
            more, body = self._body(version)
            fields += more
        self._random.shuffle(fields)
        before = choose([b""] * 9 + [b"\r\n", b"\r\n\r\n"])
        line = f"{method} {target} HTTP/{version}".encode()
        return before + b"\r\n".join([line, *fields]) + EMPTY_LINE + body

    def _fields(self) -> list[bytes]:
        known = [
            *(b"X-Empty:", b"X-Spaces:  \t a b \t ", b"x-lower: 1", b"X-Bytes: \xe9\xff"),
            *(b"Connection: keep-alive", b"X-Request-ID: seven", b"Accept: */*", b"Cookie: a=b"),
            *(b"Connection: close", b"Expect: something", b"X-Long: " + b"l" * 3000),
        ]
        return self._random.sample(known, self._random.choice((0, 0, 1, 2, 3)))

    def _body(self, version: str) -> tuple[list[bytes], bytes]:
        body = self._random.choice([b"", b"pea", b"GET / HTTP/1.1" + EMPTY_LINE, b"b" * 9000])
        expects = [b"Expect: 100-continue"] if self._random.random() < 0.1 else []
        if version == "1.0" or self._random.random() < 0.6:
            return [b"Content-Length: %d" % len(body), *expects], body
        return [b"Transfer-Encoding: chunked", *expects], self._chunked(body)

    def _chunked(self, body: bytes) -> bytes:
        size = self._random.choice((1, 3, 4000))
        parts = [body[at : at + size] for at in range(0, min(len(body), 60 * size), size)]
        extension = self._random.choice((b"", b"", b";a=b", b';a="b c"'))
        chunks = [b"%x%b\r\n%b\r\n" % (len(part), extension, part) for part in parts if part]
        trailers = self._random.choice((b"", b"", b"X-Trailer: t\r\n"))
        return b"".join(chunks) + b"0\r\n" + trailers + b"\r\n"

    def _invalid(self) -> bytes:
        post = b"POST /echo HTTP/1.1\r\nHost: localhost\r\n"
        soup = b"POST /soups HTTP/1.1\r\nHost: localhost\r\n"
        chunked = b"Transfer-Encoding: chunked\r\n\r\n"
        return self._random.choice(
            [
                *(b"two soups, please" + EMPTY_LINE, b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n"),
                *(
                    b"BREW /echo HTTP/1.1" + END_WITH_HOST,
                    b"GET /echo HTTP/1.1\r\nBad Name: 1" + END_WITH_HOST,
                ),
                *(
                    b"GET /echo HTTP/3.1" + END_WITH_HOST,
                    b"GET /echo HTTP/1.1\r\n: empty" + END_WITH_HOST,
                ),
                *(
                    b"GET /echo HTTP/1.1\r\nX: a\x00b" + END_WITH_HOST,
                    b"GET  /echo HTTP/1.1" + END_WITH_HOST,
                ),
                *(
                    b"GET /echo HTTP/1.1\nHost: localhost\n\n",
                    b"GET /\xc3\xa9 HTTP/1.1" + END_WITH_HOST,
                ),
                *(b"OPTIONS * HTTP/1.1" + END_WITH_HOST, b"GET echo HTTP/1.1" + END_WITH_HOST),
                *(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"CONNECT a:1 HTTP/1.1" + END_WITH_HOST),
                *(post + chunked + b"zz\r\n", soup + chunked + b"3\r\npeaXX0\r\n\r\n"),
                *(
                    soup + chunked + b"3\r\npea\r\n-1\r\n",
                    post + chunked + b"fffffffffffffffffff\r\n",
                ),
                *(post + chunked + b"3 \r\npea\r\n0\r\n\r\n", post + chunked + b"3\npea\n0\n\n"),
                soup + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\npea",
                soup + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\npea",
                soup + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                soup + b"Content-Length: +3\r\n\r\npea",
                soup + b"Content-Length: 3, 3\r\n\r\npea",
                soup + b"Content-Length: -1\r\n\r\n",
                soup + b"Content-Length: \r\n\r\npea",
                post + b"Transfer-Encoding: gzip\r\n\r\npea",
                post + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
                post + b"Transfer-Encoding: identity\r\nContent-Length: 3\r\n\r\npea",
                b"GET /echo HTTP/1.1\r\nX-Folded: a\r\n b" + END_WITH_HOST,
                b"GET /soups/pea/price HTTP/1.1\rHost: localhost\r\n\r\n",
                b"get /soups/pea/price HTTP/1.1" + END_WITH_HOST,
                b"GET /soups/pea/price HTTP/1.1 " + END_WITH_HOST,
            ]
        )


async def next_response(
    connection: RawConnection, seconds: float, *, is_head: bool
) -> Comparable | None:
    """Read the next final response, `None` if there is none."""
    with contextlib.suppress(TimeoutError, ConnectionError):
        while True:
            response = await connection.response(seconds, is_head=is_head)
            if not response.is_informational:
                return _comparable(response)
    return None


def _comparable(response: httpx.Response) -> Comparable:
    """Return the parts of a response that must equal plain uvicorn's: no ids, no dates."""
    status, headers, body = response.status_code, response.headers, response.content
    if status == HTTPStatus.BAD_REQUEST and (b"Invalid HTTP request" in body):
        return Comparable(status, "invalid", ("close",))
    content: object = body
    if "problem" in headers.get("Content-Type", "") and body:
        content = json.loads(body)
        if isinstance(content, dict):
            content.pop("request_id", None)
    names = ("Content-Type", "Content-Length", "Connection", "Allow")
    has_id = "request_id" in body.decode("latin-1")
    return Comparable(
        status, content, tuple(headers.get(n) for n in names if not (has_id and n == names[1]))
    )


@contextlib.asynccontextmanager
async def plain_uvicorn(site: Site) -> AsyncIterator[str]:
    """Serve an application with uvicorn's own protocol."""
    config = uvicorn.Config(
        site.asgi, http="httptools", ws="none", lifespan="off", log_config=None, access_log=False,
        proxy_headers=False, server_header=False,
    )  # fmt: skip
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
    # asyncio disables Nagle's algorithm only if the protocol is given.
    with socket.socket(type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        yield "http://{}:{}".format(*listening.getsockname())
        server.should_exit = server.force_exit = True
        await serving


async def expected_of(url: str, requests: Sequence[bytes], valid: int) -> list[Comparable]:
    """Send each request after the response to the previous one."""
    connection = await RawConnection.to(url)
    responses = []
    for number, request in enumerate(requests):
        await connection.write(request)
        limit = RESPONSE_TIMEOUT if number < valid else SILENCE
        response = await next_response(
            connection, limit, is_head=request.lstrip().startswith(b"HEAD")
        )
        if response is None:
            break
        responses.append(response)
    connection.close()
    return responses


async def actual_of(
    url: str,
    requests: Sequence[bytes],
    pieces: Sequence[bytes],
    pauses: Callable[[], bool],
    number: int,
) -> list[Comparable]:
    """Send all requests in pieces; read all responses, and check that no more follow."""
    connection = await RawConnection.to(url)
    for piece in pieces:
        await connection.write(piece)
        if pauses():
            await asyncio.sleep(0.0005)
    responses: list[Comparable] = []
    heads = [request.lstrip().startswith(b"HEAD") for request in requests]
    for is_head in [*heads, False]:
        limit = RESPONSE_TIMEOUT if len(responses) < number else SILENCE / 10
        response = await next_response(connection, limit, is_head=is_head)
        if response is None:
            break
        responses.append(response)
    connection.close()
    return responses


@pytest.mark.parametrize(
    ("make_tested", "cases"),
    [
        pytest.param(make_site, CASES, id="fast path"),
        pytest.param(lambda: Site(make_site().asgi), CASES // 4, id="without fast path"),
    ],
)
async def test_every_request_is_answered_in_order_as_by_plain_uvicorn(
    make_tested: Callable[[], Site], cases: int
) -> None:
    """Random requests, valid or not, are pipelined and split anywhere."""
    site = make_tested()
    differences = []
    async with plain_uvicorn(site) as plain, serve_site(site) as url:
        for seed in range(SEED, SEED + cases):
            case = Case(seed)
            requests = case.requests()
            pieces = case.pieces(b"".join(requests))
            expected = await expected_of(plain, requests, case.valid)
            actual = await actual_of(url, requests, pieces, case.pauses, len(expected))
            if actual != expected:
                differences.append(_described(seed, requests, expected, actual))

    assert differences == [], "\n".join(differences[:10])


def _described(
    seed: int,
    requests: Sequence[bytes],
    expected: Sequence[Comparable],
    actual: Sequence[Comparable],
) -> str:
    pairs = itertools.zip_longest(requests, expected, actual)
    first = next((pair for pair in pairs if pair[1] != pair[2]), None)
    return f"HTTP_SEED={seed}: {len(expected)} responses, {len(actual)} in fact: {first!r:.900}"
