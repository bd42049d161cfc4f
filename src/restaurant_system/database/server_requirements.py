"""Check what a PostgreSQL server must offer: UTF-8, and enough connections."""

import asyncpg

from restaurant_system.errors import StartupError
from restaurant_system.logger import get_logger

log = get_logger()

ENCODING = """
SELECT current_database() AS name, current_setting('server_encoding') AS encoding,
       quote_ident(left(current_database(), 58) || '_utf8') AS successor
"""


async def check_encoding(connection: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]") -> None:
    """Raise `StartupError` if the database cannot store the name of every customer."""
    database = await connection.fetchrow(ENCODING)
    if database is not None and database["encoding"] != "UTF8":
        raise StartupError(
            f"The database {database['name']} has the encoding {database['encoding']}, which cannot"
            " hold the names of all customers; create another one with"
            f" CREATE DATABASE {database['successor']} ENCODING 'UTF8' LOCALE 'C' TEMPLATE"
            " template0, and name that one in the database section of the configuration."
        )


# The type of another role's session may be hidden.
CONNECTIONS = """
SELECT
    least(
        current_setting('max_connections')::integer
            - current_setting('superuser_reserved_connections')::integer
            - coalesce(current_setting('reserved_connections', true)::integer, 0),
        nullif(rolconnlimit, -1),
        nullif(datconnlimit, -1)
    ) AS allowed,
    (
        SELECT count(*) FROM pg_stat_activity
        WHERE coalesce(backend_type, 'client backend') = 'client backend'
          AND application_name IS DISTINCT FROM $1
    ) AS open_elsewhere
FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database()
"""


async def check_connection_limit(
    connection: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]", service: str, needed: int
) -> None:
    """Log a warning if `service` may open more connections than others leave to it now.

    Others may open more later, so connections may run out without a warning.
    """
    ((allowed, others),) = await connection.fetch(CONNECTIONS, service)
    missing = needed + others - allowed
    if missing > 0:
        log.warning(
            "db_connections_insufficient",
            message=f"{service} needs up to {needed} connections to PostgreSQL, which allows"
            f" {allowed} to all services together, of which others use {others} now; raise"
            f" max_connections (or the limit of the role or the database) by at least {missing}, or"
            " lower database.pool_max.",
            needed=needed,
            allowed=allowed,
        )
