"""Check what a PostgreSQL server must offer: UTF-8, and enough connections."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

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


# Each limit with the connections that count towards it: for the role, its own in all databases,
# and for the database, those of all roles. Neither applies to superusers. `elsewhere` excludes
# the named services of this role in this database only, because another installation on the server
# has the same application names. The type of another role's session is hidden; clients have a
# database.
CONNECTIONS = """
WITH role AS (SELECT * FROM pg_roles WHERE rolname = session_user),
database AS (SELECT * FROM pg_database WHERE datname = current_database()),
elsewhere AS (
    SELECT usesysid, datid FROM pg_stat_activity
    WHERE datid IS NOT NULL AND coalesce(backend_type, 'client backend') = 'client backend'
      AND NOT (
          application_name = ANY ($1::text[])
          AND usesysid = (SELECT oid FROM role) AND datid = (SELECT oid FROM database)
      )
)
SELECT 'server' AS scope, '' AS name,
       current_setting('max_connections')::integer
           - current_setting('superuser_reserved_connections')::integer
           - coalesce(current_setting('reserved_connections', true)::integer, 0) AS allowed,
       (SELECT count(*) FROM elsewhere) AS open_elsewhere
UNION ALL
SELECT 'database', quote_ident(datname), datconnlimit,
       (SELECT count(*) FROM elsewhere WHERE datid = database.oid)
FROM database, role WHERE datconnlimit >= 0 AND NOT rolsuper
UNION ALL
SELECT 'role', quote_ident(rolname), rolconnlimit,
       (SELECT count(*) FROM elsewhere WHERE usesysid = role.oid)
FROM role WHERE rolconnlimit >= 0 AND NOT rolsuper
"""
LOWER_NEED = "lower database.pool_max, the processes of a service, or kitchen_display.stations"


@dataclass(frozen=True, slots=True)
class ConnectionLimit:
    """How many connections the server, the database or the role allows, and others have open.

    `name` is that of the database or the role, quoted where SQL needs it.
    """

    scope: Literal["server", "database", "role"]
    name: str
    allowed: int
    open_elsewhere: int

    @property
    def description(self) -> str:
        """The limit in words, as the beginning of a sentence."""
        to_whom = "" if self.scope == "server" else f" the {self.scope} {self.name}"
        return f"PostgreSQL allows{to_whom} {self.allowed} connections"

    def missing(self, needed: int) -> int:
        """Return how many of the needed connections cannot be opened; 0 if all can be."""
        return max(0, needed + self.open_elsewhere - self.allowed)

    def cure(self, needed: int) -> str:
        """Return how to allow the needed connections, or to need fewer."""
        sufficient = self.allowed + self.missing(needed)
        if self.scope == "server":
            return f"raise max_connections of PostgreSQL by {sufficient - self.allowed}"
        return f"run ALTER {self.scope.upper()} {self.name} CONNECTION LIMIT {sufficient}"


async def connection_limits(
    connection: AnyConnection, services: Sequence[str]
) -> list[ConnectionLimit]:
    """Return all limits that apply; connections of these services are not open elsewhere."""
    rows = await connection.fetch(CONNECTIONS, list(services))
    return [ConnectionLimit(**row) for row in rows]


async def check_connection_limit(connection: AnyConnection, service: str, needed: int) -> None:
    """Log a warning if `service` may open more connections than others leave to it now.

    Others may open more later, so connections may run out without a warning. `doctor` compares what
    one of each service may open.
    """
    for limit in await connection_limits(connection, [service]):
        if limit.missing(needed):
            log.warning(
                "db_connections_insufficient",
                message=f"{service} needs up to {needed} connections. {limit.description}, of which"
                f" others use {limit.open_elsewhere} now; {limit.cure(needed)}, or {LOWER_NEED}.",
                needed=needed,
                allowed=limit.allowed,
            )
