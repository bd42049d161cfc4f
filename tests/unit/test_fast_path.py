"""Which requests take the fast path, and that their responses do not differ from ASGI's."""

import asyncio
import tomllib
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from restaurant_system.errors import OrderNotFound
from restaurant_system.models.access import Caller, Capability
from restaurant_system.shutdown import Shutdown
from restaurant_system.web import api, server
from restaurant_system.web.api import Feature
from restaurant_system.web.endpoint import (
    Endpoint,
    EndpointRequest,
    EndpointResponse,
    respond_over_asgi,
)
from restaurant_system.web.fastpath.protocol import MAX_FAST_BODY_SIZE
from restaurant_system.web.fastpath.uvicorn_adapter import TESTED_VERSIONS
from restaurant_system.web.guarded_router import GuardedRouter
from restaurant_system.web.headers import MAX_BODY_SIZE
from restaurant_system.web.http_protocol import HttpProtocol
from tests.support.logs import capture_logs
from tests.support.raw_connection import RawConnection
from tests.support.responses import assert_problem
from tests.support.services import http_client, serve_site

READ = Capability.READ_STATUS
HOST = b"Host: localhost\r\n"
OVER_ASGI = "Over-ASGI"  # a header of responses that did not take the fast path


class ExampleApp:
    """An application with two endpoints and two other routes."""

    def __init__(self) -> None:
        self.price = Endpoint(
            "GET", "/soups/{name}/price", self.get_price, to_response, requires=READ
        )
        self.order = Endpoint("POST", "/soups", self.serve, to_response, requires=READ)
        self.called = asyncio.Event()
        self.may_respond = asyncio.Event()
        self.may_respond.set()

    async def serve(self, request: EndpointRequest) -> bytes:
        """Return the path parameter and the body, once `may_respond` is set."""
        self.called.set()
        if request.parameter != "water":
            await self.may_respond.wait()
        match request.parameter:
            case "missing":
                raise OrderNotFound(request.parameter)
            case "broken":
                raise RuntimeError("internal details")
        return f"soup {request.parameter}".encode() + request.body

    def get_price(self, request: EndpointRequest) -> asyncio.Future[bytes]:
        """Return a future of the price."""
        return asyncio.ensure_future(self.serve(request))

    async def price_over_asgi(self, request: Request) -> Response:
        """Answer over ASGI, with a header that says so."""
        return await self._over_asgi(self.price, request)

    async def order_over_asgi(self, request: Request) -> Response:
        """Answer over ASGI, with a header that says so."""
        return await self._over_asgi(self.order, request)

    async def _over_asgi(self, route: Endpoint[bytes], request: Request) -> Response:
        response = await respond_over_asgi(route, request)
        response.headers[OVER_ASGI] = "yes"
        return response

    async def ordinary(self) -> str:
        """Answer a route that is not fast."""
        return "ordinary"

    def feature(self) -> Feature:
        """Return the feature with the routes of the example application."""
        router = GuardedRouter()
        router.add_api_route(
            "/soups/{name}/price", self.price_over_asgi, methods=["GET"], requires=READ
        )
        router.add_api_route("/soups", self.order_over_asgi, methods=["POST"], requires=READ)
        router.add_api_route("/soups", self.ordinary, methods=["GET"], requires=READ)
        router.add_api_route(
            "/soups/{name}/{part}/price", self.ordinary, methods=["GET"], requires=READ
        )
        return Feature(router, endpoints=[self.price, self.order])


def to_response(soup: bytes, _: Caller) -> EndpointResponse:
    """Return the response with a price."""
    return EndpointResponse(soup, media_type="text/plain")


@pytest.fixture
def app() -> ExampleApp:
    """Return an example application with fast and other routes."""
    return ExampleApp()


@pytest.fixture
async def client(app: ExampleApp) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client of the application."""
    async with http_client(app.feature()) as client:
        yield client


@pytest.fixture
async def connection(app: ExampleApp) -> AsyncIterator[RawConnection]:
    """Return a connection to the application."""
    async with serve_site(api.build("Test", [app.feature()])) as address:
        connection = await RawConnection.to(address)
        yield connection
        app.may_respond.set()
        connection.close()


def price_request(soup: str, *headers: bytes) -> bytes:
    """Return a request for a price."""
    return b"GET /soups/%b/price HTTP/1.1\r\n%b%b\r\n" % (soup.encode(), HOST, b"".join(headers))


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/soups/borscht/price", "soup borscht"),
        ("GET", "/soups/price/price", "soup price"),
        ("POST", "/soups", "soup "),
        ("GET", "/soups", '"ordinary"'),
        ("GET", "/soups/a/b/price", '"ordinary"'),
    ],
)
async def test_fast_route_matches_its_own_method_and_path_only(
    client: httpx.AsyncClient, method: str, path: str, body: str
) -> None:
    response = await client.request(method, path)

    assert response.text == body
    assert OVER_ASGI not in response.headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/soups/price", 404),
        ("GET", "/soups//price", 404),
        ("GET", "/soups/borscht/price/list", 404),
        ("GET", "/tsoups/borscht/price", 404),
        ("PUT", "/soups", 405),
        ("HEAD", "/soups/borscht/price", 405),
    ],
)
async def test_path_similar_to_a_fast_route_gets_a_problem(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    response = await client.request(method, path)

    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"


async def test_untested_uvicorn_version_disables_the_fast_path(
    app: ExampleApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every request is then answered over ASGI, equally, and one log line says so."""
    requests = [
        ("GET", "/soups/pea/price"),
        ("GET", "/soups/missing/price"),
        ("GET", "/soups/broken/price"),
        ("POST", "/soups"),
    ]

    async with http_client(app.feature()) as client:
        fast = [await client.request(*each, content=b"!") for each in requests]
    monkeypatch.setattr(uvicorn, "__version__", "0.99.1")
    with capture_logs() as lines:
        site = api.build("Test", [app.feature()])
    async with serve_site(site) as address, httpx.AsyncClient(base_url=address) as client:
        slow = [await client.request(*each, content=b"!") for each in requests]

    assert site.protocol is HttpProtocol
    assert [line["event"] for line in lines] == ["fast_path_disabled"]
    assert "not 0.99.1" in lines[0]["message"]
    assert [OVER_ASGI in each.headers for each in slow if each.is_success] == [True, True]
    assert not any(OVER_ASGI in each.headers for each in fast)
    assert [comparable(each) for each in slow] == [comparable(each) for each in fast]


def comparable(response: httpx.Response) -> tuple[int, dict[str, str], str]:
    """Return a response without its date and request id, which differ between equal requests."""
    ignored = {"date", "x-request-id", OVER_ASGI.lower()}
    headers = {name: value for name, value in response.headers.items() if name not in ignored}
    body = response.text.replace(response.headers["X-Request-ID"], "")
    return response.status_code, headers, body


def test_oldest_uvicorn_that_may_be_installed_is_the_oldest_tested_one() -> None:
    pyproject = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
    first, _ = TESTED_VERSIONS
    minimum = f"uvicorn>={'.'.join(map(str, first))},"

    assert any(each.startswith(minimum) for each in pyproject["project"]["dependencies"])


async def test_service_without_endpoints_runs_without_the_fast_path() -> None:
    assert api.build("Test", [Feature(GuardedRouter())]).protocol is HttpProtocol


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(b"GET /soups/pea/price?in=euro HTTP/1.1\r\n\r\n", id="query"),
        pytest.param(b"GET /soups/p%65a/price HTTP/1.1\r\n\r\n", id="percent-encoding"),
        pytest.param(b"GET /soups/pea/price HTTP/1.0\r\n\r\n", id="HTTP/1.0"),
        pytest.param(b"GET /soups/pea/price HTTP/1.1\r\nConnection: close\r\n\r\n", id="close"),
        pytest.param(
            b"GET /soups/pea/price HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
            id="upgrade",
        ),
        pytest.param(
            b"POST /soups HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\npea\r\n0\r\n\r\n",
            id="chunked",
        ),
    ],
)
async def test_unusual_request_is_answered_over_asgi(
    connection: RawConnection, request_: bytes
) -> None:
    line, _, rest = request_.partition(b"\r\n")
    await connection.write(line, b"\r\n", HOST, rest)

    response = await connection.response()

    assert response.status_code == HTTPStatus.OK
    assert response.content == b"soup pea"
    assert response.headers[OVER_ASGI]


async def test_expected_100_continue_is_sent_before_the_body(connection: RawConnection) -> None:
    await connection.write(b"POST /soups HTTP/1.1\r\n", HOST, b"Content-Length: 3\r\n")
    await connection.write(b"Expect: 100-continue\r\n\r\n")
    interim = await connection.response()

    await connection.write(b"pea")
    final = await connection.response()

    assert interim.status_code == HTTPStatus.CONTINUE
    assert final.content == b"soup pea"


async def test_repeated_header_fields_are_parsed_once(
    connection: RawConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed = []
    parse = HttpProtocol.data_received

    def record(self: HttpProtocol, data: bytes) -> None:
        parsed.append(data)
        parse(self, data)

    monkeypatch.setattr(HttpProtocol, "data_received", record)
    responses = []
    for soup in ("pea", "borscht", "missing", "pea"):
        await connection.write(price_request(soup))
        responses.append(await connection.response())

    assert parsed == [price_request("pea")]
    assert [each.status_code for each in responses] == [200, 200, 404, 200]
    assert [each.text for each in responses[:2]] == ["soup pea", "soup borscht"]
    assert responses[3].text == "soup pea"
    assert len({each.headers["X-Request-ID"] for each in responses}) == len(responses)


async def test_changed_header_fields_are_parsed_again(connection: RawConnection) -> None:
    request_ids = [b"X-Request-ID: %b\r\n" % name for name in (b"seven", b"seven", b"eight")]
    responses = []
    for headers in ([], *([each] for each in request_ids), []):
        await connection.write(price_request("pea", *headers))
        responses.append(await connection.response())
    await connection.write(price_request("pea", b"Connection: close\r\n"))
    last = await connection.response()

    ids = [each.headers["X-Request-ID"] for each in responses]
    assert ids[1:4] == ["seven", "seven", "eight"]
    assert len({*ids}) == 4
    assert last.headers["Connection"] == "close"
    assert await connection.is_closed()


async def test_pipelined_request_with_known_headers_is_answered_in_order(
    connection: RawConnection, app: ExampleApp
) -> None:
    """The later request waits, although its endpoint would respond at once."""
    await connection.write(price_request("pea"))
    await connection.response()
    app.called.clear()
    app.may_respond.clear()
    await connection.write(price_request("borscht"))
    await app.called.wait()

    await connection.write(price_request("water"))
    await asyncio.sleep(0.02)
    app.may_respond.set()
    responses = [await connection.response() for _ in range(2)]

    assert [each.content for each in responses] == [b"soup borscht", b"soup water"]


async def test_empty_line_before_a_request_does_not_count_as_header_fields(
    connection: RawConnection,
) -> None:
    """An empty line before a request is ignored; one after its request line ends its header."""
    await connection.write(b"\r\n" + price_request("pea"))
    await connection.response()

    await connection.write(b"GET /soups/borscht/price HTTP/1.1" + b"\r\n" + price_request("pea"))

    assert_problem(await connection.response(), 400)


async def test_request_inside_a_body_or_a_header_field_is_not_answered(
    connection: RawConnection,
) -> None:
    await connection.write(price_request("pea"))
    await connection.response()

    body = price_request("broken")
    await connection.write(
        b"POST /soups HTTP/1.1\r\n", HOST, b"Content-Length: %d\r\n\r\n" % len(body)
    )
    await asyncio.sleep(0.01)
    await connection.write(body)
    in_body = await connection.response()
    await connection.write(price_request("pea"))
    await connection.response()
    await connection.write(b"GET /soups/borscht/price HTTP/1.1\r\nX-Note: ")
    await asyncio.sleep(0.01)
    await connection.write(price_request("broken"))
    in_header = await connection.response()

    assert in_body.content == b"soup " + body
    assert in_header.content == b"soup borscht"


async def test_half_a_head_after_a_request_is_not_cached_with_its_headers(
    connection: RawConnection,
) -> None:
    half = b"GET /soups/borscht/price HTTP/1.1\r\nX-Note: "
    await connection.write(price_request("pea") + half)
    first = await connection.response()

    await connection.write(price_request("broken") + half)
    second = await connection.response()

    assert [first.content, second.content] == [b"soup pea", b"soup borscht"]


async def test_headers_of_a_head_received_in_parts_are_not_cached(
    connection: RawConnection,
) -> None:
    await connection.write(b"GET /soups/pea/price HTTP/1.1\r\nX-Request-ID: seven\r\nX-Note: ")
    await asyncio.sleep(0.01)
    await connection.write(price_request("pea"))
    first = await connection.response()

    await connection.write(price_request("pea"))
    second = await connection.response()

    assert first.headers["X-Request-ID"] == "seven"
    assert second.headers["X-Request-ID"] != "seven"


async def test_request_split_at_any_byte_is_answered(connection: RawConnection) -> None:
    request = price_request("borscht")
    for at in range(len(request) + 1):
        await connection.write(price_request("pea"))
        before = await connection.response()
        await connection.write(request[:at])
        await asyncio.sleep(0.001)
        await connection.write(request[at:])
        after = await connection.response()

        assert [before.content, after.content] == [b"soup pea", b"soup borscht"]


async def test_repeated_request_with_a_body_is_answered_with_its_body(
    connection: RawConnection,
) -> None:
    for _ in range(2):
        await connection.write(b"POST /soups HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\npea")
        assert (await connection.response()).content == b"soup pea"


async def test_endpoint_is_called_when_the_body_is_complete(
    connection: RawConnection, app: ExampleApp
) -> None:
    await connection.write(b"POST /soups HTTP/1.1\r\n", HOST, b"Content-Length: 6\r\n\r\n", b"pea")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(app.called.wait(), 0.05)

    await connection.write(b"nut")
    first = await connection.response()
    await connection.write(b"GET /soups/borscht/price HTTP/1.1\r\n", HOST, b"\r\n")
    second = await connection.response()

    assert [first.content, second.content] == [b"soup peanut", b"soup borscht"]


async def test_pipelined_requests_on_both_paths_are_answered_in_order(
    connection: RawConnection, app: ExampleApp
) -> None:
    app.may_respond.clear()
    await connection.write(*(price_request(soup) for soup in ("pea", "borscht", "missing")))
    await connection.write(b"GET /soups HTTP/1.1\r\n", HOST, b"\r\n")
    await app.called.wait()

    app.may_respond.set()
    responses = [await connection.response() for _ in range(4)]
    await connection.write(price_request("pea"))
    last = await connection.response()

    assert [each.status_code for each in responses] == [200, 200, 404, 200]
    assert [each.text for each in responses if each.is_success] == [
        *("soup pea", "soup borscht"),
        '"ordinary"',
    ]
    assert OVER_ASGI not in last.headers  # nothing is pipelined any more


@pytest.mark.parametrize("path", [b"/soups", b"/soups?in=euro"], ids=["fast path", "ASGI"])
async def test_request_before_an_invalid_one_is_answered_first(
    connection: RawConnection, app: ExampleApp, path: bytes
) -> None:
    app.may_respond.clear()
    await connection.write(b"POST %b HTTP/1.1\r\n" % path, HOST, b"Content-Length: 3\r\n\r\npea")
    await connection.write(b"two soups, please\r\n\r\n")
    await app.called.wait()

    app.may_respond.set()
    response, refusal = await connection.response(), await connection.response()

    assert (response.status_code, response.content) == (200, b"soup pea")
    assert_problem(refusal, 400)
    assert refusal.headers.get_list("Connection") == ["close"]
    assert await connection.is_closed()


async def test_body_after_an_upgrade_is_refused(connection: RawConnection, app: ExampleApp) -> None:
    """The body of an upgrade request is neither parsed as a request nor ignored."""
    await connection.write(
        b"POST /soups HTTP/1.1\r\n", HOST, b"Connection: Upgrade\r\nUpgrade: h2c\r\n"
    )
    await connection.write(b"Content-Length: 57\r\n\r\n")
    await connection.write(b"GET /soups/broken/price HTTP/1.1\r\nHost: localhost\r\n\r\n")

    response = await connection.response()

    assert_problem(response, 400)
    assert "Upgrade" in response.json()["detail"]
    assert await connection.is_closed()
    assert not app.called.is_set()


@pytest.mark.parametrize("path", ["/soups", "/soups?in=euro"], ids=["fast path", "ASGI"])
async def test_stop_cancels_requests_after_the_drain_timeout(
    app: ExampleApp, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(server, "DRAIN_TIMEOUT", 1)
    shutdown = Shutdown()
    app.may_respond.clear()
    async with (
        httpx.AsyncClient() as client,
        serve_site(api.build("Test", [app.feature()]), shutdown) as address,
    ):
        in_progress = asyncio.create_task(client.post(address + path))
        await app.called.wait()
        shutdown.request_stop()
        response = await in_progress

    assert response.is_server_error
    assert response.headers["Connection"] == "close"


async def test_response_has_the_clients_request_id_if_valid_else_a_new_one(
    client: httpx.AsyncClient,
) -> None:
    valid = {"X-Request-ID": "table-7"}
    invalid = {"X-Request-ID": "no spaces, please"}

    responses = [await client.post("/soups", headers=each) for each in (valid, invalid, {})]

    first, *others = [each.headers["X-Request-ID"] for each in responses]
    assert first == "table-7"
    assert len({*others, "no spaces, please"}) == 3


async def test_endpoint_error_becomes_a_problem(client: httpx.AsyncClient) -> None:
    """The details of an unexpected error are logged, not sent."""
    with capture_logs() as lines:
        expected = await client.get("/soups/missing/price")
        unexpected = await client.get("/soups/broken/price")

    assert_problem(expected, 404)
    assert_problem(unexpected, 500)
    assert "internal details" not in unexpected.text
    assert [line["log_level"] for line in lines if line["event"] == "request_failed"] == ["error"]


async def test_oversized_body_is_refused(client: httpx.AsyncClient) -> None:
    fast = await client.post("/soups", content=b"-" * MAX_FAST_BODY_SIZE)
    largest = await client.post("/soups", content=b"-" * MAX_BODY_SIZE)
    larger = await client.post("/soups", content=b"-" * (MAX_BODY_SIZE + 1))

    assert len(fast.content) == MAX_FAST_BODY_SIZE + len("soup ")
    assert len(largest.content) == MAX_BODY_SIZE + len("soup ")
    assert_problem(larger, 413)


@pytest.mark.parametrize("path", [b"/soups", b"/soups?in=euro"], ids=["fast path", "ASGI"])
async def test_content_length_with_too_many_digits_is_refused(
    connection: RawConnection, path: bytes
) -> None:
    await connection.write(b"POST %b HTTP/1.1\r\n" % path, HOST)
    await connection.write(b"Content-Length: %b3\r\n\r\npea" % (b"0" * 5000))

    assert_problem(await connection.response(), 413)


async def test_client_that_disconnects_early_causes_no_error(
    connection: RawConnection, app: ExampleApp
) -> None:
    """The endpoint runs to its end; the response is dropped."""
    app.may_respond.clear()
    await connection.write(price_request("pea"))
    await app.called.wait()

    with capture_logs() as lines:
        connection.close()
        await asyncio.sleep(0.05)
        app.may_respond.set()
        await asyncio.sleep(0.05)

    assert [line["event"] for line in lines] == ["request_received"]
    assert lines[0]["message"] == "GET /soups/{name}/price answered 200."


async def test_idle_connection_is_closed_after_the_keep_alive_timeout(
    app: ExampleApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time counts from the last response, and not while a request is in progress."""
    monkeypatch.setattr(server, "KEEP_ALIVE_TIMEOUT", 0.2)
    async with serve_site(api.build("Test", [app.feature()])) as address:
        connection = await RawConnection.to(address)
        for _ in range(3):
            await connection.write(price_request("pea"))
            await connection.response()
            await asyncio.sleep(0.12)
        app.may_respond.clear()
        await connection.write(price_request("pea"))
        await asyncio.sleep(0.3)
        app.may_respond.set()
        assert (await connection.response()).content == b"soup pea"

        assert await connection.is_closed(1)


async def test_response_after_a_stop_was_requested_closes_the_connection(app: ExampleApp) -> None:
    shutdown = Shutdown()
    async with (
        serve_site(api.build("Test", [app.feature()]), shutdown) as address,
        httpx.AsyncClient(base_url=address) as client,
    ):
        before = await client.post("/soups")
        app.may_respond.clear()
        app.called.clear()
        in_progress = asyncio.create_task(client.post("/soups"))
        await app.called.wait()

        shutdown.request_stop()
        app.may_respond.set()
        after = await in_progress

    assert "Connection" not in before.headers
    assert after.headers.get_list("Connection") == ["close"]


async def test_route_that_states_no_requirement_is_refused() -> None:
    """Else a forgotten requirement would open a route to everybody."""
    router = GuardedRouter()
    APIRouter.add_api_route(router, "/forgotten", lambda: "secret")

    with pytest.raises(TypeError, match="forgotten"):
        api.build("Test", [Feature(router)])
    with pytest.raises(TypeError, match="requires"):
        router.add_api_route("/forgotten", lambda: "secret")  # type: ignore[call-arg]
