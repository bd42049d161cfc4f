"""Host, origin and rate of every request are checked, and browsers get headers, on every path."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response

from restaurant_system.config import HttpSettings, SecuritySettings
from restaurant_system.models.access import Caller, Capability
from restaurant_system.shutdown import Shutdown
from restaurant_system.web import allowed_hosts, api, client_limits, origins, server
from restaurant_system.web.access_checks import AccessChecks
from restaurant_system.web.api import Feature
from restaurant_system.web.endpoint import (
    Endpoint,
    EndpointRequest,
    EndpointResponse,
    respond_over_asgi,
)
from restaurant_system.web.event_stream import EventStreamResponse
from restaurant_system.web.file_descriptors import ThrottledLog
from restaurant_system.web.guarded_router import GuardedRouter
from tests.support.logs import capture_logs
from tests.support.raw_connection import RawConnection
from tests.support.responses import assert_problem
from tests.support.services import serve_site
from tests.support.waiting import eventually

READ = Capability.READ_STATUS
LISTED = "https://shop.example.com"
EXAMPLE = {
    "allowed_hosts": [
        *("Restaurant.example.com", "*.stores.example.com", "192.0.2.1"),
        "[2001:0db8:0:0:0:0:0:7]",
    ],
    "cors_origins": [LISTED],
}
FAST_GET, FAST_POST = ("GET", "/soups/pea"), ("POST", "/soups")
SLOW_GET, SLOW_POST = ("GET", "/soups/pea?asgi"), ("POST", "/soups?asgi")
OTHERS = [("GET", "/nothing"), ("DELETE", "/soups/pea"), ("POST", "/soups/pea/cancel")]
EVERY_PATH = [FAST_GET, FAST_POST, SLOW_GET, SLOW_POST, *OTHERS]


def to_response(body: bytes, _: Caller) -> EndpointResponse:
    """Return a response with this body."""
    return EndpointResponse(body)


class Soups:
    """An application that counts the requests that reach its endpoints."""

    def __init__(self) -> None:
        self.served = 0

    async def serve(self, request: EndpointRequest) -> bytes:
        """Count a request."""
        self.served += 1
        return request.parameter.encode()

    async def cancel(self, name: str) -> str:
        """Count a request."""
        self.served += 1
        return name

    async def watch(self) -> Response:
        """Return a stream that does not end."""

        async def events() -> AsyncIterator[bytes]:
            yield b"event: heartbeat\n\n"
            await asyncio.sleep(60)

        return EventStreamResponse(events())

    def feature(self) -> Feature:
        """Return two endpoints that the fast path serves, a route that it does not, a stream."""
        one = Endpoint("GET", "/soups/{name}", self.serve, to_response, requires=READ)
        order = Endpoint("POST", "/soups", self.serve, to_response, requires=READ)

        async def one_over_asgi(request: Request) -> Response:
            return await respond_over_asgi(one, request)

        async def order_over_asgi(request: Request) -> Response:
            return await respond_over_asgi(order, request)

        router = GuardedRouter()
        router.add_api_route("/soups/{name}", one_over_asgi, methods=["GET"], requires=READ)
        router.add_api_route("/soups", order_over_asgi, methods=["POST"], requires=READ)
        router.add_api_route(
            "/soups/{name}/cancel", self.cancel, methods=["POST", "DELETE"], requires=READ
        )
        router.add_api_route("/live", self.watch, methods=["GET"], requires=READ)
        return Feature(router, endpoints=[one, order])


@contextlib.asynccontextmanager
async def serving(
    soups: Soups,
    security: Mapping[str, Any] | None = None,
    http: Mapping[str, Any] | None = None,
    *,
    bound_to: str = "127.0.0.1",
    source: str = "127.0.0.1",
) -> AsyncIterator[httpx.AsyncClient]:
    """Serve the application; yield a client with this address."""
    limits, trust = HttpSettings(**http or {}), SecuritySettings(**security or {})
    checks = AccessChecks(limits, trust, bound_to=bound_to)
    site = api.build("Soups", [soups.feature()], checks)
    transport = httpx.AsyncHTTPTransport(local_address=source)
    async with (
        serve_site(site, settings=limits, checks=checks) as address,
        httpx.AsyncClient(base_url=address, transport=transport) as client,
    ):
        yield client


async def raw_responses(client: httpx.AsyncClient, *requests: bytes) -> list[int]:
    """Send requests on one connection; return the statuses of the responses until it is closed."""
    connection = await RawConnection.to(str(client.base_url))
    statuses = []
    with contextlib.suppress(ConnectionError):
        for request in requests:
            await connection.write(request)
            statuses.append((await connection.response()).status_code)
    connection.close()
    return statuses


INVALID_HOSTS = [
    b"",
    b"Host: localhost\r\nHost: localhost\r\n",
    b"Host: localhost\r\nX: y\r\nhost: evil.example\r\n",
    b"Host: localhost, localhost\r\nHost:\r\n",
    b"Host: user@localhost\r\n",
    b"Host: localhost/path\r\n",
    b"Host: local host\r\n",
    b"Host: localhost:port\r\n",
    b"Host: ::1\r\n",
    b"Host: loc\xe4lhost\r\n",
]


@pytest.mark.parametrize("start", [b"GET /soups/pea", b"POST /soups", b"GET /nothing"])
async def test_request_without_exactly_one_valid_host_gets_400(start: bytes) -> None:
    """RFC 9112, 3.2, also when an earlier request on the connection was valid."""
    soups = Soups()
    valid = b"GET /soups/pea HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with serving(soups) as client:
        for fields in INVALID_HOSTS:
            request = start + b" HTTP/1.1\r\n" + fields + b"Content-Length: 0\r\n\r\n"
            assert await raw_responses(client, request, valid) == [400], fields
            assert await raw_responses(client, valid, request, valid) == [200, 400], fields
    assert soups.served == len(INVALID_HOSTS)


async def test_http_1_0_may_omit_the_host() -> None:
    """A health check of a load balancer may be HTTP/1.0."""
    async with serving(Soups()) as client:
        assert await raw_responses(client, b"GET /soups/pea HTTP/1.0\r\n\r\n") == [200]
        two = b"GET /soups/pea HTTP/1.0\r\nHost: localhost\r\nHost: localhost\r\n\r\n"
        assert await raw_responses(client, two) == [400]


async def test_host_in_a_trailer_is_ignored() -> None:
    chunked = b"POST /soups HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with serving(Soups()) as client:
        assert await raw_responses(client, chunked + b"0\r\nHost: evil.example\r\n\r\n") == [200]


OWN_HOSTS = [
    *("localhost", "LocalHost:3000", "localhost.", "127.0.0.1", "127.0.0.1:80", "[::1]:3000"),
    *("restaurant.example.com", "RESTAURANT.example.com:8443", "192.0.2.1"),
    *("a.stores.example.com", "a.b.stores.example.com", "[0:0:0:0:0:0:0:1]:80"),
    *("[2001:db8::7]", "[2001:DB8:0::0:7]:3000", "[2001:0db8:0000::0007]", "[::ffff:192.0.2.1]"),
]
OTHER_HOSTS = [
    *("evil.example", "localhost.evil.example", "evil-localhost", "", "0.0.0.0"),  # noqa: S104 - not bound to
    *("stores.example.com", "evilstores.example.com", "10.0.0.1", "[2001:db8::1]"),
]


async def test_own_and_configured_hosts_are_served() -> None:
    async with serving(Soups(), EXAMPLE) as client:
        for host in OWN_HOSTS:
            for method, path in (FAST_GET, FAST_POST, SLOW_GET):
                response = await client.request(method, path, headers={"Host": host})
                assert response.status_code == 200, host


@pytest.mark.parametrize(("method", "path"), EVERY_PATH)
async def test_other_hosts_are_refused_on_every_path(method: str, path: str) -> None:
    """So a page whose host name is made to point here (DNS rebinding) reads and changes nothing."""
    soups = Soups()
    async with serving(soups, EXAMPLE) as client:
        for host in OTHER_HOSTS:
            response = await client.request(method, path, headers={"Host": host})
            assert_problem(response, 421)
            assert "security.allowed_hosts" in response.json()["detail"]
            assert "example" not in response.text

    assert soups.served == 0


async def test_host_is_checked_again_when_it_changes_on_a_connection() -> None:
    requests = [b"GET /soups/pea HTTP/1.1\r\nHost: %b\r\n\r\n" % each for each in (b"localhost",
        b"localhost", b"evil.example", b"localhost")]  # fmt: skip
    async with serving(Soups()) as client:
        assert await raw_responses(client, *requests) == [200, 200, 421, 200]


OTHER_TARGETS = [
    *(b"http://evil.example", b"HTTP://EVIL.example:80", b"https://evil.example"),
    *(b"http://127.0.0.1.evil.example", b"http://[2001:db8::1]", b"http://[2001:db8::1]:80"),
]
OWN_TARGETS = [
    *(b"http://localhost", b"HTTP://LocalHost:3000", b"https://localhost", b"http://127.0.0.1:80"),
    *(b"http://[::1]", b"http://[0:0:0:0:0:0:0:1]:3000"),
]
INVALID_TARGETS = [
    *(b"http://user@localhost", b"http://a:b@localhost", b"http://localhost@evil.example"),
    *(b"http://", b"http://:80", b"http://localhost:port", b"ftp://localhost", b"http://[::1"),
]


@pytest.mark.parametrize("start", [b"GET %b/soups/pea", b"POST %b/soups", b"GET %b/nothing"])
async def test_host_in_the_target_counts_and_not_the_host_field(start: bytes) -> None:
    """RFC 9112, 3.2.2, also after requests whose header fields are cached."""
    soups = Soups()
    end = b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
    other_end = b" HTTP/1.1\r\nHost: evil.example\r\n\r\n"
    valid = b"GET /soups/pea" + end
    async with serving(soups) as client:
        for target in OTHER_TARGETS:
            request = start % target + end
            statuses = await raw_responses(client, valid, valid, request, valid)
            assert statuses == [200, 200, 421, 200], target
        for target in INVALID_TARGETS:
            assert await raw_responses(client, valid, start % target + end, valid) == [200, 400]
        assert soups.served == 3 * len(OTHER_TARGETS) + len(INVALID_TARGETS)
        for target in OWN_TARGETS:
            statuses = await raw_responses(client, start % target + other_end)
            assert statuses in ([200], [404]), target
            assert await raw_responses(client, start % target + b" HTTP/1.1\r\n\r\n") == [400]


async def test_http_1_0_with_a_host_in_its_target_is_checked() -> None:
    async with serving(Soups()) as client:
        end = b"/soups/pea HTTP/1.0\r\n\r\n"
        assert await raw_responses(client, b"GET http://evil.example" + end) == [421]
        assert await raw_responses(client, b"GET http://localhost" + end) == [200]


async def test_own_origin_is_the_host_in_the_target() -> None:
    """A Host field that equals the foreign origin makes it no page of the service."""
    request = (
        b"POST http://localhost/soups HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://%b\r\n\r\n"
    )
    async with serving(Soups()) as client:
        assert await raw_responses(client, request % b"evil.example") == [403]
        assert await raw_responses(client, request % b"localhost") == [200]


@pytest.mark.parametrize(
    ("bound_to", "accepted", "refused"),
    [
        ("192.0.2.7", "192.0.2.7:3000", "192.0.2.8"),
        ("2001:db8::7", "[2001:db8::7]", "[2001:db8::8]"),
        ("kitchen.example.com", "kitchen.example.com", "192.0.2.8"),
        ("0.0.0.0", "10.9.8.7:3000", "kitchen.example.com"),  # noqa: S104 - as a setting
        ("::", "[2001:db8::8]:3000", "kitchen.example.com"),
    ],
)
async def test_bound_address_is_served(bound_to: str, accepted: str, refused: str) -> None:
    """A load balancer checks the health of a process by its address.

    A service that listens on all interfaces cannot know under which addresses it is reached.
    """
    async with serving(Soups(), bound_to=bound_to) as client:
        response = await client.get("/soups/pea", headers={"Host": accepted})
        other = await client.get("/soups/pea", headers={"Host": refused})

    assert response.status_code == 200
    assert other.status_code == 421


async def test_refusals_are_logged_once_and_name_no_host_or_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module, name in (
        (allowed_hosts, "refused"),
        (origins, "refused"),
        (client_limits, "rate_exceeded"),
        (client_limits, "streams_exceeded"),
    ):
        log = getattr(module, name)
        monkeypatch.setattr(module, name, ThrottledLog(log._action, log._message))  # noqa: SLF001 - not yet used
    limits = {"changes_per_second": 0.01, "streams_per_address": 1}
    with capture_logs() as lines:
        async with (
            serving(Soups(), http=limits, source="127.0.0.2") as client,
            client.stream("GET", "/live"),
        ):
            for _ in range(3):
                await client.get("/soups/pea", headers={"Host": "evil.example"})
                await client.post("/soups", headers={"Origin": "https://evil.example"})
                await client.post("/soups")
                await client.get("/live")

    logged = [each["event"] for each in lines]
    for action in ("host_refused", "origin_refused", "requests_limited", "streams_limited"):
        assert logged.count(action) == 1, action
    assert "evil" not in str(lines)
    assert "127.0.0.2" not in str(lines)


FOREIGN = [
    {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "something new"},
    {"Origin": "https://evil.example"},
    {"Origin": "http://localhost:1"},
    {"Origin": "null"},
    {"Origin": ""},
]


async def test_page_of_another_origin_changes_nothing() -> None:
    """Whatever the method, the path and the content type are."""
    soups = Soups()
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    async with serving(soups) as client:
        for headers in FOREIGN:
            for method, path in (FAST_POST, SLOW_POST, *OTHERS[1:], ("PUT", "/nothing")):
                response = await client.request(method, path, headers=headers | form)
                assert_problem(response, 403)

    assert soups.served == 0


async def test_pages_of_the_own_origin_and_programs_are_accepted() -> None:
    """Programs send neither `Origin` nor Fetch Metadata."""
    soups = Soups()
    async with serving(soups, EXAMPLE) as client:
        own = f"http://{client.base_url.netloc.decode()}"
        behind_tls = {"Host": "restaurant.example.com", "Origin": "https://restaurant.example.com"}
        for headers in (
            {},
            {"Origin": own},
            behind_tls,
            {"Sec-Fetch-Site": "same-origin", "Origin": own},
            {"Sec-Fetch-Site": "none"},
        ):
            for method, path in (FAST_POST, SLOW_POST, OTHERS[2]):
                response = await client.request(method, path, headers=headers)
                assert response.status_code == 200, headers

    assert soups.served == 15


async def test_page_of_another_origin_may_follow_a_link() -> None:
    """It cannot read the response."""
    async with serving(Soups(), EXAMPLE) as client:
        response = await client.get("/soups/pea", headers={"Sec-Fetch-Site": "cross-site"})
        foreign = await client.get("/soups/pea", headers={"Origin": "https://evil.example"})

    assert response.status_code == foreign.status_code == 200
    assert "access-control-allow-origin" not in foreign.headers


async def test_page_of_a_listed_origin_may_send_requests_and_read_responses() -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Origin": LISTED}
    async with serving(Soups(), EXAMPLE) as client:
        for method, path in EVERY_PATH:
            response = await client.request(method, path, headers=headers)

            assert response.status_code in {200, 404, 405}
            assert response.headers["access-control-allow-origin"] == LISTED
            assert "X-Request-ID" in response.headers["access-control-expose-headers"]
            assert "access-control-allow-credentials" not in response.headers


async def test_page_of_a_listed_origin_can_read_that_its_request_is_refused() -> None:
    async with serving(Soups(), EXAMPLE) as client:
        response = await client.get(
            "/soups/pea", headers={"Host": "evil.example", "Origin": LISTED}
        )

    assert_problem(response, 421)
    assert response.headers["access-control-allow-origin"] == LISTED


def preflight(origin: str, path: str = "/soups") -> httpx.Request:
    """Return the request by which a browser asks whether a page may place an order."""
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,idempotency-key",
    }
    return httpx.Request("OPTIONS", f"http://localhost{path}", headers=headers)


async def send(client: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
    """Send a request to the server of a client."""
    request.url = client.base_url.join(request.url.raw_path.decode())
    return await client.send(request)


async def test_preflight_is_answered_for_listed_origins_only() -> None:
    async with serving(Soups(), EXAMPLE) as client:
        listed = await send(client, preflight(LISTED))
        others = [
            await send(client, preflight(each)) for each in (f"{LISTED}.evil.example", "null")
        ]

    assert listed.status_code == 200
    assert listed.headers["access-control-allow-origin"] == LISTED
    assert "POST" in listed.headers["access-control-allow-methods"]
    assert "Idempotency-Key" in listed.headers["access-control-allow-headers"]
    assert listed.headers["X-Request-ID"]
    for response in others:
        assert_problem(response, 403)
        assert not [each for each in response.headers if each.startswith("access-control")]


async def test_preflight_of_a_listed_origin_passes_all_checks_first() -> None:
    """Otherwise it tells about the listed origins under any host name, at any rate."""
    async with serving(Soups(), EXAMPLE, RATES, source="127.0.0.2") as client:
        other_host = preflight(LISTED)
        other_host.headers["Host"] = "evil.example"
        refused = await send(client, other_host)
        statuses = [(await send(client, preflight(LISTED))).status_code for _ in range(8)]

    assert_problem(refused, 421)
    assert statuses == [200] * 5 + [429] * 3


async def test_no_origin_is_listed_by_default() -> None:
    async with serving(Soups()) as client:
        refused = await send(client, preflight(LISTED))
        response = await client.get("/soups/pea", headers={"Origin": LISTED})

    assert_problem(refused, 403)
    assert "access-control-allow-origin" not in response.headers


RATES = {"changes_per_second": 0.3, "lookups_per_second": 0.5}


@pytest.mark.parametrize("paths", [(FAST_GET, SLOW_GET), (SLOW_GET, OTHERS[0])], ids=str)
async def test_lookups_above_the_rate_of_the_client_get_429(
    paths: tuple[tuple[str, str], ...],
) -> None:
    """Requests on the fast path and over ASGI share a limit, and leave the one of changes alone."""
    async with serving(Soups(), http=RATES, source="127.0.0.2") as client:
        statuses = []
        for number in range(8):
            response = await client.request(*paths[number % 2])
            statuses.append(response.status_code)
        change = await client.request(*FAST_POST)

    assert 429 not in statuses[:5]
    assert statuses[5:] == [429] * 3
    assert_problem(response, 429)
    assert int(response.headers["Retry-After"]) >= 1
    assert change.status_code == 200


async def test_repeated_requests_with_cached_headers_are_limited_too() -> None:
    requests = [b"GET /soups/pea HTTP/1.1\r\nHost: localhost\r\n\r\n"] * 8
    security = {"trusted_proxies": ["127.0.0.1"]}
    from_proxy = [each[:-2] + b"X-Forwarded-For: 192.0.2.1\r\n\r\n" for each in requests]
    async with serving(Soups(), security, http=RATES) as client:
        assert await raw_responses(client, *from_proxy) == [200] * 5 + [429] * 3
        assert await raw_responses(client, *requests) == [200] * 8


async def test_changes_above_the_rate_of_the_client_get_429() -> None:
    soups = Soups()
    async with serving(soups, http=RATES, source="127.0.0.2") as client:
        responses = [await client.request(*path) for path in (FAST_POST, SLOW_POST, OTHERS[2]) * 2]

    assert [each.status_code for each in responses] == [200] * 3 + [429] * 3
    assert soups.served == 3


async def test_programs_on_this_machine_have_no_limit() -> None:
    async with serving(Soups(), http=RATES | {"streams_per_address": 1}) as client:
        for path in (FAST_POST, FAST_GET) * 10:
            assert (await client.request(*path)).status_code == 200
        async with client.stream("GET", "/live"), client.stream("GET", "/live") as second:
            assert second.status_code == 200


async def test_client_behind_an_unknown_proxy_cannot_choose_its_address() -> None:
    async with serving(Soups(), http=RATES, source="127.0.0.2") as client:
        statuses = [
            (
                await client.get("/soups/pea", headers={"X-Forwarded-For": f"192.0.2.{n}"})
            ).status_code
            for n in range(8)
        ]

    assert statuses == [200] * 5 + [429] * 3


async def test_live_view_above_the_limit_of_the_client_gets_429() -> None:
    """A view that was closed makes room for another."""
    limit = {"streams_per_address": 2}
    async with (
        serving(Soups(), http=limit, source="127.0.0.2") as client,
        client.stream("GET", "/live"),
    ):
        async with client.stream("GET", "/live"):
            refused = await client.get("/live")
            assert_problem(refused, 429)
            assert int(refused.headers["Retry-After"]) >= 1

        async def can_be_opened() -> bool:
            async with client.stream("GET", "/live") as response:
                return response.status_code == 200

        await eventually(can_be_opened, doing="for the closed view to be uncounted")


async def test_data_is_neither_cached_nor_framed_nor_taken_for_another_type() -> None:
    """Errors included."""
    async with serving(Soups()) as client:
        for method, path in [*EVERY_PATH, ("HEAD", "/")]:
            for host in ("localhost", "evil.example"):
                assert_protected(await client.request(method, path, headers={"Host": host}))


async def test_refusal_of_invalid_http_has_the_same_headers() -> None:
    async with serving(Soups()) as client:
        connection = await RawConnection.to(str(client.base_url))
        await connection.write(b"two soups, please\r\n\r\n")
        assert_protected(await connection.response())
        connection.close()


def assert_protected(response: httpx.Response) -> None:
    """Assert that each header for browsers occurs once."""
    assert response.headers.get_list("Cache-Control") == ["no-store"]
    assert response.headers.get_list("X-Content-Type-Options") == ["nosniff"]
    assert response.headers.get_list("Referrer-Policy") == ["no-referrer"]
    (policy,) = response.headers.get_list("Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "form-action 'none'" in policy


async def test_service_that_is_starting_makes_the_same_checks() -> None:
    """Before its dependencies are there, it answers with 503 whatever passes them."""
    limits, trust = HttpSettings(**RATES), SecuritySettings(**EXAMPLE)
    listener = server.listen("127.0.0.1", 0)
    checks = AccessChecks(limits, trust, bound_to="kitchen.example.com")
    host, port = listener.getsockname()
    transport = httpx.AsyncHTTPTransport(local_address="127.0.0.2")
    with contextlib.closing(listener):
        async with (
            server.running(listener, Shutdown(), limits, checks),
            httpx.AsyncClient(base_url=f"http://{host}:{port}", transport=transport) as client,
        ):
            for path in ("/orders", "/health/live"):
                other = await client.get(path, headers={"Host": "evil.example"})
                assert_problem(other, 421)
            assert_problem(await client.post("/orders", headers=FOREIGN[0]), 403)
            own = {"Host": "kitchen.example.com"}
            assert (await client.get("/health/live", headers=own)).status_code == 200
            listed = await client.get("/orders", headers={"Origin": LISTED})
            assert_problem(listed, 503)
            assert listed.headers["access-control-allow-origin"] == LISTED
            statuses = [(await client.get("/health/live")).status_code for _ in range(4)]

    assert statuses == [200] * 3 + [429]


async def test_live_view_is_protected() -> None:
    async with serving(Soups()) as client, client.stream("GET", "/live") as response:
        assert_protected(response)
