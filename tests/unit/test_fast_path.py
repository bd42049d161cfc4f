"""The short way of the hot roads: who takes it, and that nobody can tell by the answer."""

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus

import httpx
import pytest
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from structlog.testing import capture_logs
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from restaurant_system.errors import OrderNotFound
from restaurant_system.shutdown import Shutdown
from restaurant_system.web import api, server
from restaurant_system.web.api import Feature
from restaurant_system.web.fastpath.routes import (
    FastRequest,
    FastResponse,
    FastRoute,
    respond_over_asgi,
)
from restaurant_system.web.headers import MAX_BODY_SIZE
from tests.support.responses import assert_problem
from tests.support.services import http_client, served

HOST = b"Host: tavern\r\n"
DETOUR = "By-Way-Of"  # a header of what came over the ordinary road


class Tavern:
    """Serves what is asked for, once the kitchen is open."""

    def __init__(self) -> None:
        self.price = FastRoute.create("GET", "/soups/{name}/price", self.price_of, written)
        self.order = FastRoute.create("POST", "/soups", self.serve, written)
        self.asked = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def serve(self, asked: FastRequest) -> bytes:
        """Answer with what stands in the address, and in the body."""
        self.asked.set()
        if asked.parameter != "water":  # is at hand
            await self.open.wait()
        match asked.parameter:
            case "tripe":
                raise OrderNotFound(asked.parameter)
            case "fugu":
                raise RuntimeError("the cook has eaten it")
        return f"hot {asked.parameter}".encode() + asked.body

    def price_of(self, asked: FastRequest) -> asyncio.Future[bytes]:
        """Answer likewise, without being a coroutine."""
        return asyncio.ensure_future(self.serve(asked))

    async def documented_price(self, request: Request) -> Response:
        """Answer over the ordinary road, and show it."""
        return await self._by_detour(self.price, request)

    async def documented_order(self, request: Request) -> Response:
        """Answer over the ordinary road, and show it."""
        return await self._by_detour(self.order, request)

    async def _by_detour(self, road: FastRoute[bytes], request: Request) -> Response:
        response = await respond_over_asgi(road, request)
        response.headers[DETOUR] = "ASGI"
        return response

    async def cold(self) -> str:
        """Answer as FastAPI."""
        return "cold"

    def feature(self) -> Feature:
        """Return a hot road with a parameter, one without, and what is behind them."""
        router = APIRouter()
        router.add_api_route("/soups/{name}/price", self.documented_price, methods=["GET"])
        router.add_api_route("/soups", self.documented_order, methods=["POST"])
        router.add_api_route("/soups", self.cold, methods=["GET"])
        router.add_api_route("/soups/{name}/{part}/price", self.cold, methods=["GET"])
        return Feature(router, fast_routes=[self.price, self.order])


def written(soup: bytes) -> FastResponse:
    """Write what is served."""
    return FastResponse(soup, media_type="text/plain")


class Wire:
    """A line on which bytes are written as they stand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def write(self, *parts: bytes) -> None:
        """Send."""
        self._writer.writelines(parts)

    async def answer(self) -> httpx.Response:
        """Read the next answer."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        status, *lines = head.decode().removesuffix("\r\n\r\n").split("\r\n")
        parts = [line.partition(": ") for line in lines]
        headers = httpx.Headers([(name, value) for name, _, value in parts])
        body = await self._reader.readexactly(int(headers.get("Content-Length", 0)))
        return httpx.Response(int(status.split()[1]), headers=headers, content=body)

    async def is_closed(self) -> bool:
        """Wait for the end of the line; nothing comes before it."""
        return await self._reader.read() == b""

    def hang_up(self) -> None:
        """Hang up."""
        self._writer.close()


@pytest.fixture
def tavern() -> Tavern:
    """Open a tavern."""
    return Tavern()


@pytest.fixture
async def client(tavern: Tavern) -> AsyncIterator[httpx.AsyncClient]:
    """Be a guest of it."""
    async with http_client(tavern.feature()) as client:
        yield client


@pytest.fixture
async def wire(tavern: Tavern) -> AsyncIterator[Wire]:
    """Have a line to it."""
    async with served(api.build("Tavern", [tavern.feature()])) as address:
        url = httpx.URL(address)
        wire = Wire(*await asyncio.open_connection(url.host, url.port))
        yield wire
        tavern.open.set()
        wire.hang_up()


@pytest.mark.parametrize(
    ("method", "address", "answer"),
    [
        ("GET", "/soups/borscht/price", "hot borscht"),
        ("GET", "/soups/price/price", "hot price"),
        ("POST", "/soups", "hot "),
        ("GET", "/soups", '"cold"'),
        ("GET", "/soups/a/b/price", '"cold"'),
    ],
)
async def test_whose_an_address_is(
    client: httpx.AsyncClient, method: str, address: str, answer: str
) -> None:
    """A hot road takes its own method and addresses; FastAPI has all the others."""
    response = await client.request(method, address)

    assert response.text == answer
    assert DETOUR not in response.headers


@pytest.mark.parametrize(
    ("method", "address", "status"),
    [
        ("GET", "/soups/price", 404),
        ("GET", "/soups//price", 404),
        ("GET", "/soups/borscht/price/list", 404),
        ("GET", "/tsoups/borscht/price", 404),
        ("PUT", "/soups", 405),
        ("HEAD", "/soups/borscht/price", 405),
    ],
)
async def test_addresses_that_are_nobodys(
    client: httpx.AsyncClient, method: str, address: str, status: int
) -> None:
    """What only looks like a hot road's is answered as a problem."""
    answer = await client.request(method, address)

    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        pytest.param(b"GET /soups/pea/price?in=euro HTTP/1.1\r\n\r\n", b"hot pea", id="a query"),
        pytest.param(b"GET /soups/p%65a/price HTTP/1.1\r\n\r\n", b"hot pea", id="an escape"),
        pytest.param(b"GET /soups/pea/price HTTP/1.0\r\n\r\n", b"hot pea", id="an old HTTP"),
        pytest.param(
            b"GET /soups/pea/price HTTP/1.1\r\nConnection: close\r\n\r\n", b"hot pea", id="goodbye"
        ),
        pytest.param(
            b"GET /soups/pea/price HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
            b"hot pea",
            id="an upgrade",
        ),
        pytest.param(
            b"POST /soups HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\npea\r\n0\r\n\r\n",
            b"hot pea",
            id="a body in chunks",
        ),
    ],
)
async def test_what_is_unusual_takes_the_ordinary_road(
    wire: Wire, request_: bytes, answer: bytes
) -> None:
    """There the same endpoint answers, and everything is understood that HTTP has."""
    first, _, rest = request_.partition(b"\r\n")
    wire.write(first, b"\r\n", HOST, rest)

    response = await wire.answer()

    assert response.status_code == HTTPStatus.OK
    assert response.content == answer
    assert response.headers[DETOUR] == "ASGI"


async def test_who_wants_to_be_asked_for_the_body_is_asked(wire: Wire) -> None:
    """`Expect: 100-continue` is answered before the body comes."""
    wire.write(b"POST /soups HTTP/1.1\r\n", HOST, b"Content-Length: 3\r\n")
    wire.write(b"Expect: 100-continue\r\n\r\n")
    asked = await wire.answer()

    wire.write(b"pea")
    answered = await wire.answer()

    assert asked.status_code == HTTPStatus.CONTINUE
    assert answered.content == b"hot pea"


def asks_for(soup: str, *said: bytes) -> bytes:
    """Write a request for a price."""
    return b"GET /soups/%b/price HTTP/1.1\r\n%b%b\r\n" % (soup.encode(), HOST, b"".join(said))


async def test_who_asks_again_is_asked_nothing_again(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands under the first line is read once; the answer is to the new first line."""
    read = []
    parse = HttpToolsProtocol.data_received

    def note(self: HttpToolsProtocol, data: bytes) -> None:
        read.append(data)
        parse(self, data)

    monkeypatch.setattr(HttpToolsProtocol, "data_received", note)
    answers = []
    for soup in ("pea", "borscht", "tripe", "pea"):
        wire.write(asks_for(soup))
        answers.append(await wire.answer())

    assert read == [asks_for("pea")]
    assert [each.status_code for each in answers] == [200, 200, 404, 200]
    assert [each.text for each in answers[:2]] == ["hot pea", "hot borscht"]
    assert answers[3].text == "hot pea"
    assert len({each.headers["X-Request-ID"] for each in answers}) == len(answers)


async def test_who_says_something_else_is_heard(wire: Wire) -> None:
    """Each time, for as long as it says so."""
    stated = [b"X-Request-ID: %b\r\n" % name for name in (b"seven", b"seven", b"eight")]
    answers = []
    for said in ([], *([each] for each in stated), []):
        wire.write(asks_for("pea", *said))
        answers.append(await wire.answer())
    wire.write(asks_for("pea", b"Connection: close\r\n"))
    last = await wire.answer()

    ids = [each.headers["X-Request-ID"] for each in answers]
    assert ids[1:4] == ["seven", "seven", "eight"]
    assert len({*ids}) == 4
    assert last.headers["Connection"] == "close"
    assert await wire.is_closed()


async def test_who_asks_again_before_the_answer_is_answered_in_turn(
    wire: Wire, tavern: Tavern
) -> None:
    """However quickly what was asked later could be answered."""
    wire.write(asks_for("pea"))
    await wire.answer()
    tavern.asked.clear()
    tavern.open.clear()
    wire.write(asks_for("borscht"))
    await tavern.asked.wait()

    wire.write(asks_for("water"))
    await asyncio.sleep(0.02)
    tavern.open.set()
    answers = [await wire.answer() for _ in range(2)]

    assert [each.content for each in answers] == [b"hot borscht", b"hot water"]


async def test_a_line_break_before_a_request_is_no_part_of_what_is_repeated(wire: Wire) -> None:
    """It is passed over there; between a first line and the next it is a fault."""
    wire.write(b"\r\n" + asks_for("pea"))
    await wire.answer()

    wire.write(b"GET /soups/borscht/price HTTP/1.1" + b"\r\n" + asks_for("pea"))

    assert_problem(await wire.answer(), 400)


async def test_what_only_looks_like_a_request_is_none(wire: Wire) -> None:
    """In a body, or after half a head, there stands what its sender has put there."""
    wire.write(asks_for("pea"))
    await wire.answer()

    body = asks_for("fugu")
    wire.write(b"POST /soups HTTP/1.1\r\n", HOST, b"Content-Length: %d\r\n\r\n" % len(body))
    await asyncio.sleep(0.01)
    wire.write(body)
    ordered = await wire.answer()
    wire.write(asks_for("pea"))
    await wire.answer()
    wire.write(b"GET /soups/borscht/price HTTP/1.1\r\nX-Note: ")
    await asyncio.sleep(0.01)
    wire.write(asks_for("fugu"))
    noted = await wire.answer()

    assert ordered.content == b"hot " + body
    assert noted.content == b"hot borscht"


async def test_what_follows_a_request_is_not_what_it_says(wire: Wire) -> None:
    """Half a head behind it belongs to the next one, however often it stands there."""
    half = b"GET /soups/borscht/price HTTP/1.1\r\nX-Note: "
    wire.write(asks_for("pea") + half)
    first = await wire.answer()

    wire.write(asks_for("fugu") + half)
    second = await wire.answer()

    assert [first.content, second.content] == [b"hot pea", b"hot borscht"]


async def test_what_stood_before_a_request_is_not_what_it_says(wire: Wire) -> None:
    """Nor is what comes last all of what a head says."""
    wire.write(b"GET /soups/pea/price HTTP/1.1\r\nX-Request-ID: seven\r\nX-Note: ")
    await asyncio.sleep(0.01)
    wire.write(asks_for("pea"))
    first = await wire.answer()

    wire.write(asks_for("pea"))
    second = await wire.answer()

    assert first.headers["X-Request-ID"] == "seven"
    assert second.headers["X-Request-ID"] != "seven"


async def test_however_it_is_cut(wire: Wire) -> None:
    """Requests are the same wherever the network cuts them, after one that was whole."""
    asked = asks_for("borscht")
    for cut in range(len(asked) + 1):
        wire.write(asks_for("pea"))
        before = await wire.answer()
        wire.write(asked[:cut])
        await asyncio.sleep(0.001)
        wire.write(asked[cut:])
        after = await wire.answer()

        assert [before.content, after.content] == [b"hot pea", b"hot borscht"]


async def test_a_body_is_read_each_time(wire: Wire) -> None:
    """The same one, too."""
    for _ in range(2):
        wire.write(b"POST /soups HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\npea")
        assert (await wire.answer()).content == b"hot pea"


async def test_a_body_comes_in_pieces(wire: Wire, tavern: Tavern) -> None:
    """The endpoint is asked when it is whole, and the line goes on."""
    wire.write(b"POST /soups HTTP/1.1\r\n", HOST, b"Content-Length: 6\r\n\r\n", b"pea")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(tavern.asked.wait(), 0.05)

    wire.write(b"nut")
    first = await wire.answer()
    wire.write(b"GET /soups/borscht/price HTTP/1.1\r\n", HOST, b"\r\n")
    second = await wire.answer()

    assert [first.content, second.content] == [b"hot peanut", b"hot borscht"]


async def test_who_asks_on_is_answered_in_turn(wire: Wire, tavern: Tavern) -> None:
    """Requests that come before the answer are answered in their order, whatever road they take."""
    tavern.open.clear()
    asked = [f"/soups/{name}/price" for name in ("pea", "borscht", "tripe")]
    wire.write(*(b"GET %b HTTP/1.1\r\n%b\r\n" % (each.encode(), HOST) for each in asked))
    wire.write(b"GET /soups HTTP/1.1\r\n", HOST, b"\r\n")
    await tavern.asked.wait()

    tavern.open.set()
    answers = [await wire.answer() for _ in range(4)]
    wire.write(b"GET /soups/pea/price HTTP/1.1\r\n", HOST, b"\r\n")
    last = await wire.answer()

    assert [each.status_code for each in answers] == [200, 200, 404, 200]
    assert [each.text for each in answers if each.is_success] == [
        *("hot pea", "hot borscht"),
        '"cold"',
    ]
    assert DETOUR not in last.headers  # nobody waits any more, and the short way is free again


@pytest.mark.parametrize("address", [b"/soups", b"/soups?in=euro"], ids=["hot", "ordinary"])
async def test_what_came_before_nonsense_is_answered(
    wire: Wire, tavern: Tavern, address: bytes
) -> None:
    """The request before it gets its response, then it gets its own; then the line is closed."""
    tavern.open.clear()
    wire.write(b"POST %b HTTP/1.1\r\n" % address, HOST, b"Content-Length: 3\r\n\r\npea")
    wire.write(b"two soups, please\r\n\r\n")
    await tavern.asked.wait()

    tavern.open.set()
    answer, refusal = await wire.answer(), await wire.answer()

    assert (answer.status_code, answer.content) == (200, b"hot pea")
    assert_problem(refusal, 400)
    assert refusal.headers.get_list("Connection") == ["close"]
    assert await wire.is_closed()


async def test_a_body_behind_an_upgrade_is_refused(wire: Wire, tavern: Tavern) -> None:
    """It is not read, so that it is no order without a body, and no request of its own."""
    wire.write(b"POST /soups HTTP/1.1\r\n", HOST, b"Connection: Upgrade\r\nUpgrade: h2c\r\n")
    wire.write(b"Content-Length: 57\r\n\r\n")
    wire.write(b"GET /soups/fugu/price HTTP/1.1\r\nHost: a-body-not-asked\r\n\r\n")

    answer = await wire.answer()

    assert_problem(answer, 400)
    assert "Upgrade" in answer.json()["detail"]
    assert await wire.is_closed()
    assert not tavern.asked.is_set()


@pytest.mark.parametrize("path", ["/soups", "/soups?in=euro"], ids=["hot", "ordinary"])
async def test_a_stop_does_not_wait_for_ever(
    tavern: Tavern, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Whoever would wait for longer is told so."""
    monkeypatch.setattr(server, "LONGEST_GOODBYE", 1)
    shutdown = Shutdown()
    tavern.open.clear()
    async with (
        httpx.AsyncClient() as client,
        served(api.build("Tavern", [tavern.feature()]), shutdown) as address,
    ):
        under_way = asyncio.create_task(client.post(address + path))
        await tavern.asked.wait()
        shutdown.request_stop()
        answer = await under_way

    assert answer.is_server_error
    assert answer.headers["Connection"] == "close"


async def test_every_answer_has_a_request_id(client: httpx.AsyncClient) -> None:
    """The caller's, if it sent a sane one, else a new one; it is in what is logged meanwhile."""
    stated = {"X-Request-ID": "table-7"}
    insane = {"X-Request-ID": "no spaces, please"}

    answers = [await client.post("/soups", headers=each) for each in (stated, insane, {})]

    first, *others = [each.headers["X-Request-ID"] for each in answers]
    assert first == "table-7"
    assert len({*others, "no spaces, please"}) == 3


async def test_what_goes_wrong_is_answered_as_a_problem(client: httpx.AsyncClient) -> None:
    """Foreseen or not; the inside of what nobody foresaw is in the log alone."""
    with capture_logs() as lines:
        foreseen = await client.get("/soups/tripe/price")
        unforeseen = await client.get("/soups/fugu/price")

    assert_problem(foreseen, 404)
    assert_problem(unforeseen, 500)
    assert "eaten" not in unforeseen.text
    assert [line["log_level"] for line in lines if line["event"] == "request_failed"] == ["error"]


async def test_too_large_a_body(client: httpx.AsyncClient) -> None:
    """One byte too many is refused, the largest is taken."""
    largest = await client.post("/soups", content=b"-" * MAX_BODY_SIZE)
    larger = await client.post("/soups", content=b"-" * (MAX_BODY_SIZE + 1))

    assert len(largest.content) == MAX_BODY_SIZE + len("hot ")
    assert_problem(larger, 413)


@pytest.mark.parametrize("address", [b"/soups", b"/soups?in=euro"], ids=["hot", "ordinary"])
async def test_a_length_beyond_counting(wire: Wire, address: bytes) -> None:
    """It is too large, however many noughts it begins with."""
    wire.write(b"POST %b HTTP/1.1\r\n" % address, HOST)
    wire.write(b"Content-Length: %b3\r\n\r\npea" % (b"0" * 5000))

    assert_problem(await wire.answer(), 413)


async def test_who_hangs_up_is_no_failure(wire: Wire, tavern: Tavern) -> None:
    """What was asked for is done to its end; the answer goes nowhere."""
    tavern.open.clear()
    wire.write(b"GET /soups/pea/price HTTP/1.1\r\n", HOST, b"\r\n")
    await tavern.asked.wait()

    with capture_logs() as lines:
        wire.hang_up()
        await asyncio.sleep(0.05)
        tavern.open.set()
        await asyncio.sleep(0.05)

    assert [line["event"] for line in lines] == ["request_received"]
    assert lines[0]["message"] == "GET /soups/{name}/price answered 200."


async def test_a_line_on_which_nothing_more_is_asked_is_closed(
    tavern: Tavern, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answered line is kept for as long as uvicorn keeps one, and while it is used."""
    monkeypatch.setattr(server, "KEPT_OPEN", 0.2)
    async with served(api.build("Tavern", [tavern.feature()])) as address:
        url = httpx.URL(address)
        wire = Wire(*await asyncio.open_connection(url.host, url.port))
        for _ in range(3):
            wire.write(asks_for("pea"))
            await wire.answer()
            await asyncio.sleep(0.12)
        tavern.open.clear()
        wire.write(asks_for("pea"))
        await asyncio.sleep(0.3)
        tavern.open.set()
        assert (await wire.answer()).content == b"hot pea"

        async with asyncio.timeout(1):
            assert await wire.is_closed()


async def test_goodbye(tavern: Tavern) -> None:
    """Who is answered after the wish to stop is told that it was the last time."""
    shutdown = Shutdown()
    async with (
        served(api.build("Tavern", [tavern.feature()]), shutdown) as address,
        httpx.AsyncClient(base_url=address) as client,
    ):
        before = await client.post("/soups")
        tavern.open.clear()
        tavern.asked.clear()
        under_way = asyncio.create_task(client.post("/soups"))
        await tavern.asked.wait()

        shutdown.request_stop()
        tavern.open.set()
        after = await under_way

    assert "Connection" not in before.headers
    assert after.headers.get_list("Connection") == ["close"]
