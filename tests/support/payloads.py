"""Payloads of ordering platforms, written in their shapes, and the orders that they become."""

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import jiter

from restaurant_system.integrations.registry import platforms
from restaurant_system.models.clock import utc_now
from restaurant_system.models.currency import Currency
from restaurant_system.services.order.platform_orders import ConnectedPlatform
from restaurant_system.services.order.service import OrderService

FOLDER = Path(__file__).parents[1] / "payloads"
DAY, SENT_AT = "2026-12-24", "2026-12-23T17:00:05.000+0000"  # in the files
SECRET = "secret-of-the-platform"  # noqa: S105 - of tests
SECRETS = (f"new-{SECRET}", SECRET)  # while the secret is being replaced
CURRENCIES = {
    "uber_eats": "USD",
    "doordash": "USD",
    "deliverect": "KWD",
    "hubrise": "EUR",
    "toast": "USD",
    "open_delivery": "BRL",
}
PLATFORMS = tuple(CURRENCIES)


def currency_of(platform: str) -> Currency:
    """Return the currency of the payloads of a platform."""
    return Currency(CURRENCIES[platform])


def read_file(name: str, *, days_ahead: int = 1) -> bytes:
    """Return a file, such as `toast/full.json`: orders that are sent now, for tomorrow."""
    now = datetime.now(UTC)
    content = (FOLDER / name).read_bytes().replace(SENT_AT.encode(), now.isoformat().encode())
    return content.replace(DAY.encode(), f"{now.date() + timedelta(days=days_ahead)}".encode())


def parse(content: bytes) -> Any:  # noqa: ANN401 - JSON
    """Parse JSON with exact decimals."""
    return jiter.from_json(content, float_mode="decimal")


def connect(service: OrderService, *names: str) -> dict[str, ConnectedPlatform]:
    """Connect platforms, all by default, to an order service."""
    return {
        name: ConnectedPlatform(
            platforms()[name], SECRETS, service, currency=currency_of(name), clock=utc_now
        )
        for name in names or PLATFORMS
    }


def signed(platform: str, body: bytes, secret: str = SECRET) -> dict[str, str]:
    """Return the header fields with which a platform sends a body."""
    return {"Content-Type": "application/json", **SIGNERS[platform](secret.encode(), body)}


def _hex(name: str, key: bytes, body: bytes) -> Mapping[str, str]:
    return {name: hmac.new(key, body, hashlib.sha256).hexdigest()}


def _toast(key: bytes, body: bytes) -> Mapping[str, str]:
    timestamp = str(parse(body)["timestamp"]).encode()
    digest = hmac.new(key, body + timestamp, hashlib.sha256).digest()
    return {"Toast-Signature": base64.b64encode(digest).decode()}


Sign: TypeAlias = Callable[[bytes, bytes], Mapping[str, str]]

SIGNERS: Mapping[str, Sign] = {
    "uber_eats": lambda key, body: _hex("X-Uber-Signature", key, body),
    "doordash": lambda key, _: {"Authorization": f"Bearer {key.decode()}"},
    "deliverect": lambda key, body: _hex("X-Server-Authorization-HMAC-SHA256", key, body),
    "hubrise": lambda key, body: _hex("X-HubRise-Hmac-SHA256", key, body),
    "toast": _toast,
    "open_delivery": lambda key, body: _hex("X-App-Signature", key, body),
}
