"""Close the connections to a broker, as a failing network does."""

from abc import ABC, abstractmethod

import asyncpg
import httpx

from tests.support.rabbitmq_server import RabbitMQ
from tests.support.waiting import eventually

USER = "guest"  # RabbitMQ's default user
CONNECTIONS = f"/connections/username/{USER}"


class BrokerConnections(ABC):
    """All connections to the test's broker."""

    @abstractmethod
    async def cut(self) -> None:
        """Close all connections to the broker, which accepts new ones at once."""


class PostgresConnections(BrokerConnections):
    """The sessions in the test's database."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    async def cut(self) -> None:
        """Terminate all other sessions in the test's database."""
        await self._terminate("true")

    async def cut_consumers(self) -> None:
        """Terminate the sessions whose advisory locks mark live consumers."""
        await self._terminate("pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')")

    async def cut_blocked(self) -> None:
        """Wait for a session that waits for a lock, and terminate all such sessions."""
        await eventually(self._terminate_blocked, doing="for a session to wait for a lock")

    async def _terminate_blocked(self) -> bool:
        return await self._terminate("wait_event_type = 'Lock'") > 0

    async def _terminate(self, which: str) -> int:
        connection = await asyncpg.connect(self._dsn)
        try:
            ended: int = await connection.fetchval(
                "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity "  # noqa: S608
                f"WHERE datname = current_database() AND pid <> pg_backend_pid() AND {which}"
            )
        finally:
            await connection.close()
        return ended


class RabbitMQConnections(BrokerConnections):
    """The connections of RabbitMQ's default user: those of this test, as tests run one by one."""

    def __init__(self, server: RabbitMQ) -> None:
        self._server = server

    async def cut(self) -> None:
        """Close all connections through the management API."""
        await eventually(self._known, doing="for RabbitMQ to list a connection")
        async with self._api() as api:
            (await api.delete(CONNECTIONS)).raise_for_status()

    async def _known(self) -> bool:
        async with self._api() as api:
            return bool((await api.get(CONNECTIONS)).raise_for_status().json())

    def _api(self) -> httpx.AsyncClient:
        api = self._server.api
        return httpx.AsyncClient(
            base_url=api.base_url,
            auth=api.auth,
            timeout=api.timeout,
            verify=False,  # noqa: S501 - there is no TLS here
        )
