"""Settings: read from `config.yaml`, overridden by environment variables, overridden by options.

The name of a variable is ``RESTAURANT_`` and the path of the setting, with two underscores between
levels: ``RESTAURANT_DATABASE__PASSWORD``. `ConfigurationError` names each wrong or unknown key.
"""

from restaurant_system.config.field_types import split_postgres_url
from restaurant_system.config.loading import load
from restaurant_system.config.servers import (
    DatabaseSettings,
    RabbitMQSettings,
    ServerSettings,
    TlsSettings,
)
from restaurant_system.config.settings import (
    CookingSeconds,
    DeliverySettings,
    HistorySettings,
    HttpSettings,
    IntegrationSettings,
    KitchenDisplaySettings,
    KitchenSettings,
    LateSeconds,
    LogSettings,
    MetricsSettings,
    OrderServiceSettings,
    OutboxSettings,
    PrivacySettings,
    ReconciliationSettings,
    SecuritySettings,
    Settings,
    SigningSettings,
    TelemetrySettings,
    TrackingServiceSettings,
)

__all__ = [
    "CookingSeconds",
    "DatabaseSettings",
    "DeliverySettings",
    "HistorySettings",
    "HttpSettings",
    "IntegrationSettings",
    "KitchenDisplaySettings",
    "KitchenSettings",
    "LateSeconds",
    "LogSettings",
    "MetricsSettings",
    "OrderServiceSettings",
    "OutboxSettings",
    "PrivacySettings",
    "RabbitMQSettings",
    "ReconciliationSettings",
    "SecuritySettings",
    "ServerSettings",
    "Settings",
    "SigningSettings",
    "TelemetrySettings",
    "TlsSettings",
    "TrackingServiceSettings",
    "load",
    "split_postgres_url",
]
