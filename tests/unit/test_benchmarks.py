import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from itertools import repeat
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import results
from benchmarks.clients import (
    POST,
    ClientPool,
    WrongResponse,
    order_number_in,
    post_request,
    read_response,
)
from benchmarks.floors.measure import sequential_rate
from benchmarks.live_view_clients import LiveViewClient, LiveViewClientPool
from benchmarks.loops import Plan, run
from benchmarks.servers import cpu_seconds
from benchmarks.statistics import median_by, percentile

BODY = b'{"order_number":"ORD_20241216_001","status":"received"}'
RESPONSE = b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\nx-request-id: 1\r\n\r\n%s" % (
    len(BODY),
    BODY,
)


class Server:
    """Sends the same response to each request, the first one after a stall."""

    def __init__(self, response: bytes, stall: float = 0) -> None:
        self.answered = 0
        self._answer = response
        self._stall = stall

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        """Serve on a port for the block."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        async with server:
            yield server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                await reader.readexactly(len(POST))
                await asyncio.sleep(self._stall)
                self._stall = 0
                self.answered += 1
                writer.write(self._answer)


def test_processor_time_includes_children_that_have_ended() -> None:
    before = cpu_seconds(os.getpid())
    subprocess.run([sys.executable, "-c", "sum(range(10_000_000))"], check=True)

    assert cpu_seconds(os.getpid()) - before >= 0.05


def test_posts_of_a_file_have_their_path_and_body() -> None:
    assert post_request(b"/orders/1/complete", b"{}") == (
        b"POST /orders/1/complete HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    )


def test_percentile_is_a_measured_value() -> None:
    """Nearest rank: the smallest value that a share of all values does not exceed."""
    hundred = [float(n) for n in range(1, 101)]

    assert [percentile(hundred, share) for share in (0.5, 0.99, 0.999)] == [50, 99, 100]
    assert percentile([7.0], 0.01) == 7
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_median_by_returns_the_whole_measurement() -> None:
    assert median_by([(1, "worst"), (9, "best"), (2, "usual")], lambda each: each[0]) == (
        2,
        "usual",
    )


def test_response_is_parsed_when_it_is_complete() -> None:
    """The response of a server may arrive in parts of any size."""
    for cut in range(len(RESPONSE)):
        assert read_response(RESPONSE[:cut]) is None

    response = read_response(RESPONSE + b"HTTP/1.1 200")

    assert response is not None
    assert (response.status, response.body, response.size) == (b"201", BODY, len(RESPONSE))
    assert order_number_in(response.body) == "ORD_20241216_001"


def test_response_without_content_length_is_refused() -> None:
    with pytest.raises(WrongResponse, match="Content-Length"):
        read_response(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")


@pytest.mark.parametrize("rate", [None, 500.0])
async def test_load_generator_counts_every_request(rate: float | None) -> None:
    """Both loops report as many responses as the server has sent."""
    server = Server(RESPONSE)
    async with server.listening() as port:
        plan = Plan(port, connections=4, seconds=0.1, warm_up=0.05, count=None, rate=rate)

        result = await run(ClientPool(repeat(POST), b"201"), plan)

    assert result["total"] == server.answered
    assert 0 < result["answered"] <= result["total"]
    assert 0 < result["p50"] <= result["p99"] <= result["p999"]


async def test_load_generator_sends_the_given_number_of_requests() -> None:
    server = Server(RESPONSE)
    async with server.listening() as port:
        plan = Plan(port, connections=4, seconds=0, warm_up=0, count=37, rate=None)

        result = await run(ClientPool(repeat(POST), b"201"), plan)

    assert result["total"] == server.answered == 37


async def test_latency_counts_from_the_scheduled_time() -> None:
    """In the open loop a stall delays every request that is scheduled during it."""
    server = Server(RESPONSE, stall=0.2)
    async with server.listening() as port:
        plan = Plan(port, connections=1, seconds=0.2, warm_up=0, count=None, rate=100)

        result = await run(ClientPool(repeat(POST), b"201"), plan)

    assert result["p50"] > 50
    assert result["p999"] > 150


async def test_wrong_response_ends_the_load_generator() -> None:
    """The load generator has no result if a response is a 503."""
    async with Server(RESPONSE.replace(b"201", b"503")).listening() as port:
        plan = Plan(port, connections=2, seconds=0.1, warm_up=0, count=None, rate=None)

        with pytest.raises(WrongResponse, match="503"):
            await run(ClientPool(repeat(POST), b"201"), plan)


async def test_live_view_clients_report_when_the_last_has_received_a_change(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The event stream may arrive in parts of any size."""
    pool = LiveViewClientPool(2)
    first, last = LiveViewClient(pool), LiveViewClient(pool)
    sent = b"HTTP/1.1 200 OK\r\n\r\n5\r\nid: x.1\nevent: snapshot\ndata: {}\n\nevent: heartbeat\n"
    change = b"data: {}\n\n\r\n5\r\nid: x.2\nevent: change\ndata: {}\n\n"
    output = []

    for client, piece in ((first, sent), (first, change), (last, sent), (last, change[:30])):
        client.data_received(piece)
        output.append(capsys.readouterr().out)
    last.data_received(change[30:])

    assert output == ["", "", "connected\n", ""]
    assert float(capsys.readouterr().out) > 0


def test_sequential_rate_combines_the_rates_of_stages() -> None:
    """Two stages of 100 items/s have a combined rate of 50 items/s."""
    assert sequential_rate(100, 100) == pytest.approx(50)
    assert sequential_rate(300, 100, 100) == pytest.approx(300 / 7)


def test_goal_is_a_minimum_for_rates_and_a_maximum_for_times() -> None:
    assert results.result_row("a", 90, "orders/s", floor=100, goal=0.9).met is True
    assert results.result_row("a", 89, "orders/s", floor=100, goal=0.9).met is False
    assert results.result_row("a", 25, "ms", floor=10, goal=2.5).met is True
    assert results.result_row("a", 26, "ms", floor=10, goal=2.5).met is False
    assert results.result_row("a", 0, "%", goal=1).met is True
    assert results.result_row("a", 2, "%", goal=1).met is False
    assert results.result_row("a", 90, "orders/s").met is None


def test_invalid_benchmark_result_meets_no_goal() -> None:
    assert results.result_row("a", 99, "orders/s", floor=100, goal=0.9, valid=False).met is False


ROWS = [
    results.result_row("intake, one process", 4200, "orders/s", floor=5000, goal=0.85),
    results.result_row("latency, POST p50", 3.21987, "ms", floor=1.5, goal=2.5),
    results.result_row("memory, up", 123.4, "MB"),
]


def test_results_are_written_as_a_json_list(tmp_path: Path) -> None:
    """Each result has the same seven fields, null where one does not apply."""
    results.write(ROWS, tmp_path / "new" / "latest.json")

    written = json.loads((tmp_path / "new" / "latest.json").read_text())
    assert [list(each) for each in written] == [
        ["name", "measured", "unit", "floor", "ratio", "goal", "met"]
    ] * len(ROWS)
    assert written[0] == {
        "name": "intake, one process",
        "measured": 4200,
        "unit": "orders/s",
        "floor": 5000,
        "ratio": 0.84,
        "goal": 0.85,
        "met": False,
    }
    assert written[2]["floor"] is written[2]["met"] is None
    assert results.read(tmp_path / "new" / "latest.json") == ROWS


def test_table_shows_the_results_of_the_json() -> None:
    """Each row has its values, the direction of its goal, and whether it is met."""
    console = Console(width=120, record=True)

    results.show(ROWS, console)

    shown = console.export_text()
    assert "≥ 0.85" in shown
    assert "≤ 2.5" in shown
    assert "4,200" in shown
    assert "no" in shown
    assert "yes" in shown


def test_benchmark_picture_is_drawn_from_the_json(tmp_path: Path) -> None:
    from benchmarks import picture  # noqa: PLC0415 - imports matplotlib, which takes long

    results.write(ROWS, tmp_path / "latest.json")

    picture.draw(tmp_path / "latest.json", tmp_path / "latest.png")

    assert (tmp_path / "latest.png").read_bytes().startswith(b"\x89PNG")
