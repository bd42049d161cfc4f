"""Wait for synchronous standbys before an answer that repeats an earlier one.

A write whose wait for a standby was cancelled is stored on the primary alone, and visible there.
Its repetition finds it done and writes nothing, so that its own commit would wait for no standby:
the answer would acknowledge what a failover loses.
"""

from restaurant_system.database.connection import Connection
from restaurant_system.database.refused_operations import EMPTY_COMMIT


async def wait_for_standbys(connection: Connection) -> None:
    """Have the commit of this statement, or of its transaction, wait for synchronous standbys.

    They then have all that was visible before. Without such standbys, the wait is that for the disk
    of the primary.
    """
    await connection.execute(EMPTY_COMMIT)
