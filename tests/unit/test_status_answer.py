"""The answer that is asked for most, written without pydantic."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from restaurant_system.models.status import OrderStatus
from restaurant_system.services.tracking.handler import StatusAnswer, written
from restaurant_system.services.tracking.standing import Standing

NOON = datetime(2024, 12, 16, 12, 0, tzinfo=UTC)
LATER = datetime(2024, 12, 16, 13, 59, 59, 123_999, tzinfo=timezone(timedelta(hours=2)))


@pytest.mark.parametrize("status", OrderStatus)
@pytest.mark.parametrize("due", [None, NOON, LATER])
@pytest.mark.parametrize(
    "cook",
    [None, "mario", 'Ma"r\\io', "M\u00e1rio \u8336 \U0001f468\u200d\U0001f373", "\u2028\x7f\t"],
)
def test_the_answer_is_what_is_documented(
    status: OrderStatus, due: datetime | None, cook: str | None
) -> None:
    """Byte for byte it is what the documented model would be written as."""
    standing = Standing("ORD_20241216_001", status, LATER, due, cook)

    answer = written(standing).body

    assert answer.decode() == StatusAnswer(**standing._asdict()).model_dump_json()
    assert json.loads(answer)["processed_by"] == cook
