"""Check what a PostgreSQL server must offer: UTF-8, and enough connections."""

from collections.abc import Sequence
from dataclasses import dataclass

from restaurant_system.database.connection_factory import AnyConnection
from restaurant_system.errors import StartupError
from restaurant_system.logger import get_logger

log = get_logger()

ENCODING = """
SELECT current_database() AS name, current_setting('server_encoding') AS encoding,
       quote_ident(left(current_database(), 58) || '_utf8') AS successor
"""


async def check_encoding(connection: AnyConnection) -> None:
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
          AND coalesce(application_name, '') <> ALL ($1::text[])
    ) AS open_elsewhere
FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database()
"""


@dataclass(frozen=True, slots=True)
class ConnectionLimit:
    """The number of connections that a server allows this role, and of those that others use."""

    allowed: int
    open_elsewhere: int


async def connection_limit(connection: AnyConnection, services: Sequence[str]) -> ConnectionLimit:
    """Return the limit; `open_elsewhere` counts the connections that are not of these services."""
    ((allowed, others),) = await connection.fetch(CONNECTIONS, list(services))
    return ConnectionLimit(allowed, others)


async def check_connection_limit(connection: AnyConnection, service: str, needed: int) -> None:
    """Log a warning if `service` may open more connections than others leave to it now.

    Others may open more later, so connections may run out without a warning.
    """
    limit = await connection_limit(connection, [service])
    missing = needed + limit.open_elsewhere - limit.allowed
    if missing > 0:
        log.warning(
            "db_connections_insufficient",
            message=f"{service} needs up to {needed} connections to PostgreSQL, which allows"
            f" {limit.allowed} to all services together, of which others use"
            f" {limit.open_elsewhere} now; raise"
            f" max_connections (or the limit of the role or the database) by at least {missing}, or"
            " lower database.pool_max.",
            needed=needed,
            allowed=limit.allowed,
        )
