"""Connect the ordering platforms that are configured."""

from restaurant_system.config import Settings
from restaurant_system.integrations.registry import platforms
from restaurant_system.models.clock import utc_now
from restaurant_system.models.currency import Currency
from restaurant_system.services.order.integration_handler import IntegrationHandler
from restaurant_system.services.order.platform_orders import ConnectedPlatform
from restaurant_system.services.order.service import OrderService
from restaurant_system.web.api import Feature


def integration_feature(settings: Settings, service: OrderService) -> Feature:
    """Return the route to which the configured platforms send orders."""
    currency = Currency(settings.currency)
    connected = {
        name: ConnectedPlatform(
            platforms()[name],
            [secret.get_secret_value() for secret in each.secret],
            service,
            currency=currency,
            clock=utc_now,
        )
        for name, each in settings.integrations.items()
    }
    return IntegrationHandler(connected, settings.order_service.max_concurrent).feature()
