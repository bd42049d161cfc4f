"""What the OpenAPI document says about the guards of routes."""

from typing import Any, cast

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from restaurant_system.models.access import EVERYONE, SCOPES, Caller, Capability, Credential
from restaurant_system.models.order import NewOrder
from restaurant_system.web.access_control import AccessControl, GuardedRoute
from restaurant_system.web.guarded_router import PUBLIC, GuardedRouter
from restaurant_system.web.openapi import document_access
from tests.support import json_schema
from tests.support.orders import make_item, make_order_fields

REQUIREMENTS = (PUBLIC, *Capability)


async def identify(_: Credential) -> Caller | None:
    """Find no caller."""
    return None


async def respond() -> None:
    """Respond with nothing."""


def document_of(router: GuardedRouter, control: AccessControl | None) -> dict[str, Any]:
    """Return the OpenAPI document of these routes."""
    api = FastAPI()
    api.routes.extend(router.routes)
    document = api.openapi()
    document_access(document, router.routes, control)
    return document


@pytest.fixture
def router() -> GuardedRouter:
    """Return a router with two routes for each requirement, and one that is not documented."""
    router = GuardedRouter()
    for requires in REQUIREMENTS:
        for method in ("GET", "POST"):
            router.add_api_route(f"/{requires}/x", respond, methods=[method], requires=requires)
    router.add_api_route("/hidden", respond, requires=PUBLIC, include_in_schema=False)
    return router


@pytest.mark.parametrize(
    ("control", "public"),
    [
        (AccessControl(identify), EVERYONE),
        (
            AccessControl(identify, public=frozenset({Capability.PLACE_ORDERS})),
            EVERYONE | {Capability.PLACE_ORDERS},
        ),
        (None, frozenset(Capability)),
    ],
    ids=["access control", "public ordering", "open"],
)
def test_declared_security_and_refusals_are_those_of_the_guard(
    router: GuardedRouter, control: AccessControl | None, public: frozenset[Capability]
) -> None:
    document = document_of(router, control)

    for route in cast("list[APIRoute]", router.routes[:-1]):
        requires = cast("GuardedRoute", route.app).requires
        assert route.methods is not None
        (method,) = route.methods
        operation = document["paths"][route.path][method.lower()]
        scopes = [requires] if requires in SCOPES else []
        alternatives: list[dict[str, Any]] = [{"api_key": scopes}, {"session": scopes}]
        if requires in public:
            alternatives.insert(0, {})
        assert operation["security"] == ([] if requires is PUBLIC else alternatives)
        refused = {"401"} if control is not None and requires is not PUBLIC else set()
        if method == "POST" or (refused and requires not in EVERYONE):
            refused.add("403")
        assert operation["responses"].keys() - {"200"} == refused | {"429"}
    assert "/hidden" not in document["paths"]


def test_response_that_a_route_documents_itself_is_kept(router: GuardedRouter) -> None:
    own = {401: {"description": "The name or the password is wrong"}}
    router.add_api_route(
        "/own", respond, methods=["POST"], requires=Capability.TICKETS, responses=own
    )

    document = document_of(router, AccessControl(identify))

    (operation,) = document["paths"]["/own"].values()
    assert operation["responses"]["401"] == own[401]
    assert "403" in operation["responses"]


@pytest.mark.parametrize(
    "changes",
    [
        {"order_type": "dine_in", "customer_name": None, "table": "A1", "table_number": None},
        {"order_type": "dine_in", "customer_name": " ", "table": "", "table_number": 3},
        {"delivery_address": "", "table": "", "channel": "", "external_id": "", "charges": None},
        {"phone": " ", "reference": "", "allergy_note": "", "notes": "", "ready_at": None},
        {"order_type": "delivery", "delivery_address": "", "handoff": "courier"},
        {"items": [make_item(modifiers=None, guest="", sku="")], "customer_name": "李"},
    ],
)
def test_schema_of_orders_accepts_absent_fields_as_the_service_does(
    changes: dict[str, object],
) -> None:
    body = make_order_fields(**changes)

    NewOrder.model_validate(body)

    assert json_schema.faults(body, NewOrder.model_json_schema()) == []
