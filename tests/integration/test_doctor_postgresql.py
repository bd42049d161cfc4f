"""What `doctor` finds about PostgreSQL and the broker in it, with each fault really made."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from restaurant_system.app.doctor import Finding, Level, broker
from restaurant_system.database import inspection, migrations
from restaurant_system.database.connection import Database
from restaurant_system.database.server_requirements import check_connection_limit
from restaurant_system.messaging.postgres import PostgresBroker
from restaurant_system.messaging.postgres import inspection as queue_table
from restaurant_system.models.clock import utc_now
from tests.support.certificates import CertificateAuthority
from tests.support.database import execute
from tests.support.doctor import diagnose, faults, levels
from tests.support.logs import capture_logs
from tests.support.messages import TAKEOUT, make_order_message
from tests.support.partitions import TABLES
from tests.support.postgres_server import Postgres
from tests.support.tls_postgres import TlsPostgres

LATEST = "016_name_previous_outbox_row.sql"
A_MILLENNIUM = timedelta(days=365_250)


@pytest.fixture
async def unmigrated_dsn(postgres_server: Postgres) -> AsyncIterator[str]:
    """Return the URL of a database without a schema."""
    name = await postgres_server.create_database()
    yield postgres_server.dsn(name)
    await postgres_server.drop_database(name)


@pytest.fixture
async def own_dsn(database: Database, dsn: str) -> AsyncIterator[str]:
    """Return the URL of the test's database for a role that owns it, and has no other rights."""
    async with database.connection() as admin:
        name = "owner_of_" + await admin.fetchval("SELECT current_database()")
        await admin.execute(f"CREATE ROLE {name} LOGIN CONNECTION LIMIT 150")
        for table in await admin.fetch(TABLES):
            await admin.execute(f"ALTER TABLE {table['relname']} OWNER TO {name}")
        await admin.execute(f"ALTER SEQUENCE broker_consumers OWNER TO {name}")
        await admin.execute(f"GRANT CREATE ON SCHEMA public TO {name}")
    yield dsn.replace("postgres@", f"{name}@")
    await execute(database, f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")


async def fetch(dsn: str, query: str) -> list[tuple[object, ...]]:
    """Query a database on a connection of its own."""
    connection = await asyncpg.connect(dsn)
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def rename_migration(dsn: str, name: str) -> None:
    """Give the latest applied migration another name."""
    connection = await asyncpg.connect(dsn)
    rename = "UPDATE schema_migrations SET name = $2 WHERE name = $1"
    await connection.execute(rename, LATEST, name)
    await connection.close()


def errors_about_rights(findings: list[Finding]) -> list[Finding]:
    """Return the errors about rights on the primary."""
    return [
        each for each in findings if each.check == "postgresql.rights" and each.level is Level.ERROR
    ]


async def check_cure(database: Database, dsn: str, rights: Finding) -> None:
    """Run the statements of a cure as the owner, and expect that no right is missing."""
    assert rights.cure is not None
    await execute(database, rights.cure.removeprefix("run "))
    findings = await diagnose(database={"url": dsn})
    remaining = [each for each in findings if each.check == "postgresql.rights"]
    assert [each.level for each in remaining] == [Level.WARNING]
    assert "does not own" in remaining[0].message
    assert levels(findings)["broker.round_trip"] is Level.OK


async def test_database_and_role_as_documented_have_no_fault(own_dsn: str) -> None:
    findings = await diagnose(database={"url": own_dsn})

    assert faults(findings) == {}
    assert {name for name, level in levels(findings).items() if level is Level.SKIPPED} == {
        "machine.disk"
    }
    assert "broker.round_trip" in levels(findings)
    assert "broker.notifications" in levels(findings)


async def test_migrated_database_is_not_changed(dsn: str) -> None:
    await diagnose(database={"url": dsn})

    for table in ("orders", "workers", "outbox", "broker_messages", "broker_subscriptions"):
        assert await fetch(dsn, f"TABLE {table}") == []


async def test_empty_database_is_not_migrated(unmigrated_dsn: str) -> None:
    found = faults(findings := await diagnose(database={"url": unmigrated_dsn}))

    assert found.keys() == {"postgresql.migrations"}
    assert found["postgresql.migrations"].level is Level.WARNING
    assert "001_create_orders.sql" in found["postgresql.migrations"].message
    assert "restaurant-system migrate" in (found["postgresql.migrations"].cure or "")
    assert levels(findings)["broker.round_trip"] is Level.SKIPPED
    assert await fetch(unmigrated_dsn, TABLES) == []


async def test_pending_and_unknown_migrations_are_warnings(dsn: str) -> None:
    await rename_migration(dsn, "999_later.sql")

    findings = await diagnose(database={"url": dsn})

    messages = [each.message for each in findings if each.check == "postgresql.migrations"]
    assert messages == [
        "the schema is newer than this release: 999_later.sql",
        f"1 pending migration: {LATEST}",
    ]


async def test_missing_rights_are_named_with_the_statements_that_grant_them(
    database: Database, limited_dsn: str
) -> None:
    role = limited_dsn.partition("//")[2].partition("@")[0]
    await execute(database, f"REVOKE UPDATE, DELETE ON orders FROM {role}")
    await execute(database, f"REVOKE INSERT ON outbox FROM {role}")

    findings = await diagnose(database={"url": limited_dsn})

    (rights,) = errors_about_rights(findings)
    assert rights.message == (
        f"{role} lacks CREATE on schema public; UPDATE, DELETE on orders; INSERT on outbox;"
        " USAGE on sequence broker_consumers, orders_id_seq"
    )
    assert rights.cure == (
        f"run GRANT CREATE ON SCHEMA public TO {role}; GRANT UPDATE, DELETE ON orders TO {role};"
        f" GRANT INSERT ON outbox TO {role};"
        f" GRANT USAGE ON SEQUENCE broker_consumers, orders_id_seq TO {role}"
    )
    assert levels(findings)["broker.round_trip"] is Level.SKIPPED
    await check_cure(database, limited_dsn, rights)


@pytest.mark.parametrize(
    ("revoked", "lacking"),
    [
        ("ALL ON ALL TABLES IN SCHEMA public FROM {role}", "SELECT, INSERT, UPDATE, DELETE on "),
        ("ALL ON schema_migrations FROM {role}", "SELECT, INSERT, UPDATE, DELETE on schema_migr"),
        ("USAGE ON SCHEMA public FROM PUBLIC", "USAGE, CREATE on schema public"),
    ],
)
async def test_role_that_may_not_read_the_migrations_gets_all_missing_grants(
    database: Database, limited_dsn: str, revoked: str, lacking: str
) -> None:
    role = limited_dsn.partition("//")[2].partition("@")[0]
    await execute(database, f"REVOKE {revoked.format(role=role)}")

    findings = await diagnose(database={"url": limited_dsn})

    (rights,) = errors_about_rights(findings)
    assert f"{role} lacks " in rights.message
    assert lacking in rights.message
    assert "USAGE on sequence broker_consumers" in rights.message
    assert [each for each in findings if each.level is Level.ERROR] == [rights]
    assert levels(findings)["postgresql.migrations"] is Level.SKIPPED
    await check_cure(database, limited_dsn, rights)


async def test_replica_whose_migrations_cannot_be_read_gets_all_missing_grants(
    database: Database, dsn: str, limited_dsn: str
) -> None:
    role = limited_dsn.partition("//")[2].partition("@")[0]
    await execute(database, f"REVOKE ALL ON orders, schema_migrations FROM {role}")

    found = faults(await diagnose(database={"url": dsn, "replica": {"url": limited_dsn}}))

    assert found.keys() == {"replica.rights"}
    assert found["replica.rights"].cure == (
        f"run GRANT SELECT ON schema_migrations, orders TO {role}"
    )


async def test_missing_table_is_an_error(database: Database, dsn: str) -> None:
    await execute(database, "DROP TABLE order_resends")

    found = faults(await diagnose(database={"url": dsn}))

    assert found["postgresql.rights"].message == "missing in the schema: order_resends"


async def test_expected_tables_and_sequences_are_those_of_the_schema(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    state = await migrations.schema_state(connection)
    await connection.close()

    tables = await fetch(dsn, TABLES)
    # Without those of identity columns.
    sequences = """
        SELECT relname FROM pg_class WHERE relkind = 'S' AND NOT EXISTS (
            SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'i')
    """
    assert set(state.expected("TABLE")) == {name for (name,) in tables}
    assert set(state.expected("SEQUENCE")) == {name for (name,) in await fetch(dsn, sequences)}


async def test_clock_that_differs_is_a_warning_and_then_an_error(dsn: str) -> None:
    def behind(seconds: float) -> datetime:
        return utc_now() - timedelta(seconds=seconds)

    few = faults(await diagnose(database={"url": dsn}, clock=lambda: behind(5)))
    many = faults(await diagnose(database={"url": dsn}, clock=lambda: behind(-120)))

    assert few["postgresql.clock"].level is Level.WARNING
    assert "s ahead of this machine's" in few["postgresql.clock"].message
    assert many["postgresql.clock"].level is Level.ERROR
    assert "s behind this machine's" in many["postgresql.clock"].message


async def test_encoding_that_is_not_utf_8_hides_no_other_finding(postgres_server: Postgres) -> None:
    name = await postgres_server.create_database("template0 ENCODING 'SQL_ASCII' LOCALE 'C'")

    found = faults(await diagnose(database={"url": postgres_server.dsn(name)}))

    assert found.keys() == {"postgresql.encoding", "postgresql.migrations"}
    assert "SQL_ASCII" in found["postgresql.encoding"].message
    assert (found["postgresql.encoding"].cure or "").startswith("create another one with CREATE")
    await postgres_server.drop_database(name)


async def test_too_few_connections_are_counted(
    database: Database, postgres_server: Postgres, own_dsn: str
) -> None:
    """Connections of other roles and databases count towards the server's limit alone."""
    role, name = own_dsn.partition("//")[2].partition("@")[0], own_dsn.rpartition("/")[2]

    async def limits() -> dict[str, Finding]:
        findings = await diagnose(database={"url": own_dsn})
        found = [each for each in findings if each.check == "postgresql.connections"]
        return {each.message.partition(",")[0].removeprefix("PostgreSQL "): each for each in found}

    elsewhere = [await asyncpg.connect(postgres_server.dsn("postgres")) for _ in range(3)]
    same_role = await asyncpg.connect(own_dsn)
    try:
        await execute(database, f"ALTER ROLE {role} CONNECTION LIMIT 40")
        await execute(database, f"ALTER DATABASE {name} CONNECTION LIMIT 20")
        found = await limits()
    finally:
        for each in (*elsewhere, same_role):
            await each.close()
    await execute(database, f"ALTER DATABASE {name} CONNECTION LIMIT 150")

    of_role = found[f"allows the role {role} 40 connections"]
    of_database = found[f"allows the database {name} 20 connections"]
    assert len(found) == 2
    assert of_role.level is Level.WARNING
    assert "connections, of which others use 1, but one of each" in of_role.message
    assert "kitchen-display 31" in of_role.message
    assert (of_role.cure or "").startswith(f"run ALTER ROLE {role} CONNECTION LIMIT 91, or lower")
    assert of_database.level is Level.ERROR
    assert (of_database.cure or "").startswith(f"run ALTER DATABASE {name} CONNECTION LIMIT ")
    cure, _, _ = (of_role.cure or "").removeprefix("run ").partition(", or")
    await execute(database, cure)
    assert [each.level for each in (await limits()).values()] == [Level.OK]


async def test_service_compares_the_limit_of_its_role_with_the_connections_of_its_role(
    database: Database, own_dsn: str, postgres_server: Postgres
) -> None:
    role = own_dsn.partition("//")[2].partition("@")[0]
    await execute(database, f"ALTER ROLE {role} CONNECTION LIMIT 6")
    elsewhere = [await asyncpg.connect(postgres_server.dsn("postgres")) for _ in range(6)]
    connection = await asyncpg.connect(own_dsn, server_settings={"application_name": "doctor"})
    same_name = await asyncpg.connect(own_dsn, server_settings={"application_name": "doctor"})
    same_role = await asyncpg.connect(own_dsn)
    try:
        with capture_logs() as logs:
            await check_connection_limit(connection, "doctor", 5)
            await check_connection_limit(connection, "doctor", 6)
    finally:
        for each in (*elsewhere, connection, same_name, same_role):
            await each.close()

    (line,) = [each for each in logs if each["event"] == "db_connections_insufficient"]
    assert (line["needed"], line["allowed"]) == (6, 6)
    assert f"the role {role} 6 connections, of which others use 1 now" in line["message"]
    assert f"run ALTER ROLE {role} CONNECTION LIMIT 7" in line["message"]


async def test_read_only_server_is_an_error_and_checked_all_the_same(dsn: str) -> None:
    await fetch(
        dsn, f"ALTER DATABASE {dsn.rpartition('/')[2]} SET default_transaction_read_only = on"
    )

    findings = await diagnose(database={"url": dsn})

    assert faults(findings)["postgresql.connection"].message == (
        "PostgreSQL is read-only: no server accepts writes"
    )
    assert levels(findings)["postgresql.rights"] is Level.OK


async def test_server_that_never_answers_is_reported_within_the_timeout() -> None:
    async def ignore(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)
        writer.close()

    silent = await asyncio.start_server(ignore, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    start = asyncio.get_running_loop().time()

    findings = await diagnose(
        database={"host": "127.0.0.1", "port": port, "sslmode": "disable", "connect_timeout": 0.2}
    )

    silent.close()
    assert asyncio.get_running_loop().time() - start < 8
    assert faults(findings).keys() == {"postgresql.connection"}
    assert levels(findings)["postgresql.rights"] is Level.SKIPPED


async def test_refused_connection_has_the_cure_of_its_cause(
    database: Database, dsn: str, limited_dsn: str
) -> None:
    name, role = dsn.rpartition("/")[2], limited_dsn.partition("//")[2].partition("@")[0]

    async def cure(url: str) -> str:
        return faults(await diagnose(database={"url": url}))["postgresql.connection"].cure or ""

    assert "create the database" in await cure(f"{dsn}_absent")
    assert "correct the user" in await cure(dsn.replace("postgres@", "absent@"))
    await execute(database, f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")
    assert "grant the user CONNECT" in await cure(limited_dsn)
    await execute(database, f"GRANT CONNECT ON DATABASE {name} TO {role}")
    await execute(database, f"ALTER ROLE {role} CONNECTION LIMIT 0")
    assert "the limit that is named" in await cure(limited_dsn)


async def test_unusable_url_is_an_error(dsn: str) -> None:
    found = faults(await diagnose(database={"url": f"{dsn}?sslmode=sometimes"}))

    assert "sslmode" in found["postgresql.connection"].message


async def test_waiting_messages_without_worker_and_dead_letters_are_named(
    dsn: str, postgres_broker: PostgresBroker
) -> None:
    async with postgres_broker.subscribe("display"):
        pass
    await postgres_broker.publish([make_order_message()])
    await fetch(dsn, "UPDATE broker_messages SET queue = 'notifications_queue.display'")
    await postgres_broker.publish([make_order_message(), make_order_message()])

    findings = await diagnose(database={"url": dsn})

    found = [each for each in findings if each.check == "broker.queues"]
    assert [each.message for each in found] == [
        f"2 messages in {TAKEOUT}, and no worker for takeout is online",
        "1 message in notifications_queue.display, which has no consumer",
    ]
    assert found[1].cure == "start restaurant-system notification-subscriber --name display"


async def test_notification_that_does_not_arrive_is_an_error(
    dsn: str, unmigrated_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sent in another database, it never arrives, as through a pooler in transaction mode."""
    wait = queue_table.wait_for_notification

    async def wait_for_one_from_elsewhere(listener: Any, _: object) -> None:  # noqa: ANN401 - a connection
        sender = await asyncpg.connect(unmigrated_dsn)
        try:
            await wait(listener, sender)
        finally:
            sender.terminate()

    monkeypatch.setattr(queue_table, "wait_for_notification", wait_for_one_from_elsewhere)
    monkeypatch.setattr(broker, "NOTIFICATION_TIMEOUT", 0.3)

    found = faults(await diagnose(database={"url": dsn}))

    assert found.keys() == {"broker.notifications"}
    assert found["broker.notifications"].message == "no notification arrived within 0.3 s"
    assert "session mode" in (found["broker.notifications"].cure or "")


async def test_server_with_an_untrusted_certificate_is_an_error_about_tls(
    tls_postgres: TlsPostgres, tmp_path: Path
) -> None:
    other = CertificateAuthority(tmp_path).certificate
    dsn = tls_postgres.dsn("postgres").replace(str(tls_postgres.authority.certificate), str(other))

    found = faults(await diagnose(database={"url": dsn}))

    assert "certificate is not trusted" in found["postgresql.connection"].message
    assert "sslrootcert" in (found["postgresql.connection"].cure or "")


async def test_messages_that_wait_in_the_outbox_are_a_warning(dsn: str) -> None:
    await fetch(
        dsn,
        "INSERT INTO outbox (created_at, stream, exchange, routing_key, type, body, message_id,"
        " correlation_id, app_id, timestamp, priority) VALUES (now() - interval '1 minute', 's',"
        " 'orders_topic', 'kitchen.takeout.1', 't', '', gen_random_uuid(), '', '', now(), 1)",
    )

    found = faults(await diagnose(database={"url": dsn}))

    assert found["outbox"].message.startswith("1 message to publish, the oldest for 6")


async def test_replica_that_lacks_migrations_and_rights_is_named(
    database: Database, dsn: str, limited_dsn: str
) -> None:
    role = limited_dsn.partition("//")[2].partition("@")[0]
    await execute(database, f"REVOKE ALL ON orders FROM {role}")
    await rename_migration(dsn, "000_earlier.sql")

    found = faults(await diagnose(database={"url": dsn, "replica": {"url": limited_dsn}}))

    assert found["replica.migrations"].level is Level.ERROR
    assert LATEST in found["replica.migrations"].message
    assert found["replica.rights"].message == f"{role} lacks SELECT on orders"


async def test_certificates_near_their_expiry_are_named(tls_postgres: TlsPostgres) -> None:
    dsn = tls_postgres.dsn("postgres")
    connection = await asyncpg.connect(dsn)
    der = inspection.peer_certificate(connection)
    await connection.close()
    assert der is not None

    sound = await diagnose(database={"url": dsn})
    in_a_millennium = faults(
        await diagnose(database={"url": dsn}, clock=lambda: utc_now() + A_MILLENNIUM)
    )

    assert levels(sound)["postgresql.certificate"] is Level.OK
    assert levels(sound)["configuration.certificates"] is Level.OK
    assert (
        "the server's certificate expired on" in in_a_millennium["postgresql.certificate"].message
    )
    assert "authority.pem expired on" in in_a_millennium["configuration.certificates"].message
