"""Check that the server allows as many connections as a service may open."""

from restaurant_system.database.connection import Database
from restaurant_system.logger import get_logger

log = get_logger()

ALLOWED = """
SELECT least(
    current_setting('max_connections')::integer
        - current_setting('superuser_reserved_connections')::integer
        - coalesce(current_setting('reserved_connections', true)::integer, 0),
    nullif(rolconnlimit, -1),
    nullif(datconnlimit, -1))
FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database()
"""


async def check_capacity(database: Database, service: str, needed: int) -> None:
    """Log a warning when a service may need more connections than all services may have."""
    async with database.connection() as connection:
        allowed = await connection.fetchval(ALLOWED)
    if allowed < needed:
        log.warning(
            "db_connections_insufficient",
            message=f"{service} needs up to {needed} connections to PostgreSQL, which allows"
            f" {allowed} to all services together; raise max_connections (or the limit of the role"
            f" or the database) by at least {needed - allowed}, or lower database.pool_max.",
            needed=needed,
            allowed=allowed,
        )
