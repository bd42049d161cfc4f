"""The response of the status look-up, which is serialized without pydantic."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from restaurant_system.models.access import UNGUARDED
from restaurant_system.models.status import OrderStatus
from restaurant_system.services.tracking.handler import StatusResponse, serialize
from restaurant_system.services.tracking.status_lookup import OrderProgress

NOON = datetime(2024, 12, 16, 12, 0, tzinfo=UTC)
LATER = datetime(2024, 12, 16, 13, 59, 59, 123_999, tzinfo=timezone(timedelta(hours=2)))


@pytest.mark.parametrize("status", OrderStatus)
@pytest.mark.parametrize("due", [None, NOON, LATER])
@pytest.mark.parametrize(
    "worker",
    [None, "mario", 'Ma"r\\io', "M\u00e1rio \u8336 \U0001f468\u200d\U0001f373", "\u2028\x7f\t"],
)
def test_serialized_status_equals_the_documented_model(
    status: OrderStatus, due: datetime | None, worker: str | None
) -> None:
    progress = OrderProgress("ORD_20241216_001", status, LATER, due, worker)

    response = serialize(progress, UNGUARDED).body

    assert response.decode() == StatusResponse(**progress._asdict()).model_dump_json()
    assert json.loads(response)["processed_by"] == worker
