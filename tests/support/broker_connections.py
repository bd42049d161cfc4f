"""Cuts the lines between a broker and those who use it, as a failing network would."""

from abc import ABC, abstractmethod

import asyncpg
import httpx

from tests.support.rabbitmq_server import RabbitMQ
from tests.support.waiting import eventually

CONNECTIONS = "/connections/username/guest"


class BrokerConnections(ABC):
    """The lines of everyone who uses the test's own broker."""

    @abstractmethod
    async def cut(self) -> None:
        """Cut them all. The broker itself stays, and takes new ones at once."""


class PostgresConnections(BrokerConnections):
    """The sessions in the test's own database."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    async def cut(self) -> None:
        """End every session but the one that asks."""
        await self._terminate("true")

    async def cut_consumers(self) -> None:
        """End the sessions by which consumers show that they live."""
        await self._terminate("pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')")

    async def cut_blocked(self) -> None:
        """End the sessions that wait for a lock, as soon as there is one."""
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
    """The connections of the test's own user: those of this test, for tests run one by one."""

    def __init__(self, server: RabbitMQ) -> None:
        self._server = server

    async def cut(self) -> None:
        """Close every connection, as an operator can."""
        await eventually(self._known, doing="for RabbitMQ to know of a connection")
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
