"""Every HTTP service checks host, origin and rate, as it is configured."""

from collections.abc import Iterator

import httpx
import pytest

from tests.acceptance.test_kitchen_display import start_display
from tests.support import deployments
from tests.support.deployments import JSON, Deployment
from tests.support.orders import make_order_body
from tests.support.processes import free_port

NAME, SHOP = "restaurant.example", "https://shop.example"
FROM_ELSEWHERE = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}


@pytest.fixture
def configured_deployment(dsn: str) -> Iterator[Deployment]:
    """Run a deployment behind a proxy, whose clients may change something once in ten seconds."""
    with deployments.running(
        dsn,
        RESTAURANT_SECURITY__ALLOWED_HOSTS=f'["{NAME}"]',
        RESTAURANT_SECURITY__CORS_ORIGINS=f'["{SHOP}"]',
        RESTAURANT_SECURITY__TRUSTED_PROXIES='["127.0.0.1"]',
        RESTAURANT_SECURITY__OPEN="true",
        RESTAURANT_HTTP__CHANGES_PER_SECOND="0.1",
    ) as deployment:
        yield deployment


def test_every_service_checks_its_requests(configured_deployment: Deployment) -> None:
    deployment, display_port = configured_deployment, free_port()
    deployment.start_order_service()
    deployment.start_tracking_service()
    start_display(deployment, display_port)
    deployment.wait_until_ready()
    number = deployment.place_order()
    with httpx.Client(base_url=f"http://127.0.0.1:{display_port}", verify=False) as display:  # noqa: S501 - no TLS
        for service, change in (
            (deployment.orders, f"/orders/{number}/cancel"),
            (deployment.tracking, f"/orders/{number}/status"),
            (display, "/kitchen/stations/grill"),
        ):
            assert service.get("/health", headers={"Host": NAME}).status_code == 200
            assert service.get("/health", headers={"Host": "evil.example"}).status_code == 421
            assert service.post(change, headers=FROM_ELSEWHERE).status_code == 403
            shop = service.get("/health", headers={"Origin": SHOP})
            assert shop.headers["Access-Control-Allow-Origin"] == SHOP

    assert deployment.history(number) == [("received", "order-service")]
    statuses = [
        deployment.orders.post(
            "/orders",
            content=make_order_body(),
            headers=JSON | {"X-Forwarded-For": f"203.0.113.9, {client}"},
        ).status_code
        for client in ("192.0.2.1", "192.0.2.1", "192.0.2.2", "127.0.0.1")
    ]
    assert statuses == [201, 429, 201, 201]
    assert deployment.place_order()
