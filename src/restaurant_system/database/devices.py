"""Store and look up the devices on which people sign in with a PIN."""

from dataclasses import dataclass
from datetime import datetime

from restaurant_system.database.connection import Connection
from restaurant_system.models.access import folded_name


@dataclass(frozen=True, slots=True)
class Device:
    """A device on which people sign in with a PIN."""

    id: int
    name: str
    enrolled_at: datetime
    last_used_at: datetime | None


ADD_DEVICE = """
INSERT INTO devices (name, folded_name, token_hash, enrolled_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (folded_name) DO NOTHING RETURNING id
"""


async def add_device(tx: Connection, name: str, token_hash: bytes, at: datetime) -> bool:
    """Store a device; return `False` if the name is taken."""
    return await tx.fetchval(ADD_DEVICE, name, folded_name(name), token_hash, at) is not None


FIND_DEVICE = "SELECT id, name, enrolled_at, last_used_at FROM devices WHERE token_hash = $1"


async def find_device(connection: Connection, token_hash: bytes) -> Device | None:
    """Return the device that keeps a token; `None` if it is not enrolled."""
    row = await connection.fetchrow(FIND_DEVICE, token_hash)
    return None if row is None else Device(**row)


LIST_DEVICES = "SELECT id, name, enrolled_at, last_used_at FROM devices ORDER BY folded_name"


async def list_devices(connection: Connection) -> list[Device]:
    """Return all devices by name."""
    return [Device(**row) for row in await connection.fetch(LIST_DEVICES)]


USE_DEVICE = "UPDATE devices SET last_used_at = $2 WHERE id = $1 RETURNING id"


async def use_device(tx: Connection, device_id: int, at: datetime) -> bool:
    """Store that a device is used; return `False` if it was removed.

    It cannot be removed until the transaction ends; then the sessions of the transaction end too.
    """
    return await tx.fetchval(USE_DEVICE, device_id, at) is not None


REMOVE_DEVICE = "DELETE FROM devices WHERE id = $1 RETURNING name"


async def remove_device(tx: Connection, device_id: int) -> str | None:
    """Remove a device and end its sessions; return its name, `None` if there is no such device."""
    name: str | None = await tx.fetchval(REMOVE_DEVICE, device_id)
    return name
