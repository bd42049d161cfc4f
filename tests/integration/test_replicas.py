"""Tracking reads from streaming replicas: delayed, paused, killed, silent and promoted ones."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from restaurant_system.app.http_service import health_feature
from restaurant_system.app.monitoring import sample
from restaurant_system.app.runtime import Runtime, background_task, read_only_database
from restaurant_system.config import DeliverySettings, Settings
from restaurant_system.database import migrations
from restaurant_system.database.connection import Database
from restaurant_system.database.replicas import Replicas
from restaurant_system.messaging.retry_policy import RetryPolicy
from restaurant_system.models.clock import utc_now
from restaurant_system.models.status import OrderStatus
from restaurant_system.services.tracking.handler import TrackingHandler
from restaurant_system.services.tracking.live_views import LiveViews
from restaurant_system.shutdown import Shutdown
from tests.support.database import fails, monitored, succeeds
from tests.support.doctor import diagnose, faults, levels
from tests.support.live_view_client import LiveViewClient, watching
from tests.support.logs import capture_logs
from tests.support.metrics import value
from tests.support.orders import make_order
from tests.support.postgres_server import Postgres, Replica
from tests.support.services import (
    UTC_DAYS,
    http_client,
    make_broker,
    make_order_service,
    make_tracking_service,
    move,
)
from tests.support.waiting import eventually

RECEIVED, COOKING = OrderStatus.RECEIVED, OrderStatus.COOKING
SECONDS = 5.0  # s within which a replica that is away must be left out
LAG_METRIC = "restaurant_database_replica_lag_seconds"
USABLE_METRIC = "restaurant_database_replica_usable"
LONG = 3600.0  # s: no replica is left out because it is behind
IS_REPLAYED = "SELECT pg_last_wal_replay_lsn() >= $1"
WRITE = "SELECT pg_logical_emit_message(true, '', '')"
WRITE_MUCH = "SELECT pg_logical_emit_message(true, '', repeat('x', 1024 * 1024))"
PAUSED = "SELECT pg_get_wal_replay_pause_state() = 'paused'"


class Cluster:
    """A primary server and two replicas."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.primary = stack.enter_context(contextlib.closing(Postgres()))
        self.near, self.far = (
            stack.enter_context(contextlib.closing(Replica(self.primary))) for _ in range(2)
        )


class Restaurant:
    """The services of a configuration with replicas."""

    def __init__(self, database: Database, reader: Replicas, client: httpx.AsyncClient) -> None:
        self.database = database
        self.reader = reader
        self._client = client
        self._orders = make_order_service(database)

    async def place(self, **fields: object) -> tuple[str, str]:
        """Place an order; return its number, and the path of what its tracking link shows."""
        placed = await self._orders.place(make_order(**fields), request_id="r", key=None)
        path = (placed.tracking_url or "").replace("/track/", "/orders/")
        number, _, token = path.removeprefix("/orders/").partition("/")
        return number, f"/orders/{number}/tracking/{token}"

    async def cook(self, number: str) -> None:
        """Move an order to `cooking`."""
        assert await move(self.database, number, RECEIVED, COOKING, at=utc_now(), by="mario")

    async def get(self, path: str) -> Any:  # noqa: ANN401 - any JSON
        """Return the JSON of a response with 200."""
        response = await self._client.get(path)
        assert response.status_code == 200, f"{path}: {response.text}"
        return response.json()

    async def status(self, number: str) -> str:
        """Return the status of an order, as the tracking service tells it."""
        return str((await self.get(f"/orders/{number}/status"))["current_status"])

    async def replica_states(self) -> list[str]:
        """Return the state of each replica in `/health`."""
        found = (await self.get("/health"))["dependencies"]["replicas"]["replicas"]
        return [each["status"] for each in found]

    @contextlib.asynccontextmanager
    async def watching(self, path: str) -> AsyncIterator[LiveViewClient]:
        """Open a live view."""
        async with watching(self._client, path) as view:
            yield view

    @property
    def reads_from(self) -> int | None:
        """The port of the replica that is read, `None` for the primary."""
        selected = self.reader.selected
        return None if selected is None else int(selected.name.rpartition(":")[2])

    async def wait_until_replicated(self) -> None:
        """Wait until all replicas have replayed what is written now."""
        position = "SELECT pg_current_wal_flush_lsn()"
        written = await self.database.read(lambda it: it.fetchval(position))

        async def is_replicated() -> bool:
            replayed = [
                await each.database.read(lambda it: it.fetchval(IS_REPLAYED, written))
                for each in self.reader.replicas
                if each.reason is None
            ]
            return len(replayed) == len(self.reader.replicas) and all(replayed)

        await eventually(is_replicated, doing="for the replicas")

    async def reports_no_primary(self) -> bool:
        """Return whether `/health` says that only the primary is unavailable."""
        replicas = (await self.get("/health"))["dependencies"]["replicas"]
        return bool(replicas.get("reason") == "The primary is unavailable")

    async def knows_all_lags(self) -> bool:
        """Return whether the lag of each replica is known."""
        return all(each.lag is not None for each in self.reader.replicas)

    async def wait_until_read(self, replica: Replica | None) -> None:
        """Wait until a replica is read, or the primary."""
        port = None if replica is None else replica.port

        async def is_read() -> bool:
            return self.reads_from == port

        await eventually(is_read, doing=f"for {port or 'the primary'}", seconds=SECONDS)


def address(server: Postgres) -> str:
    """Return the address by which a server is configured."""
    return f"127.0.0.1:{server.port}"


def connection_to(*servers: Postgres, **settings: object) -> tuple[str, Any]:
    """Return the DSN and the settings of a database on these servers."""
    database = configuration(*servers, **settings).database
    assert database is not None
    return database.dsn(), database


def configuration(*servers: Postgres, **settings: object) -> Settings:
    """Return a configuration with these servers, of which one takes writes."""
    return Settings.model_validate({"database": section(*servers, **settings)})


def section(*servers: Postgres, **settings: object) -> dict[str, Any]:
    """Return the section of the database."""
    return {
        "hosts": [address(each) for each in servers],
        "user": "postgres",
        "database": "postgres",
        "pool_max": 4,
        "ping_interval": 0.5,
        **settings,
    }


@contextlib.asynccontextmanager
async def restaurant(
    *servers: Postgres, replicas: list[Replica], max_lag: float = LONG
) -> AsyncIterator[Restaurant]:
    """Run the tracking service, and take orders."""
    addresses = [address(each) for each in replicas]
    settings = configuration(*servers, replicas=addresses, max_lag=max_lag)
    assert settings.database is not None
    database = Database(settings.database.dsn(), settings.database, application_name="test")
    async with monitored(database):
        await migrations.migrate(database)
        broker, policy = make_broker(database), RetryPolicy(DeliverySettings())
        runtime = Runtime("test", settings, database, broker, policy, Shutdown())
        async with read_only_database(runtime) as reader:
            assert isinstance(reader, Replicas)
            tracking = make_tracking_service(reader)
            views = LiveViews(reader, tracking.lookup, clock=utc_now, business_day=UTC_DAYS)
            features = [
                TrackingHandler(tracking).feature(),
                health_feature(runtime, reader),
                views.feature(),
            ]
            async with (
                background_task(views.run(runtime.shutdown)),
                background_task(sample({"reader": reader})),
                http_client(*features) as client,
            ):
                yield Restaurant(database, reader, client)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Run a primary server and two replicas."""
    with contextlib.ExitStack() as stack:
        yield Cluster(stack)


@contextlib.asynccontextmanager
async def paused(replica: Replica) -> AsyncIterator[None]:
    """Let a replica receive, and not replay, what the primary writes."""
    await replica.execute("SELECT pg_wal_replay_pause()")
    async with monitored(Database(*connection_to(replica), application_name="t").read_only()) as it:

        async def is_paused() -> bool:
            return bool(await it.read(lambda connection: connection.fetchval(PAUSED)))

        await eventually(is_paused, doing="for the pause")
    try:
        yield
    finally:
        await replica.execute("SELECT pg_wal_replay_resume()")


@contextlib.asynccontextmanager
async def delayed(replica: Replica, *, seconds: int) -> AsyncIterator[None]:
    """Let a replica replay each commit after a delay."""
    await replica.execute(f"ALTER SYSTEM SET recovery_min_apply_delay = '{seconds} s'")
    await replica.execute("SELECT pg_reload_conf()")
    try:
        yield
    finally:
        await replica.execute("ALTER SYSTEM RESET recovery_min_apply_delay")
        await replica.execute("SELECT pg_reload_conf()")


async def test_order_that_a_replica_lacks_is_read_from_the_primary(cluster: Cluster) -> None:
    async with restaurant(cluster.primary, replicas=[cluster.far]) as it:
        await it.wait_until_read(cluster.far)
        async with paused(cluster.far):
            number, link = await it.place(reference="R-1")

            assert await it.status(number) == "received"
            assert len(await it.get(f"/orders/{number}/history")) == 1
            assert (await it.get(f"/orders/{number}"))["order_number"] == number
            assert len((await it.get(link))["steps"]) == 1
            assert len((await it.get("/orders?reference=R-1"))["orders"]) == 1
            assert (await it.get("/orders"))["orders"] == []
            path = link.replace("/orders/", "/live/track/").replace("/tracking/", "/")
            async with it.watching(path) as view:
                await view.until_it_shows("order", status="received")
            assert it.reads_from == cluster.far.port


async def test_delayed_replica_is_left_out_beyond_the_largest_lag(cluster: Cluster) -> None:
    """The freshest replica is read; an idle primary makes none of them late."""
    async with (
        delayed(cluster.far, seconds=60),
        restaurant(cluster.primary, replicas=[cluster.far, cluster.near], max_lag=1) as it,
    ):
        await it.wait_until_replicated()
        await asyncio.sleep(1.1)
        assert [each.lag for each in it.reader.replicas] == [0, 0]
        assert await it.replica_states() in (["read", "standby"], ["standby", "read"])

        await it.place()

        async def is_left_out() -> bool:
            return await it.replica_states() == ["left_out", "read"]

        await eventually(is_left_out, doing="for the lag", seconds=SECONDS)
        replicas = (await it.get("/health"))["dependencies"]["replicas"]
        assert replicas["status"] == "degraded"
        assert replicas["reason"] == "1 of 2 replicas are left out"
        late, fresh = replicas["replicas"]
        assert 1 < late["lag_seconds"] < SECONDS
        assert late["reason"].endswith("s behind")
        assert fresh["lag_seconds"] < 1
        await eventually(lambda: shows_usable(cluster.far, cluster.near), doing="for the metrics")
        assert 1 < value(LAG_METRIC, replica=address(cluster.far)) < SECONDS
        async with restaurant(cluster.primary, replicas=[cluster.far], max_lag=1) as late:
            await eventually(late.knows_all_lags, doing="for the lag of before the start")
            assert await late.replica_states() == ["left_out"]


async def shows_usable(left_out: Replica, usable: Replica) -> bool:
    """Return whether metrics show that the first replica is left out, and the second is not."""
    values = [value(USABLE_METRIC, replica=address(each)) for each in (left_out, usable)]
    return values == [0, 1]


async def test_status_does_not_go_back_when_the_replica_that_was_read_is_killed(
    cluster: Cluster,
) -> None:
    """The other one has not replayed the last change of the order; no request fails meanwhile."""
    async with restaurant(cluster.primary, replicas=[cluster.near, cluster.far]) as it:
        number, link = await it.place()
        await it.wait_until_replicated()
        async with paused(cluster.far):
            await it.cook(number)
            await it.wait_until_read(cluster.near)  # once the other is a second behind
            assert await it.status(number) == "cooking"

            cluster.near.kill()
            try:
                while it.reads_from != cluster.far.port:
                    assert await it.status(number) == "cooking"
                assert await it.status(number) == "cooking"
                assert (await it.get(f"/orders/{number}"))["status"] == "cooking"
                for steps in (
                    await it.get(f"/orders/{number}/history"),
                    (await it.get(link))["steps"],
                ):
                    assert [each["status"] for each in steps] == ["received", "cooking"]
                async with it.watching(f"/live/track/{number}") as view:
                    await view.until_it_shows("order", status="cooking")
                assert await it.replica_states() == ["left_out", "read"]
            finally:
                cluster.near.start()
        await it.wait_until_replicated()
        assert await it.replica_states() in (["read", "standby"], ["standby", "read"])


async def test_silent_replica_is_left_out_within_seconds(cluster: Cluster) -> None:
    """The primary is read while no replica can be."""
    async with restaurant(cluster.primary, replicas=[cluster.near]) as it:
        number, _ = await it.place()
        await it.wait_until_read(cluster.near)
        cluster.near.pause()
        try:
            looking_up = asyncio.create_task(it.status(number))
            await it.wait_until_read(None)
            with capture_logs() as logs:  # until its monitor has given up
                assert await asyncio.wait_for(looking_up, SECONDS) == "received"
            assert await it.status(number) == "received"
            health = await it.get("/health")
            assert health["status"] == "degraded"
            assert health["dependencies"]["database"]["status"] == "up"
            assert health["dependencies"]["replicas"]["reads_from"] == "primary"
            assert "reads go to the primary" in health["dependencies"]["replicas"]["reason"]
            lines = [each["message"] for each in logs if each["event"] == "db_connection_failed"]
            assert lines[0].startswith(f"The replica {address(cluster.near)}: The database has not")
        finally:
            cluster.near.resume()
        await it.wait_until_read(cluster.near)


async def test_replica_that_takes_writes_next_to_the_primary_is_left_out(cluster: Cluster) -> None:
    """It does not get any new orders."""
    with contextlib.closing(Replica(cluster.primary)) as promoted:
        async with restaurant(cluster.primary, replicas=[promoted]) as it:
            await it.wait_until_read(promoted)
            database = section(cluster.primary, replicas=[address(promoted)])
            assert levels(await diagnose(database=database))["replica.replication"] == "ok"

            await asyncio.to_thread(promoted.promote)

            await it.wait_until_read(None)
            assert "not the primary" in (it.reader.replicas[0].reason or "")
            assert "replica.replication" in faults(await diagnose(database=database))
            both = faults(await diagnose(database=section(cluster.primary, promoted)))
            assert both["postgresql.hosts"].message.endswith("take writes")
            healthy = section(cluster.near, cluster.primary)
            assert levels(await diagnose(database=healthy))["postgresql.hosts"] == "ok"
            away = [*healthy["hosts"], "127.0.0.1:1"]
            found = faults(await diagnose(database={**database, "hosts": away}))
            assert "127.0.0.1:1: PostgreSQL unreachable" in found["postgresql.hosts"].message

        # Now it is the primary, and the other one is still a replica of the earlier primary.
        await cluster.primary.execute(WRITE_MUCH)
        async with restaurant(promoted, replicas=[cluster.far]) as it:

            async def is_foreign() -> bool:
                return "does not have" in (it.reader.replicas[0].reason or "")

            await eventually(is_foreign, doing="for the comparison", seconds=SECONDS)
            assert it.reads_from is None


async def test_replicas_are_read_while_there_is_no_primary_and_after_a_promotion() -> None:
    with contextlib.closing(Postgres()) as primary, contextlib.closing(Replica(primary)) as replica:
        async with restaurant(primary, replica, replicas=[replica]) as it:
            number, _ = await it.place()
            await it.wait_until_replicated()
            await it.wait_until_read(replica)
            async with paused(replica):
                missing, _ = await it.place()
                async with (
                    it.watching(f"/live/track/{number}") as view,
                    it.watching(f"/live/track/{missing}") as ended,
                ):
                    primary.kill()
                    await eventually(lambda: fails(it.database, WRITE), doing="for its loss")
                    await ended.until_it_ends()  # the replica lacks this order
                    for _ in range(2):  # what was on its way, and a heartbeat
                        await asyncio.wait_for(view.read(), SECONDS)
            assert await it.status(number) == "received"
            await eventually(it.reports_no_primary, doing="for /health")

            await asyncio.to_thread(replica.promote)

            await eventually(lambda: succeeds(it.database, WRITE), doing="for the new primary")
            await it.cook(number)
            assert await it.status(number) == "cooking"
            await it.wait_until_read(replica)
            assert await it.replica_states() == ["read"]
