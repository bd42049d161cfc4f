"""Each service against its OpenAPI document: every response must be documented."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance

from restaurant_system.app.menu import menu_feature
from restaurant_system.config import DatabaseSettings
from restaurant_system.database.connection import Database
from restaurant_system.messaging.signature import UNSIGNED
from restaurant_system.services.access.audit_handler import AuditHandler
from restaurant_system.services.access.device_handler import DeviceHandler
from restaurant_system.services.access.handler import SessionHandler
from restaurant_system.services.order.dead_letter_handler import DeadLetterHandler
from restaurant_system.services.order.dead_letter_requests import DeadLetterRequests
from restaurant_system.services.order.handler import OrderHandler
from restaurant_system.services.order.integration_handler import IntegrationHandler
from restaurant_system.services.order.menu_file import sample_menu
from restaurant_system.services.order.privacy_handler import PrivacyHandler
from restaurant_system.services.order.ready_order_handler import ReadyOrderHandler
from restaurant_system.services.order.release_handler import ReleaseHandler
from restaurant_system.services.tracking.handler import TrackingHandler
from restaurant_system.shutdown import Shutdown
from restaurant_system.web import api, server
from restaurant_system.web.api import Site
from tests.support.access import make_pins, make_sign_in, quick_passwords
from tests.support.payloads import connect
from tests.support.rows import truncate_tables
from tests.support.services import (
    make_broker,
    make_current_menu,
    make_order_export,
    make_order_service,
    make_ready_orders,
    make_release,
    make_tracking_service,
)

SEARCH = settings(
    max_examples=10,
    stateful_step_count=6,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
SHORT_SEARCH = settings(SEARCH, max_examples=3)  # for requests that open connections

# No schema can state letters of any script, trimmed lengths, prices in cents and valid cursors.
EXCLUDED_CHECKS: list[Any] = [positive_data_acceptance]


@pytest.fixture
def address(request: pytest.FixtureRequest, dsn: str) -> Iterator[str]:
    """Serve some features on the test's own database, in a thread of their own."""
    shutdown, listening = Shutdown(), server.listen("127.0.0.1", 0)
    host, port = listening.getsockname()
    loops: list[asyncio.AbstractEventLoop] = []
    started = threading.Event()

    async def serve() -> None:
        database = Database(dsn, DatabaseSettings(), application_name="test")
        await database.connect()
        loops.append(asyncio.get_running_loop())
        started.set()
        async with server.running(listening, shutdown) as running:
            await running.serve(make_site(request.param, database))
        await database.close()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    started.wait()
    yield f"http://{host}:{port}"
    loops[0].call_soon_threadsafe(shutdown.request_stop)
    thread.join()


def make_site(name: str, database: Database) -> Site:
    """Build the application of a command, without its health check.

    Users and API keys are not administered without access control: see test_administration.py.
    """
    service = make_order_service(database)
    intake = OrderHandler(service, max_concurrent=50).feature()
    integrations = IntegrationHandler(connect(service), max_concurrent=50).feature()
    release = ReleaseHandler(make_release(database)).feature()
    ready = ReadyOrderHandler(make_ready_orders(database)).feature()
    offer = menu_feature(database, make_current_menu(database, sample_menu()), may_be_alone=True)
    people = make_sign_in(database)
    sessions = SessionHandler(people).feature()
    devices = DeviceHandler(database, quick_passwords(), people, make_pins(database)).feature()
    audit = AuditHandler(database).feature()
    broker = make_broker(database)
    requests = DeadLetterRequests(broker)
    administration = [
        DeadLetterHandler(database, broker, UNSIGNED, requests).feature(),
        PrivacyHandler(database, broker, requests).feature(),
    ]
    tracking = TrackingHandler(make_tracking_service(database)).feature()
    export = make_order_export(database).feature()
    features = {
        "order-service": [
            *(intake, integrations, release, ready, offer, sessions, devices, audit),
            *administration,
        ],
        "tracking-service": [tracking, export],
        "up": [intake, release, ready, offer, tracking, export],
    }
    return api.build(name, features[name])


def validate(case: schemathesis.Case[Any]) -> None:
    """Send a request, and validate the response against the document."""
    case.call_and_validate(excluded_checks=EXCLUDED_CHECKS)


@pytest.mark.parametrize("address", ["order-service", "tracking-service"], indirect=True)
def test_every_response_is_documented(address: str) -> None:
    """Status, content type, headers and body are documented; no response is a 5xx."""
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    assert "FastAPI" not in str(schema.raw_schema)  # notes on the implementation

    for each in schema.get_all_operations():
        assert isinstance(each, Ok)
        operation = each.ok()
        search = (
            SHORT_SEARCH if operation.path.startswith(("/dead-letters", "/privacy")) else SEARCH
        )
        search(given(operation.as_strategy(generation_mode=GenerationMode.POSITIVE))(validate))()
        if operation.query or operation.body:  # else there are no invalid requests
            invalid = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
            search(given(invalid)(validate))()


@pytest.mark.parametrize("address", ["up"], indirect=True)
def test_every_response_in_a_sequence_of_linked_requests_is_documented(
    address: str, dsn: str
) -> None:
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")

    class ApiClient(schema.as_state_machine()):  # type: ignore[misc] # made at run time
        def setup(self) -> None:
            asyncio.run(truncate_tables(dsn))

        def validate_response(self, response: Any, case: Any, **_: Any) -> None:  # noqa: ANN401 - schemathesis' types
            case.validate_response(response, excluded_checks=EXCLUDED_CHECKS)

    ApiClient.run(settings=settings(SEARCH, max_examples=40))
