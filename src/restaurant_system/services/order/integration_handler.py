"""The HTTP route to which ordering platforms send orders."""

from collections.abc import Mapping
from enum import StrEnum
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from restaurant_system.error_texts import ErrorText
from restaurant_system.integrations.platform import Nothing, PayloadInvalid
from restaurant_system.integrations.registry import platforms
from restaurant_system.models.access import UNGUARDED
from restaurant_system.services.order.handler import OrderPlaced, serialize
from restaurant_system.services.order.platform_orders import (
    CancelledOrder,
    ConnectedPlatforms,
)
from restaurant_system.services.order.service import PlacedOrder
from restaurant_system.web.api import Feature
from restaurant_system.web.guarded_router import PUBLIC, GuardedRouter
from restaurant_system.web.headers import all_values
from restaurant_system.web.json_body import INVALID_BODY, JSON
from restaurant_system.web.openapi import PLATFORM_PROBLEMS
from restaurant_system.web.problem import Refusal
from restaurant_system.web.request_checks import ConcurrencyLimit
from restaurant_system.web.validation_errors import FieldError


class Outcome(StrEnum):
    """What became of a message that places no order."""

    CANCELLED = "cancelled"
    UNCHANGED = "unchanged"


class MessageReceived(BaseModel):
    """The response to a message that places no order."""

    outcome: Outcome
    order_number: str | None = Field(
        description="The order that was cancelled; null if it has not arrived yet"
    )
    reason: str | None = Field(description="Why nothing was changed")


class IntegrationHandler:
    """Verifies and reads messages of platforms, and answers with what became of them."""

    def __init__(self, connected: ConnectedPlatforms, max_concurrent: int) -> None:
        self._connected = connected
        self._limit = ConcurrencyLimit(max_concurrent)

    def feature(self) -> Feature:
        """Return the route; the signature of a message stands in for a session or API key."""
        router = GuardedRouter(tags=["integrations"])
        schemes = _security_schemes()
        router.add_api_route(
            "/integrations/{platform}/orders",
            self.receive,
            methods=["POST"],
            requires=PUBLIC,
            status_code=HTTPStatus.CREATED,
            response_model=OrderPlaced,
            summary="Receive an order, or its cancellation, from an ordering platform",
            operation_id="receive_platform_order",
            responses={
                HTTPStatus.OK: {
                    "model": MessageReceived,
                    "description": "The message cancels an order, or changes nothing",
                },
                **PLATFORM_PROBLEMS,
            },
            openapi_extra={
                "requestBody": {
                    "required": True,
                    "description": "As the platform documents it: see docs/integrations.md",
                    "content": {JSON: {"schema": {"type": "object"}}},
                },
                "security": [{name: []} for name in schemes],
            },
        )
        return Feature(router, security_schemes=schemes)

    async def receive(self, platform: str, request: Request) -> Response:
        """Place or cancel an order; the request must be signed as the platform signs its own."""
        connected = self._connected.get(platform)
        if connected is None:
            message = (
                "No platform with this name is configured here; add its secret to `integrations` in"
                " the configuration."
            )
            raise Refusal(HTTPStatus.NOT_FOUND, ErrorText(message, "platform_unknown"))
        signature = connected.signature_in(_values(connected.signature_header, request))
        body = await request.body()
        connected.verify(signature, body)
        payload = connected.parse(request.headers.raw, body)
        async with self._limit:
            try:
                result = await connected.receive(payload, request_id=request.scope["request_id"])
            except PayloadInvalid as refusal:
                errors = [FieldError(each.path, each.message) for each in refusal.faults]
                raise Refusal(HTTPStatus.BAD_REQUEST, INVALID_BODY, errors) from None
        return _response(result)


def _values(header: str, request: Request) -> list[str]:
    return [each.decode("latin-1") for each in all_values(header.encode(), request.headers.raw)]


def _response(result: PlacedOrder | CancelledOrder | Nothing) -> Response:
    match result:
        case PlacedOrder():
            placed = serialize(result, UNGUARDED)
            headers = {name.decode(): value.decode() for name, value in placed.headers}
            return Response(placed.body, placed.status, headers, JSON)
        case CancelledOrder(number):
            received = MessageReceived(outcome=Outcome.CANCELLED, order_number=number, reason=None)
        case Nothing(reason):
            received = MessageReceived(outcome=Outcome.UNCHANGED, order_number=None, reason=reason)
    return Response(received.model_dump_json(), media_type=JSON)


def _security_schemes() -> Mapping[str, Any]:
    """Describe for OpenAPI how each platform signs."""
    return {
        f"{name}_signature": {
            "type": "apiKey",
            "in": "header",
            "name": platform.signature.header,
            "description": f"How {name} proves that it has sent a message: docs/integrations.md",
        }
        for name, platform in platforms().items()
    }
