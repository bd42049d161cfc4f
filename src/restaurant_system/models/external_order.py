"""The id that an order has where it comes from: at a delivery platform, or in another system."""

import hashlib

from pydantic import field_validator

from restaurant_system.models.fields import (
    INVISIBLE,
    Channel,
    ExternalId,
    StrictModel,
    invalid_value,
)


class ExternalOrder(StrictModel):
    """A channel and the id of an order there; together they are taken by one order, for ever."""

    channel: Channel
    external_id: ExternalId

    @field_validator("external_id")
    @classmethod
    def _check_external_id(cls, value: str) -> str:
        if not value:
            raise invalid_value(INVISIBLE)
        return value

    @property
    def digest(self) -> bytes:
        """A hash that is equal for equal channels and ids only: no channel contains a slash."""
        return hashlib.sha256(f"{self.channel}/{self.external_id}".encode()).digest()
