"""The HTTP route of the record of what people have done."""

import json
from datetime import datetime
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, PlainSerializer

from restaurant_system.database import audit
from restaurant_system.database.connection import Database
from restaurant_system.models.access import Capability
from restaurant_system.models.clock import rfc_3339
from restaurant_system.web.api import Feature
from restaurant_system.web.guarded_router import GuardedRouter
from restaurant_system.web.openapi import PROBLEMS

LAST_ID = 2**63 - 1  # of a bigint


class AuditEntry(BaseModel):
    """An act of a person; `who` is null if it is unknown, `client` if it was this machine."""

    id: int
    at: Annotated[datetime, PlainSerializer(rfc_3339, when_used="json")]
    who: str | None
    role: str | None
    action: str
    target: str | None
    client: str | None
    request_id: str | None
    details: dict[str, Any]


class AuditResponse(BaseModel):
    """Entries, the latest first; `next_before` is the `before` of the next page."""

    entries: list[AuditEntry]
    next_before: int | None


class AuditHandler:
    """Shows managers what people have done."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def feature(self) -> Feature:
        """Return the route of the record."""
        router = GuardedRouter(tags=["audit"])
        router.add_api_route(
            "/audit",
            self.list_entries,
            methods=["GET"],
            requires=Capability.ADMINISTER,
            summary="What people have done, the latest first",
            operation_id="audit",
            responses=PROBLEMS,
        )
        return Feature(router)

    async def list_entries(
        self,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        before: Annotated[int | None, Query(ge=1, le=LAST_ID)] = None,
    ) -> AuditResponse:
        """Return a page of entries."""
        async with self._database.connection() as connection:
            rows = await audit.read(connection, before=before, limit=limit)
        entries = [AuditEntry(**{**row, "details": json.loads(row["details"])}) for row in rows]
        return AuditResponse(
            entries=entries, next_before=entries[-1].id if len(entries) == limit else None
        )
