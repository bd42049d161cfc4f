"""Every setting: read from `config.yaml`, overridden by the environment, overridden by options.

A variable is named ``RESTAURANT_`` and the setting's path with two underscores for each level:
``RESTAURANT_DATABASE__PASSWORD``. A wrong or unknown key is a `ConfigurationError` with its path.
"""

from restaurant_system.config.reading import load
from restaurant_system.config.servers import (
    DatabaseSettings,
    RabbitMQSettings,
    ServerSettings,
    TlsSettings,
)
from restaurant_system.config.settings import (
    CookingSeconds,
    DeliverySettings,
    HttpSettings,
    KitchenDisplaySettings,
    KitchenSettings,
    LogSettings,
    OrderServiceSettings,
    OutboxSettings,
    ReconciliationSettings,
    Settings,
    SigningSettings,
    TrackingServiceSettings,
)

__all__ = [
    "CookingSeconds",
    "DatabaseSettings",
    "DeliverySettings",
    "HttpSettings",
    "KitchenDisplaySettings",
    "KitchenSettings",
    "LogSettings",
    "OrderServiceSettings",
    "OutboxSettings",
    "RabbitMQSettings",
    "ReconciliationSettings",
    "ServerSettings",
    "Settings",
    "SigningSettings",
    "TlsSettings",
    "TrackingServiceSettings",
    "load",
]
