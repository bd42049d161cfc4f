"""Limits on the size and time of a request, and on the connections of a client."""

import asyncio
import contextlib
import os
import resource
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from restaurant_system.config import HttpSettings, SecuritySettings
from restaurant_system.models.access import Caller, Capability
from restaurant_system.web import api, file_descriptors, http_protocol
from restaurant_system.web.access_checks import AccessChecks
from restaurant_system.web.api import Feature, Site
from restaurant_system.web.endpoint import (
    Endpoint,
    EndpointRequest,
    EndpointResponse,
    respond_over_asgi,
)
from restaurant_system.web.file_descriptors import RESERVE, ThrottledLog
from restaurant_system.web.guarded_router import GuardedRouter
from restaurant_system.web.request_limits import MAX_HEAD_SIZE, MAX_HEADER_FIELDS
from tests.support.logs import capture_logs
from tests.support.raw_connection import RawConnection
from tests.support.responses import assert_problem
from tests.support.services import serve_site

READ = Capability.READ_STATUS
GET = b"GET /soups/pea HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /soups HTTP/1.1\r\nHost: localhost\r\n"
OVER_ASGI = b"POST /soups?asgi HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
QUICK_SETTINGS = HttpSettings(head_timeout=0.3, body_timeout=0.3)


async def serve_soup(request: EndpointRequest) -> bytes:
    """Return the path parameter and the body; after all deadlines if the parameter is "slow"."""
    await asyncio.sleep(1 if request.parameter == "slow" else 0)
    return request.parameter.encode() + request.body


async def stream(_request: Request) -> Response:
    """Return a response that does not end."""

    async def parts() -> AsyncIterator[bytes]:
        while True:
            yield b"part"
            await asyncio.sleep(0.1)

    return StreamingResponse(parts())


def to_response(body: bytes, _: Caller) -> EndpointResponse:
    """Return a response with this body."""
    return EndpointResponse(body)


def make_site() -> Site:
    """Build an application with two endpoints, which are also served over ASGI, and a stream."""
    one = Endpoint("GET", "/soups/{name}", serve_soup, to_response, requires=READ)
    order = Endpoint("POST", "/soups", serve_soup, to_response, requires=READ)

    async def documented_order(request: Request) -> Response:
        return await respond_over_asgi(order, request)

    async def documented_one(request: Request) -> Response:
        return await respond_over_asgi(one, request)

    router = GuardedRouter()
    router.add_api_route("/soups/{name}", documented_one, methods=["GET"], requires=READ)
    router.add_api_route("/soups", documented_order, methods=["POST"], requires=READ)
    router.add_api_route("/stream", stream, methods=["GET"], requires=READ)
    return api.build("Site", [Feature(router, endpoints=[one, order])])


@contextlib.asynccontextmanager
async def running_server(
    settings: HttpSettings | None = None, security: SecuritySettings | None = None
) -> AsyncIterator[str]:
    """Serve the application; yields its address."""
    checks = AccessChecks(security=security) if security else None
    async with serve_site(make_site(), settings=settings, checks=checks) as url:
        yield url


async def statuses(url: str, *parts: bytes) -> list[int]:
    """Send bytes; return the statuses of all responses until the connection is closed."""
    client = await RawConnection.to(url)
    await client.write(*parts)
    found: list[int] = []
    while True:
        try:
            response = await client.response()
        except (ConnectionError, TimeoutError):
            return [*found, -1]
        found.append(response.status_code)
        if response.headers.get("Connection") == "close":
            break
    if not response.is_success:
        assert_problem(response, found[-1])
    assert await client.is_closed()
    client.close()
    return found


def make_head(size: int) -> bytes:
    """Return a request whose head has this size in bytes."""
    rest = GET + b"Connection: close\r\nX-Long: "
    return rest + b"x" * (size - len(rest) - 4) + b"\r\n\r\n"


def make_fields(number: int) -> bytes:
    """Return a request with this number of header fields."""
    return GET + b"Connection: close\r\n" + b"X: y\r\n" * (number - 2) + b"\r\n"


LONG = b"x" * MAX_HEAD_SIZE


def case(expected: list[int], *parts: bytes) -> tuple[list[int], bytes]:
    """Return a test case: the expected statuses, and the bytes to send."""
    return expected, b"".join(parts)


HEADS = {
    "the largest": case([200], make_head(MAX_HEAD_SIZE)),
    "one byte more": case([431], make_head(MAX_HEAD_SIZE + 1)),
    "an endless line": case([431], GET, b"X-Long: ", LONG * 2),
    "an endless name": case([431], GET, LONG * 2),
    "endless spaces": case([431], GET, b"X-Long:", b" " * MAX_HEAD_SIZE * 2),
    "many fields": case([200], make_fields(MAX_HEADER_FIELDS)),
    "one field more": case([431], make_fields(MAX_HEADER_FIELDS + 1)),
    "endless short fields": case([431], GET, b"X:\r\n" * 20_000),
    "a long target": case([414], b"GET /", LONG),
    "a long query": case([414], b"GET /soups/pea?", LONG, b" HTTP/1.1\r\n\r\n"),
    "line breaks before a head": case([431], b"\r\n" * MAX_HEAD_SIZE),
    "a trailer": case([431], OVER_ASGI, CHUNKED, b"3\r\npea\r\n0\r\nX: ", LONG, b"\r\n\r\n"),
    "many trailers": case([431], POST, CHUNKED, b"0\r\n", b"X: y\r\n" * 100, b"\r\n"),
    "a chunk extension": case([431], POST, CHUNKED, b"3;", LONG * 2, b"\r\npea\r\n0\r\n\r\n"),
    "chunk extensions": case([431], POST, CHUNKED, (b"1;" + b"x" * 999 + b"\r\na\r\n") * 60),
    "small chunks": case(
        [200], POST, b"Connection: close\r\n", CHUNKED, b"1\r\na\r\n" * 40_000, b"0\r\n\r\n",
    ),
    "after others": case(
        [200, 200, 431], GET, b"\r\n", POST, b"Content-Length: 1\r\n\r\na",
        make_head(MAX_HEAD_SIZE + 1),
    ),
    "after one over ASGI": case(
        [200, 414], OVER_ASGI + b"Content-Length: 1\r\n\r\na", b"GET /", LONG
    ),
    "each in itself": case([200] * 9,
                           (GET + b"X: " + b"x" * 9000 + b"\r\n\r\n") * 8, make_head(9000)),
}  # fmt: skip


async def test_head_above_a_limit_is_refused_after_earlier_responses() -> None:
    """The limits are on bytes and fields; trailers and chunk extensions count, too."""
    async with running_server() as url:
        found = await asyncio.gather(*(statuses(url, sent) for _, sent in HEADS.values()))

    expected = {name: each for name, (each, _) in HEADS.items()}
    assert dict(zip(HEADS, found, strict=True)) == expected


async def test_long_head_is_refused_before_it_ends() -> None:
    async with running_server() as url:
        client = await RawConnection.to(url)
        await client.write(GET, b"X-Long: ", LONG)

        assert_problem(await client.response(), 431)
        assert await client.is_closed()
        client.close()


INVALID = [
    pytest.param(POST + CHUNKED + b"zz\r\n", id="chunk"),
    pytest.param(OVER_ASGI + CHUNKED + b"3\r\npeaX", id="chunk over ASGI"),
    pytest.param(b"two soups, please\r\n\r\n", id="method"),
    pytest.param(GET + b"Bad Name: 1\r\n\r\n", id="field"),
    pytest.param(POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n", id="lengths"),
]


@pytest.mark.parametrize("invalid", INVALID)
@pytest.mark.parametrize(
    "before", [GET, OVER_ASGI + b"Content-Length: 0\r\n"], ids=["fast path", "ASGI"]
)
async def test_earlier_requests_are_answered_before_an_invalid_one(
    before: bytes, invalid: bytes
) -> None:
    """Earlier requests are answered wherever the bytes are split; the invalid one gets one 400."""
    stream = (before + b"\r\n") * 3 + invalid
    async with running_server() as url:
        cut = [(stream[:at], stream[at:]) for at in range(0, len(stream), 17)]
        found = await asyncio.gather(*(statuses(url, *parts) for parts in cut))

    assert found == [[200, 200, 200, 400]] * len(cut)


async def test_invalid_target_after_a_complete_response_gets_400() -> None:
    async with running_server() as url:
        client = await RawConnection.to(url)
        await client.write(GET, b"\r\n")
        assert (await client.response()).is_success
        await client.write(b"CONNECT a:1 HTTP/1.1\r\n\r\n")

        assert_problem(await client.response(), 400)
        assert await client.is_closed()
        client.close()


async def test_invalid_request_is_answered_after_a_slow_one() -> None:
    slow = b"GET /soups/slow HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with running_server() as url:
        client = await RawConnection.to(url)
        await client.write(slow)
        await asyncio.sleep(0.1)
        await client.write(GET + b"\r\n" + b"nonsense" + b"\r\n\r\n" + GET + b"\r\n")
        found = [await client.response() for _ in range(3)]

        assert [each.status_code for each in found] == [200, 200, 400]
        assert found[0].text == "slow"
        assert await client.is_closed()
        client.close()


INCOMPLETE = {
    "no byte": case([408]),
    "a line break": case([408], b"\r\n"),
    "half a method": case([408], b"GE"),
    "half a head": case([408], GET),
    "half a body": case([408], POST, b"Content-Length: 9\r\n\r\npea"),
    "half a body over ASGI": case([408], OVER_ASGI, b"Content-Length: 9\r\n\r\npea"),
    "half a chunk": case([408], OVER_ASGI, CHUNKED, b"9\r\npea"),
    "half a head after a response": case([200, 408], GET, b"\r\n", GET),
    "half a head after a slow response": case(
        [200, 408], b"GET /soups/slow HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET",
    ),
    "half a body after a response": case(
        [200, 408], GET, b"\r\n", POST, b"Content-Length: 9\r\n\r\n"
    ),
    "a slow response": case(
        [200], b"GET /soups/slow HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    ),
}  # fmt: skip


async def test_incomplete_request_gets_408_at_its_deadline() -> None:
    """A request in progress has no deadline."""
    async with running_server(QUICK_SETTINGS) as url:
        found = await asyncio.gather(*(statuses(url, sent) for _, sent in INCOMPLETE.values()))

    assert dict(zip(INCOMPLETE, found, strict=True)) == {
        name: each for name, (each, _) in INCOMPLETE.items()
    }


@pytest.mark.parametrize("rest", [b"", b"zz\r\n", b"1;" + LONG * 2], ids=["408", "400", "431"])
async def test_request_answered_before_its_body_is_complete_gets_no_second_response(
    rest: bytes,
) -> None:
    """The connection is closed when the body is late, invalid or too large."""
    async with running_server(QUICK_SETTINGS) as url:
        client = await RawConnection.to(url)
        await client.write(b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\n", CHUNKED)
        assert_problem(await client.response(), 404)
        await client.write(rest)

        assert await client.is_closed()
        client.close()


async def test_single_bytes_do_not_extend_the_deadline_of_a_head_or_body() -> None:
    async with running_server(QUICK_SETTINGS) as url:
        slow_head, slow_body = await RawConnection.to(url), await RawConnection.to(url)
        await slow_head.write(GET, b"X: ")
        await slow_body.write(POST, b"Content-Length: 999\r\n\r\n")
        for _ in range(12):
            await slow_head.write(b"x")
            await slow_body.write(b"x")
            await asyncio.sleep(0.05)

        for client in (slow_head, slow_body):
            assert_problem(await client.response(), 408)
            assert await client.is_closed()
            client.close()


async def test_body_has_no_deadline_while_the_server_pauses_reading() -> None:
    """The server reads nothing while an earlier request is in progress."""
    async with running_server(QUICK_SETTINGS) as url:
        client = await RawConnection.to(url)
        await client.write(b"GET /soups/slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await client.write(POST, b"Content-Length: 3\r\n\r\n")
        await asyncio.sleep(0.05)
        await client.write(b"pea")

        assert [(await client.response()).text for _ in range(2)] == ["slow", "pea"]
        client.close()


async def test_stream_has_no_deadline() -> None:
    async with running_server(QUICK_SETTINGS) as url:
        client = await RawConnection.to(url)
        await client.write(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        response = await client.response()

        assert response.status_code == httpx.codes.OK
        for _ in range(10):
            assert not await client.is_closed(0.1)
        client.close()


async def is_served(client: RawConnection) -> bool:
    """Send a request, and tell whether it succeeds."""
    await client.write(GET, b"\r\n")
    return (await client.response()).is_success


async def test_connection_above_the_limit_of_its_address_gets_429() -> None:
    """The connections of programs on this machine and of trusted proxies are not limited."""
    limited = HttpSettings(connections_per_address=3)
    security = SecuritySettings.model_validate({"trusted_proxies": ["127.0.0.4/30"]})
    with capture_logs() as lines:
        async with running_server(limited, security) as url:
            clients = [await RawConnection.to(url, "127.0.0.2") for _ in range(3)]
            assert all([await is_served(each) for each in clients])
            for _ in range(2):
                more = await RawConnection.to(url, "127.0.0.2")
                response = await more.response()
                assert_problem(response, 429)
                assert response.headers["Retry-After"] == "1"
                assert await more.is_closed()
                more.close()
            others = [await RawConnection.to(url, "127.0.0.3")]
            others += [await RawConnection.to(url, "127.0.0.5") for _ in range(5)]
            others += [await RawConnection.to(url) for _ in range(5)]
            assert all([await is_served(each) for each in others])

            clients.pop().close()
            await asyncio.sleep(0.05)
            clients.append(await RawConnection.to(url, "127.0.0.2"))
            assert await is_served(clients[-1])
            for client in (*clients, *others):
                client.close()

    assert [each["event"] for each in lines].count("connection_refused") == 1


async def test_limit_of_zero_connections_per_address_means_no_limit() -> None:
    async with running_server(HttpSettings(connections_per_address=0)) as url:
        clients = [await RawConnection.to(url, "127.0.0.2") for _ in range(30)]
        assert all([await is_served(each) for each in clients])
        for client in clients:
            client.close()


@contextlib.contextmanager
def descriptors_left(number: int) -> Iterator[None]:
    """Leave this number of descriptors above the reserve while the block lasts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + RESERVE + number, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def _new_throttle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reset the throttle of the warning, which another test may have caused."""
    again = ThrottledLog("descriptors_exhausted", "Too few file descriptors.")
    monkeypatch.setattr(file_descriptors, "exhausted", again)


@pytest.mark.usefixtures("_new_throttle")
async def test_longest_idle_connections_are_closed_when_descriptors_run_out() -> None:
    """A connection is closed before or after a request, but not during one."""
    with capture_logs() as lines:
        async with running_server() as url:
            streaming, silent, idle = [await RawConnection.to(url) for _ in range(3)]
            await streaming.write(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert await is_served(idle)
            with descriptors_left(20):
                crowd = [await RawConnection.to(url) for _ in range(13)]
                await asyncio.sleep(0.05)
                late = await RawConnection.to(url)
                assert await is_served(late)

            assert await silent.is_closed()
            assert await idle.is_closed()
            assert not await crowd[-1].is_closed(0.05)
            assert (await streaming.response()).is_success
            assert not await streaming.is_closed(0.05)
            for client in (streaming, silent, idle, late, *crowd):
                client.close()

    assert [each["event"] for each in lines].count("descriptors_exhausted") == 1


@pytest.mark.usefixtures("_new_throttle")
async def test_longest_streams_are_closed_when_nothing_is_idle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Browsers reconnect by themselves, so streams do not keep new clients out."""
    monkeypatch.setattr(http_protocol, "STREAM_AGE", 0.1)
    async with running_server() as url:
        with descriptors_left(24):
            streams = [await RawConnection.to(url) for _ in range(10)]
            for each in streams:
                await each.write(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert (await each.response()).is_success
            await asyncio.sleep(0.2)
            late = [await RawConnection.to(url) for _ in range(4)]
            are_served = [await is_served(each) for each in late]

        longest_has_ended = await streams[0].ends()
        for client in (*streams, *late):
            client.close()

    assert are_served == [True] * 4
    assert longest_has_ended
