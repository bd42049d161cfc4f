"""How metrics are observed, shared by processes, and exposed."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from math import inf
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.requests import Request

from restaurant_system.config import DeliverySettings
from restaurant_system.messaging.retry_policy import ATTEMPTS, RetryPolicy, count_delivery
from restaurant_system.metrics import definitions, event_loop
from restaurant_system.metrics.definitions import OUTBOX_MESSAGES, QUEUE_MESSAGES, SystemFigure
from restaurant_system.metrics.exposition import Exposer, Figures
from restaurant_system.metrics.histogram import BUFFER_SIZE, BufferedHistogram, count_pending
from restaurant_system.metrics.order_moves import observe_move
from restaurant_system.metrics.processes import PREFIX, VARIABLE, shared_metrics
from restaurant_system.metrics.request_durations import durations_of
from restaurant_system.models.status import OrderStatus
from restaurant_system.web.local_requests import is_local
from tests.support.fakes import FakeDelivery
from tests.support.messages import make_order_message
from tests.support.metrics import increase, names_in, value_in

REQUESTS = "restaurant_http_request_duration_seconds_count"
TIMES = "restaurant_order_time_to_status_seconds_count"
TEXT = "text/plain"
SYSTEMD_TMPFILES = shutil.which("systemd-tmpfiles")
# A process that counts, prints what all processes have counted, and waits for its input to end.
COUNTING = """
import asyncio, sys
from restaurant_system.metrics import definitions
from restaurant_system.metrics.exposition import Exposer

async def no_figures():
    return {}

definitions.orders_placed_total.labels("takeout").inc(int(sys.argv[1]))
definitions.order_batch_size.observe(3)
definitions.live_view_clients.inc()
definitions.database_available.labels("primary").set(int(sys.argv[2]))
print(asyncio.run(Exposer(no_figures).expose("")).text.decode(), flush=True)
print("END", flush=True)
sys.stdin.read()
"""


def test_buffered_observations_count_like_others() -> None:
    registry = CollectorRegistry()
    bounds = (0.1, 0.2, 0.5)
    buffered = BufferedHistogram("buffered", "", ["route"], registry=registry, buckets=bounds)
    single = Histogram("single", "", ["route"], registry=registry, buckets=bounds)
    amounts = [0.0, 0.1, 0.1001, 0.2, 0.3, 0.5, 0.51, 7.0, inf]

    for amount in amounts:
        buffered.labels("a").observe(amount)
        single.labels("a").observe(amount)
    count_pending()
    count_pending()

    for le in ("0.1", "0.2", "0.5", "+Inf"):
        labels = {"route": "a", "le": le}
        counted = registry.get_sample_value("buffered_bucket", labels)
        assert counted == registry.get_sample_value("single_bucket", labels) != 0
    for part in ("count", "sum"):
        assert registry.get_sample_value(f"buffered_{part}", {"route": "a"}) == (
            registry.get_sample_value(f"single_{part}", {"route": "a"})
        )


def test_full_buffer_is_counted_at_once() -> None:
    registry = CollectorRegistry()
    histogram = BufferedHistogram("full", "", registry=registry)

    for _ in range(2 * BUFFER_SIZE + 1):
        histogram.observe(0.01)

    assert registry.get_sample_value("full_count") == 2 * BUFFER_SIZE
    count_pending()
    assert registry.get_sample_value("full_count") == 2 * BUFFER_SIZE + 1


def test_recorded_durations_are_counted_with_the_next_scrape() -> None:
    counted = increase(REQUESTS, method="GET", route="/a", code="200")

    durations_of("GET", "/a").record(200, 0.01)

    assert counted() == 1  # `increase` counts what is pending, as a scrape does


def test_methods_are_a_bounded_set() -> None:
    counted = increase(REQUESTS, method="other", route="/c", code="405")

    for method in ("PROPFIND", "M-SEARCH"):
        durations_of(method, "/c").record(405, 0.01)

    assert counted() == 2


def test_expected_codes_have_a_series_before_the_first_request() -> None:
    durations_of("POST", "/d").expect(503)

    labels = {"method": "POST", "route": "/d", "code": "503"}
    series = [
        sample
        for family in definitions.http_request_duration_seconds.collect()
        for sample in family.samples
        if sample.name == REQUESTS and sample.labels == labels
    ]
    assert [sample.value for sample in series] == [0]


def test_move_is_counted_with_its_time() -> None:
    moves = increase(
        "restaurant_order_moves_total",
        order_type="dine_in",
        from_status="cooking",
        to_status="ready",
    )
    times = increase(TIMES, order_type="dine_in", status="ready")
    seconds = increase(
        "restaurant_order_time_to_status_seconds_sum", order_type="dine_in", status="ready"
    )
    late = increase("restaurant_orders_late_total", order_type="dine_in")

    observe_move("dine_in", OrderStatus.COOKING, OrderStatus.READY, 899.0, late_after=900.0)
    observe_move("dine_in", OrderStatus.COOKING, OrderStatus.READY, 900.0, late_after=900.0)

    assert (moves(), times(), seconds(), late()) == (2, 2, 1799, 1)


def test_only_an_order_that_becomes_ready_counts_as_late() -> None:
    late = increase("restaurant_orders_late_total", order_type="dine_in")

    observe_move("dine_in", OrderStatus.RECEIVED, OrderStatus.COOKING, 1000.0, late_after=900.0)

    assert late() == 0


def test_recalled_order_is_counted_without_a_second_time_to_cooking() -> None:
    moves = increase(
        "restaurant_order_moves_total",
        order_type="takeout",
        from_status="ready",
        to_status="cooking",
    )
    times = increase(TIMES, order_type="takeout", status="cooking")

    observe_move("takeout", OrderStatus.READY, OrderStatus.COOKING, 60.0)

    assert (moves(), times()) == (1, 0)


def test_time_is_not_negative_when_the_clocks_of_two_machines_differ() -> None:
    seconds = increase(
        "restaurant_order_time_to_status_seconds_sum", order_type="takeout", status="cooking"
    )

    observe_move("takeout", OrderStatus.RECEIVED, OrderStatus.COOKING, -0.5)

    assert seconds() == 0


async def test_retries_and_exhausted_attempts_are_counted() -> None:
    policy = RetryPolicy(DeliverySettings(max_attempts=2))
    retries = increase("restaurant_delivery_retries_total", queue="kitchen_queue")
    exhausted = increase("restaurant_dead_letters_total", reason="attempts_exhausted")

    await policy.retry(FakeDelivery(make_order_message()), "a fault")
    await policy.retry(FakeDelivery(make_order_message(headers={ATTEMPTS: 1})), "a fault")

    assert (retries(), exhausted()) == (1, 1)


async def test_deliveries_of_all_subscribers_are_counted_together() -> None:
    """The name of a subscriber's queue is chosen by its user."""
    deliveries = increase("restaurant_deliveries_total", queue="notifications")

    for _ in range(2):
        count_delivery(FakeDelivery(make_order_message(), "notifications_queue.printer"))

    assert deliveries() == 2


async def test_busy_event_loop_is_observed_as_lag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_loop, "INTERVAL", 0.01)
    lag = increase("restaurant_event_loop_lag_seconds_sum")
    observing = asyncio.create_task(event_loop.observe_lag())
    await asyncio.sleep(0)

    time.sleep(0.1)  # noqa: ASYNC251 - to block the event loop
    await asyncio.sleep(0.05)
    observing.cancel()

    assert 0.08 <= lag() < 1


class FigureReader:
    """Counts how often the figures of the system are read; can make it hang or fail."""

    def __init__(self) -> None:
        self.calls = 0
        self.answers = asyncio.Event()
        self.answers.set()
        self.error: Exception | None = None

    async def __call__(self) -> Figures:
        """Return the number of calls as the size of the outbox."""
        self.calls += 1
        await self.answers.wait()
        if self.error is not None:
            raise self.error
        return {OUTBOX_MESSAGES: {(): self.calls}, QUEUE_MESSAGES: {("kitchen_queue",): 7}}


@pytest.fixture
async def reader() -> FigureReader:
    """Return a reader of figures that answers at once."""
    return FigureReader()


async def scrape(exposer: Exposer, accept: str = "") -> str:
    """Return what a scrape gets."""
    return (await exposer.expose(accept)).text.decode()


async def test_scrape_contains_metrics_of_the_process_and_figures(reader: FigureReader) -> None:
    text = await scrape(Exposer(reader))

    assert value_in(text, "restaurant_outbox_messages") == 1
    assert value_in(text, "restaurant_queue_messages", queue="kitchen_queue") == 7
    assert "restaurant_event_loop_lag_seconds_count" in names_in(text)
    assert not [name for name in names_in(text) if name.endswith("_created")]


async def test_concurrent_scrapes_read_the_figures_once(reader: FigureReader) -> None:
    exposer = Exposer(reader)

    await asyncio.gather(*(exposer.expose(TEXT) for _ in range(20)))

    assert reader.calls == 1


async def test_scrape_reads_young_figures_not_again(
    reader: FigureReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    exposer = Exposer(reader)
    await exposer.expose(TEXT)
    await exposer.expose(TEXT)
    assert reader.calls == 1

    monkeypatch.setattr("restaurant_system.metrics.exposition.LIFETIME", 0.0)
    await exposer.expose(TEXT)

    assert reader.calls == 2


async def test_scrape_does_not_wait_for_figures_that_hang(reader: FigureReader) -> None:
    reader.answers.clear()
    exposer = Exposer(reader)

    start = time.monotonic()
    text = await scrape(exposer)

    assert time.monotonic() - start < 1
    assert value_in(text, "restaurant_outbox_messages") is None
    assert "restaurant_event_loop_lag_seconds_count" in names_in(text)
    await scrape(exposer)
    assert reader.calls == 1  # the first reading has not ended
    await exposer.close()


async def test_figures_that_hang_are_replaced_by_the_last_ones_for_a_while(
    reader: FigureReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("restaurant_system.metrics.exposition.LIFETIME", 0.0)
    monkeypatch.setattr("restaurant_system.metrics.exposition.RENDERING_LIFETIME", 0.0)
    exposer = Exposer(reader)
    await scrape(exposer)

    reader.answers.clear()
    assert value_in(await scrape(exposer), "restaurant_outbox_messages") == 1

    monkeypatch.setattr("restaurant_system.metrics.exposition.MAX_AGE", 0.0)
    assert value_in(await scrape(exposer), "restaurant_outbox_messages") is None
    await exposer.close()


async def test_error_while_figures_are_read_is_logged_and_leaves_them_out(
    reader: FigureReader, capsys: pytest.CaptureFixture[str]
) -> None:
    reader.error = RuntimeError("a fault")

    text = await scrape(Exposer(reader))

    assert value_in(text, "restaurant_outbox_messages") is None
    assert "restaurant_event_loop_lag_seconds_count" in names_in(text)
    assert "metrics_failed" in capsys.readouterr().out


async def test_exposition_is_in_the_format_that_prometheus_accepts(reader: FigureReader) -> None:
    exposer = Exposer(reader)

    plain = await exposer.expose("text/plain")
    open_metrics = await exposer.expose("application/openmetrics-text; version=1.0.0")

    assert plain.media_type.startswith("text/plain")
    assert open_metrics.media_type.startswith("application/openmetrics-text")
    assert open_metrics.text.endswith(b"# EOF\n")


def request_from(address: str | None, *, host: str = "localhost:3000", **headers: str) -> Request:
    """Return a request from an address to a host; `None` stands for a Unix socket."""
    fields = {"host": host, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return Request(
        {
            "type": "http",
            "scheme": "http",
            "path": "/metrics",
            "query_string": b"",
            "client": None if address is None else (address, 1),
            "headers": [(name.encode(), value.encode()) for name, value in fields.items()],
        }
    )


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.10", "::1", None])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:3000", "[::1]:3000"])
def test_request_of_this_machine_is_local(address: str | None, host: str) -> None:
    assert is_local(request_from(address, host=host))


@pytest.mark.parametrize(
    "address", ["192.168.1.5", "10.0.0.1", "::ffff:10.0.0.1", "fe80::1", "2001:db8::1", "unknown"]
)
def test_request_of_another_machine_is_not_local(address: str) -> None:
    assert not is_local(request_from(address))


@pytest.mark.parametrize(
    "request_of_proxy",
    [
        request_from("127.0.0.1", x_forwarded_for="203.0.113.9"),
        request_from("127.0.0.1", forwarded="for=203.0.113.9"),
        request_from("127.0.0.1", via="1.1 proxy"),
        request_from("127.0.0.1", host="orders.example.com"),
    ],
    ids=["X-Forwarded-For", "Forwarded", "Via", "public host name"],
)
def test_request_through_a_proxy_on_this_machine_is_not_local(request_of_proxy: Request) -> None:
    assert not is_local(request_of_proxy)


def all_definitions() -> Iterator[tuple[str, str]]:
    """Yield the name and the documentation of every metric."""
    for each in vars(definitions).values():
        if isinstance(each, SystemFigure):
            yield each.name, each.documentation
        elif isinstance(each, (Counter, Gauge, Histogram)):
            for family in each.collect():
                yield family.name, family.documentation


@pytest.mark.parametrize(("name", "documentation"), list(all_definitions()))
def test_metric_has_a_conventional_name_and_is_documented(name: str, documentation: str) -> None:
    assert name.startswith("restaurant_")
    assert documentation.endswith(".")
    assert not any(part in name for part in ("_ms", "_millis", "_minutes"))


@contextlib.contextmanager
def counting(placed: int, *, available: int = 1) -> Iterator[str]:
    """Run a process that has counted, and yield what it has exposed."""
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", COUNTING, str(placed), str(available)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield "".join(iter(process.stdout.readline, "END\n"))
        process.kill()


def start_time(text: str) -> float:
    """Return the time at which a process was started, or the last one of a port."""
    value = value_in(text, "restaurant_process_start_time_seconds")
    assert value is not None
    return value


def test_processes_of_one_port_expose_their_sums_and_continue_after_one_has_ended() -> None:
    placed = ("restaurant_orders_placed_total", {"order_type": "takeout"})
    clients = "restaurant_live_view_clients"
    available = ("restaurant_database_available", {"pool": "primary"})

    with shared_metrics():
        directory = Path(os.environ[VARIABLE])
        with counting(5) as first:
            assert value_in(first, placed[0], **placed[1]) == 5
            with counting(20, available=0) as second:
                assert value_in(second, placed[0], **placed[1]) == 25
                assert value_in(second, "restaurant_order_batch_size_count") == 2
                assert value_in(second, clients) == 2
                assert start_time(first) < start_time(second)
                assert value_in(second, available[0], **available[1]) == 0
            with counting(100) as third:  # in place of the second one
                assert value_in(third, placed[0], **placed[1]) == 125
                assert value_in(third, clients) == 2
                assert value_in(third, available[0], **available[1]) == 1
            files = len(list(directory.iterdir()))
        with counting(1000) as last:  # no process is left in the second slot
            assert value_in(last, placed[0], **placed[1]) == 1125
            assert start_time(last) > start_time(third)
            assert value_in(last, clients) == 1
        assert len(list(directory.iterdir())) <= files

    assert not directory.exists()
    assert VARIABLE not in os.environ


def test_directory_of_a_killed_command_is_deleted_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a running command and of one that has just started are kept."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    killed, starting = tmp_path / f"{PREFIX}killed", tmp_path / f"{PREFIX}starting"
    for directory in (killed, starting):
        directory.mkdir()
    os.utime(killed, (0, 0))

    with shared_metrics():
        running = Path(os.environ[VARIABLE])
        os.utime(running, (0, 0))
        with shared_metrics():
            left = set(tmp_path.iterdir()) - {Path(os.environ[VARIABLE])}

    assert left == {running, starting}
    assert set(tmp_path.iterdir()) == {starting}


@pytest.mark.skipif(SYSTEMD_TMPFILES is None, reason="systemd is not installed")
def test_cleaning_of_old_temporary_files_skips_the_directory_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without their lock files, which nothing writes, two processes would share a slot."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    rules = tmp_path / "rules.conf"
    rules.write_text(f"e {tmp_path} - - - 0\nx {rules}\n")
    not_in_use = tmp_path / "old"
    not_in_use.mkdir()
    (not_in_use / "file").touch()

    with shared_metrics(), counting(5):
        files = set(Path(os.environ[VARIABLE]).iterdir())
        subprocess.run([SYSTEMD_TMPFILES or "", "--clean", str(rules)], check=True)  # noqa: S603 - systemd's

        assert set(Path(os.environ[VARIABLE]).iterdir()) == files
        assert not not_in_use.exists()
