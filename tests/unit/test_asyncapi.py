"""docs/asyncapi.yaml agrees with the code."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from restaurant_system.messaging import retry_policy, signature, topology
from restaurant_system.models.message import (
    MessageBody,
    OrderMessageCharge,
    OrderMessageItem,
    OrderMessageModifier,
    OrderReceived,
    StatusChanged,
)
from restaurant_system.models.order import DEFAULT_THRESHOLDS, OPTIONAL_OF_ORDER, Handoff, OrderType
from restaurant_system.models.order_items import OPTIONAL_OF_ITEM, ModifierKind
from restaurant_system.models.status import OrderStatus
from restaurant_system.tracing import spans
from tests.support import json_schema
from tests.support.orders import make_complete_orders

DOCUMENT = yaml.safe_load((Path(__file__).parents[2] / "docs/asyncapi.yaml").read_text("utf-8"))
SCHEMAS = DOCUMENT["components"]["schemas"]
MESSAGES = DOCUMENT["components"]["messages"]

ORDER = OrderReceived(
    order_number="ORD_20241216_001",
    customer_name="Ada",
    order_type=OrderType.DINE_IN,
    table_number=3,
    items=(OrderMessageItem(name="Soup", quantity=2, price=Decimal("4.50")),),
    total_amount=Decimal("9.00"),
    priority=1,
)
UPDATE = StatusChanged(
    order_number="ORD_20241216_001",
    old_status=OrderStatus.RECEIVED,
    new_status=OrderStatus.COOKING,
    changed_by="chef_mario",
    timestamp=datetime(2024, 12, 16, 12, tzinfo=UTC),
    estimated_completion=datetime(2024, 12, 16, 12, 0, 8, tzinfo=UTC),
)


def faults(body: Any, schema: str) -> list[str]:  # noqa: ANN401 - a body is any JSON
    """Return what a schema of the document refuses in a body."""
    return json_schema.faults(body, {"$ref": f"#/components/schemas/{schema}", **DOCUMENT})


COMPLETE = [
    (OrderReceived.from_order(order, "ORD_20241216_001"), "order")
    for order in make_complete_orders()
]


@pytest.mark.parametrize(
    ("message", "schema"), [(ORDER, "order"), (UPDATE, "statusUpdate"), *COMPLETE]
)
def test_encoded_messages_are_valid_by_asyncapi(message: MessageBody, schema: str) -> None:
    assert faults(json.loads(message.encode()), schema) == []


@pytest.mark.parametrize(
    ("kind", "schema"), [(OrderReceived, "order"), (StatusChanged, "statusUpdate")]
)
def test_documented_fields_are_those_of_the_code(kind: type[MessageBody], schema: str) -> None:
    assert set(SCHEMAS[schema]["properties"]) == set(kind.model_fields)
    assert set(SCHEMAS[schema]["required"]) == set(kind.model_fields) - OPTIONAL_OF_ORDER


def test_documented_fields_of_an_item_are_those_of_the_code() -> None:
    item = SCHEMAS["order"]["properties"]["items"]["items"]

    assert set(item["properties"]) == set(OrderMessageItem.model_fields)
    assert set(item["required"]) == set(OrderMessageItem.model_fields) - OPTIONAL_OF_ITEM


def test_documented_fields_of_modifiers_and_charges_are_those_of_the_code() -> None:
    modifier = SCHEMAS["modifier"]
    charge = SCHEMAS["order"]["properties"]["charges"]["items"]

    assert set(modifier["properties"]) == set(OrderMessageModifier.model_fields)
    assert set(modifier["required"]) == set(OrderMessageModifier.model_fields)
    assert set(charge["properties"]) == set(OrderMessageCharge.model_fields)


def test_body_that_the_code_never_sends_is_invalid() -> None:
    body = json.loads(ORDER.encode())

    assert len(faults({**body, "priority": 2}, "order")) == 1


def test_documented_enumerations_are_those_of_the_code() -> None:
    parameters = DOCUMENT["channels"]["orders"]["parameters"]
    priorities = {DEFAULT_THRESHOLDS.priority_of(Decimal(total)) for total in (1, 50, 101)}

    assert SCHEMAS["status"]["enum"] == [status.value for status in OrderStatus]
    assert SCHEMAS["order"]["properties"]["handoff"]["enum"] == list(Handoff)
    assert SCHEMAS["modifier"]["properties"]["kind"]["enum"] == list(ModifierKind)
    assert parameters["order_type"]["enum"] == [kind.value for kind in OrderType]
    assert {int(value) for value in parameters["priority"]["enum"]} == priorities


def test_documented_message_types_are_those_of_the_code() -> None:
    assert MESSAGES["orderReceived"]["name"] == OrderReceived.TYPE
    assert MESSAGES["statusChanged"]["name"] == StatusChanged.TYPE


@pytest.mark.parametrize(
    ("channel", "exchange"),
    [("orders", topology.ORDERS_TOPIC), ("notifications", topology.NOTIFICATIONS_FANOUT)],
)
def test_channels_are_exchanges_of_the_topology(channel: str, exchange: topology.Exchange) -> None:
    declared = DOCUMENT["channels"][channel]["bindings"]["amqp"]["exchange"]

    assert (declared["name"], declared["type"]) == (exchange.name, exchange.kind)


def test_address_of_an_order_is_its_routing_key() -> None:
    address = DOCUMENT["channels"]["orders"]["address"]

    routing_key = address.format(order_type=OrderType.DELIVERY, priority=10)

    assert routing_key == topology.routing_key(OrderType.DELIVERY, 10)


def test_documented_headers_are_those_of_the_code() -> None:
    headers = {
        retry_policy.ATTEMPTS,
        retry_policy.FIRST_SEEN,
        retry_policy.REASON,
        retry_policy.QUEUE,
        retry_policy.EXCHANGE,
        retry_policy.ROUTING_KEY,
        signature.SIGNATURE,
        spans.TRACEPARENT,
        spans.TRACESTATE,
    }

    assert set(SCHEMAS["deliveryHeaders"]["properties"]) == headers
