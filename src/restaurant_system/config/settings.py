"""All settings with their defaults; a test keeps them equal to the sample `config.yaml`."""

import importlib.util
import json
import re
from collections.abc import Mapping
from datetime import time, timedelta
from decimal import Decimal
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import platformdirs
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from restaurant_system.config.field_types import (
    CollectorUrl,
    HostPattern,
    Location,
    Network,
    Origin,
    Port,
    Seconds,
    Section,
)
from restaurant_system.config.servers import DatabaseSettings, RabbitMQSettings
from restaurant_system.models.business_day import BusinessDay
from restaurant_system.models.currency import Currency
from restaurant_system.models.order import DEFAULT_THRESHOLDS, PriorityThresholds

ENV_PREFIX = "RESTAURANT_"
PORT_OF_ORIGIN = re.compile(r":[0-9]+$")
LOCAL_ZONES = {"localtime", "posixrules", "Factory"}
TIME_OF_DAY = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]", re.ASCII)
SHORTEST_KEY = 16  # characters; shorter ones can be guessed


class HttpSettings(Section):
    """Limits for clients of all HTTP services.

    Timeouts are in seconds. The other limits apply to each client address and process; 0 means no
    limit. `changes_per_second` limits requests that change something (POST, PUT, PATCH, DELETE),
    and `lookups_per_second` all others.

    A service that is to stop goes on for `drain_seconds` and reports that it is not ready.
    """

    head_timeout: Seconds = 10
    body_timeout: Seconds = 30
    connections_per_address: int = Field(default=200, ge=0)
    streams_per_address: int = Field(default=100, ge=0)
    changes_per_second: float = Field(default=200, ge=0)
    lookups_per_second: float = Field(default=2000, ge=0)
    drain_seconds: float = Field(default=0, ge=0, le=60)


class SecuritySettings(Section):
    """Who may use the HTTP services; host names, origins and proxies that they trust.

    `open` is true for no access control, false for access control, and null for access control
    unless a service listens on loopback only and no proxy is trusted. `public_ordering` lets
    everybody place orders. A session ends after `session_hours`, one that was opened with a PIN
    after `pin_session_hours`. After `tries_per_pin` wrong PINs the PIN of a person is refused;
    `tries_per_device` wrong ones of all people on a device have no delay. Wrong passwords beyond
    `tries_per_account`, and beyond `tries_per_address`, are followed by a lock-out whose time
    doubles up to `longest_lock_out` seconds. What people do is on record for `audit_days`.

    A service answers for `allowed_hosts` besides its own address and this machine's loopback names.
    Pages of `cors_origins` may send requests to it. The client address, and the scheme of the
    request, are believed when a proxy in `trusted_proxies` states them.
    """

    open: bool | None = None
    public_ordering: bool = False
    session_hours: float = Field(default=12, gt=0, le=10_000)
    tries_per_account: int = Field(default=5, ge=1)
    tries_per_address: int = Field(default=30, ge=1)
    longest_lock_out: Seconds = 900
    audit_days: float = Field(default=365, ge=30, le=36_500)
    pin_session_hours: float = Field(default=2, gt=0, le=10_000)
    tries_per_pin: int = Field(default=5, ge=1, le=100)
    tries_per_device: int = Field(default=10, ge=1)
    allowed_hosts: tuple[HostPattern, ...] = ()
    cors_origins: tuple[Origin, ...] = ()
    trusted_proxies: tuple[Network, ...] = ()

    @property
    def longest_lock_out_time(self) -> timedelta:
        """The longest time without a further try."""
        return timedelta(seconds=self.longest_lock_out)

    @property
    def audit_kept_for(self) -> timedelta:
        """The time for which entries of the record of what people do are kept."""
        return timedelta(days=self.audit_days)


class OrderServiceSettings(Section):
    """The HTTP service that accepts orders."""

    host: str = "0.0.0.0"  # noqa: S104 - other machines connect to a service
    port: Port = 3000
    processes: int = Field(default=1, ge=1)
    max_concurrent: int = Field(default=50, ge=1)
    menu: Location | None = None


class TrackingServiceSettings(Section):
    """The read-only HTTP service.

    Customers open its pages at `public_url`, with which the links to their orders begin; without it
    the links are paths.
    """

    host: str = "0.0.0.0"  # noqa: S104 - other machines connect to a service
    port: Port = 3002
    processes: int = Field(default=1, ge=1)
    public_url: Origin | None = None

    @property
    def public_host(self) -> str | None:
        """The host name or address in `public_url`."""
        if self.public_url is None:
            return None
        return PORT_OF_ORIGIN.sub("", self.public_url.partition("://")[2])


class CookingSeconds(Section):
    """Seconds that a simulated cook takes for an order of each type."""

    dine_in: float = Field(default=8, ge=0)
    takeout: float = Field(default=10, ge=0)
    delivery: float = Field(default=12, ge=0)


class AgingSeconds(Section):
    """Age in seconds from which an unfinished order is shown as aging, by type."""

    dine_in: float = Field(default=480, ge=0)
    takeout: float = Field(default=480, ge=0)
    delivery: float = Field(default=600, ge=0)


class LateSeconds(Section):
    """Age in seconds from which an order counts as late, by type."""

    dine_in: float = Field(default=900, ge=0)
    takeout: float = Field(default=900, ge=0)
    delivery: float = Field(default=1200, ge=0)


PRIORITY_THRESHOLDS = {5: DEFAULT_THRESHOLDS.five_from, 10: DEFAULT_THRESHOLDS.ten_above}
PRIORITY_SECONDS = {5: 300.0, 10: 600.0}


class KitchenSettings(Section):
    """Simulated cooks, how long orders may take, and which are cooked first.

    An order has the priority 5 if its items cost the threshold of 5 or more, and 10 if they cost
    more than that of 10. Orders are cooked in the sequence of their promised times; that of an
    order with such a priority counts as earlier, by the `priority_seconds` of its priority.

    An offline worker is deleted once its last heartbeat is older than `used_worker_days`, or, if it
    has finished no order, older than `unused_worker_hours`.
    """

    cooking_seconds: CookingSeconds = CookingSeconds()
    aging_seconds: AgingSeconds = AgingSeconds()
    late_seconds: LateSeconds = LateSeconds()
    priority_thresholds: Mapping[int, Annotated[Decimal, Field(ge=0)]] = PRIORITY_THRESHOLDS
    priority_seconds: Mapping[int, Annotated[float, Field(ge=0, le=86_400)]] = PRIORITY_SECONDS
    cooking_time_scale: float = Field(default=1.0, ge=0)
    heartbeat_interval: Seconds = 30
    prefetch: int = Field(default=1, ge=1, le=1000)
    unused_worker_hours: float = Field(default=24, gt=0, le=100_000)
    used_worker_days: float = Field(default=90, gt=0, le=10_000)

    def late_after(self, order_type: str) -> float:
        """Return the age in seconds from which an order of this type counts as late."""
        seconds: float = getattr(self.late_seconds, order_type)
        return seconds

    @field_validator("priority_seconds")
    @classmethod
    def _check_priorities(cls, seconds: Mapping[int, float]) -> Mapping[int, float]:
        if unknown := seconds.keys() - PRIORITY_SECONDS.keys():
            raise ValueError(f"has only the priorities 5 and 10, not {min(unknown)}")
        return PRIORITY_SECONDS | dict(seconds)

    @property
    def promise_times(self) -> dict[str, timedelta]:
        """The time from placing an order until it is promised to be ready, by type."""
        return {kind: timedelta(seconds=seconds) for kind, seconds in self.late_seconds}

    @property
    def priority_times(self) -> dict[int, timedelta]:
        """The time by which the promised time of an order counts as earlier, by priority."""
        return {each: timedelta(seconds=time) for each, time in self.priority_seconds.items()}

    @model_validator(mode="after")
    def _check_aging_before_late(self) -> Self:
        for kind, seconds in self.aging_seconds:
            if seconds > getattr(self.late_seconds, kind):
                raise ValueError(f"aging_seconds.{kind} must not be above late_seconds.{kind}")
        return self

    @field_validator("priority_thresholds")
    @classmethod
    def _check_thresholds(cls, given: Mapping[int, Decimal]) -> Mapping[int, Decimal]:
        if unknown := given.keys() - PRIORITY_THRESHOLDS.keys():
            raise ValueError(f"has only the priorities 5 and 10, not {min(unknown)}")
        thresholds = PRIORITY_THRESHOLDS | dict(given)
        if thresholds[5] > thresholds[10]:
            raise ValueError("must not be higher for priority 5 than for 10")
        return thresholds

    @property
    def thresholds(self) -> PriorityThresholds:
        """What the items of an order must cost for a higher priority."""
        return PriorityThresholds(self.priority_thresholds[5], self.priority_thresholds[10])

    def cooking_time(self, order_type: str) -> timedelta:
        """Return the cooking time of an order of this type, with the scale applied."""
        seconds: float = getattr(self.cooking_seconds, order_type)
        return timedelta(seconds=seconds * self.cooking_time_scale)


class KitchenDisplaySettings(Section):
    """The kitchen display: up to `stations` open stations with up to `capacity` tickets each.

    Each client address may open `stations_per_address` of them; 0 means no limit of its own.
    A station sends a heartbeat every `heartbeat_interval` seconds, and closes after
    `station_timeout` seconds without a screen that shows it.
    """

    host: str = "0.0.0.0"  # noqa: S104 - other machines connect to a service
    port: Port = 3001
    stations: int = Field(default=20, ge=1)
    stations_per_address: int = Field(default=10, ge=0)
    capacity: int = Field(default=12, ge=1, le=1000)
    heartbeat_interval: Seconds = 5
    station_timeout: Seconds = 60


class DeliverySettings(Section):
    """Retries of messages whose processing fails temporarily.

    After attempt n, a message is delivered again in ``retry_delays[n-1]`` seconds (the last delay
    repeats); after ``max_attempts`` it is dead-lettered. A process that dead-letters more than
    ``max_dead_letters`` messages within ``dead_letter_window`` seconds stops.
    """

    max_attempts: int = Field(default=5, ge=1)
    retry_delays: tuple[Seconds, ...] = Field(default=(1, 5, 15, 60), min_length=1)
    max_dead_letters: int = Field(default=50, ge=1)
    dead_letter_window: Seconds = 60


class OutboxSettings(Section):
    """Publishing of committed messages to the broker."""

    batch: int = Field(default=500, ge=1, le=10_000)
    sweep_interval: Seconds = 2
    sweep_after: Seconds = 5


class ReconciliationSettings(Section):
    """The search for stuck orders, and publishing again what the broker has lost."""

    enabled: bool = True
    interval: Seconds = 30
    after: Seconds = 60
    republish_updates_within: Seconds = 3600


def _check_whole_day(days: float | None) -> float | None:
    if days is not None and 0 < days < 1:
        raise ValueError("must be 0 (never) or at least 1")
    return days


class HistorySettings(Section):
    """For how long orders are kept.

    All orders of the current month and of `months` months before it are kept; older ones are
    deleted, a month at a time. With `None` all are kept.
    """

    months: int | None = Field(default=None, ge=1, le=1_200)


class PrivacySettings(Section):
    """How long the personal data of customers is kept.

    Names, addresses and notes are erased `retention_days` after an order was completed or
    cancelled; with 0 or `None` never.
    """

    retention_days: Annotated[float | None, AfterValidator(_check_whole_day)] = Field(
        default=30, ge=0, le=36_500
    )

    @property
    def retention(self) -> timedelta | None:
        """The time for which personal data is kept; `None` if it is never erased."""
        return timedelta(days=self.retention_days) if self.retention_days else None


def _check_key_length(key: SecretStr) -> SecretStr:
    if len(key.get_secret_value()) < SHORTEST_KEY:
        raise ValueError(
            f"must have at least {SHORTEST_KEY} characters; create one with `openssl rand -hex 32`"
        )
    return key


def _check_key_lengths(keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    return tuple(_check_key_length(each) for each in keys)


def _as_list(value: object) -> object:
    """Return a secret as a list, which a variable has as JSON."""
    if not isinstance(value, str):
        return value
    try:
        parsed = json.loads(value) if value.startswith("[") else None
    except ValueError:
        parsed = None
    return parsed if isinstance(parsed, list) else [value]


class SigningSettings(Section):
    """Keys that sign messages; without keys, unsigned messages are accepted.

    The first key signs, and signatures of both are accepted, so that a key can be replaced while
    messages wait. With keys, subscribers refuse a status update that is older than
    `max_update_age_hours`: it may be a copy of one that was printed before.
    """

    keys: tuple[Annotated[SecretStr, AfterValidator(_check_key_length)], ...] = Field(
        default=(), max_length=2
    )
    max_update_age_hours: float = Field(default=168, gt=0, le=10_000)

    @property
    def max_update_age(self) -> timedelta:
        """The age up to which status updates are accepted."""
        return timedelta(hours=self.max_update_age_hours)


PLATFORMS = frozenset({"deliverect", "doordash", "hubrise", "open_delivery", "toast", "uber_eats"})


class IntegrationSettings(Section):
    """An ordering platform that may send orders, with the secret by which it proves who it is.

    What two secrets sign is accepted, so that a secret can be replaced without a gap.
    """

    secret: Annotated[
        tuple[SecretStr, ...],
        Field(min_length=1, max_length=2),
        BeforeValidator(_as_list),
        AfterValidator(_check_key_lengths),
    ]


class MetricsSettings(Section):
    """Metrics for Prometheus.

    HTTP services have `/metrics` on their own port. `kitchen-worker` and `notification-subscriber`
    listen at `host` and `port`, if there is a `port`. Unless it is `public`, `/metrics` is served
    to loopback addresses only.
    """

    host: str = "127.0.0.1"
    port: Port | None = None
    public: bool = False


def _check_that_opentelemetry_is_installed(enabled: bool) -> bool:  # noqa: FBT001 - a value
    if enabled and not _is_installed("opentelemetry.exporter.otlp.proto.http"):
        raise ValueError(
            "OpenTelemetry is not installed; run `pip install 'restaurant-system[telemetry]'`, or"
            " set it to false"
        )
    return enabled


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:  # of a package that contains it
        return False


class TelemetrySettings(Section):
    """Traces of requests and messages, which are sent to a collector of OpenTelemetry.

    Spans are sent to `/v1/traces` at the `endpoint` (OTLP over HTTP). `sample_ratio` is the share
    of the traces beginning here that are recorded. `attributes` describe the service. What is
    `None` is read from the standard variables `OTEL_*`.
    """

    enabled: Annotated[bool, AfterValidator(_check_that_opentelemetry_is_installed)] = False
    endpoint: CollectorUrl | None = None
    sample_ratio: float | None = Field(default=None, ge=0, le=1)
    attributes: Mapping[str, str] = {}


class LogSettings(Section):
    """Level and format of log lines."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["auto", "json", "console"] = "auto"


class Settings(BaseSettings):
    """All settings of all services.

    Without `database`, the embedded PostgreSQL in `data_dir` is used; without `rabbitmq`, the
    broker in PostgreSQL.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
    )

    data_dir: Location = Field(
        default_factory=lambda: platformdirs.user_data_path("restaurant-system", appauthor=False)
    )
    business_timezone: str = "UTC"
    business_day_start: str = "00:00"
    currency: str | None = None
    language: str = "en"
    startup_timeout: Seconds = 60
    idempotency_hours: float = Field(default=24, gt=0, le=100_000)
    database: DatabaseSettings | None = None
    rabbitmq: RabbitMQSettings | None = None
    http: HttpSettings = HttpSettings()
    security: SecuritySettings = SecuritySettings()
    order_service: OrderServiceSettings = OrderServiceSettings()
    tracking_service: TrackingServiceSettings = TrackingServiceSettings()
    kitchen: KitchenSettings = KitchenSettings()
    kitchen_display: KitchenDisplaySettings = KitchenDisplaySettings()
    delivery: DeliverySettings = DeliverySettings()
    outbox: OutboxSettings = OutboxSettings()
    reconciliation: ReconciliationSettings = ReconciliationSettings()
    history: HistorySettings = HistorySettings()
    privacy: PrivacySettings = Field(default=PrivacySettings(), validate_default=True)
    signing: SigningSettings = SigningSettings()
    integrations: Mapping[str, IntegrationSettings] = {}
    metrics: MetricsSettings = MetricsSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    log: LogSettings = LogSettings()

    @field_validator("integrations")
    @classmethod
    def _check_platforms(
        cls, platforms: Mapping[str, IntegrationSettings]
    ) -> Mapping[str, IntegrationSettings]:
        if unknown := sorted(platforms.keys() - PLATFORMS):
            names, known = ", ".join(map(repr, unknown)), ", ".join(sorted(PLATFORMS))
            raise ValueError(f"there is no platform {names}; known are {known}")
        return platforms

    @field_validator("business_timezone")
    @classmethod
    def _check_timezone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            known = False
        else:  # PostgreSQL and browsers do not know names that only this machine has
            known = name not in LOCAL_ZONES and not name.startswith(("posix/", "right/"))
        if not known:
            raise ValueError(f"{name!r} is not a time zone; use a name such as Europe/Berlin")
        return name

    @field_validator("business_day_start", mode="before")
    @classmethod
    def _check_time_of_day(cls, value: object) -> str:
        # YAML reads 5:00 without quotation marks as the number 300.
        if not isinstance(value, str) or not TIME_OF_DAY.fullmatch(value):
            raise ValueError('must be a time in quotation marks, from "00:00" to "23:59"')
        return value

    @field_validator("currency")
    @classmethod
    def _check_currency(cls, code: str | None) -> str | None:
        return Currency(code).code

    @field_validator("privacy")
    @classmethod
    def _check_keys_expire_before_erasure(
        cls, privacy: PrivacySettings, info: ValidationInfo
    ) -> PrivacySettings:
        """Refuse a period after which a key may still have the hash of an erased order."""
        key_lifetime = timedelta(hours=info.data.get("idempotency_hours", 0))
        if privacy.retention is not None and privacy.retention < key_lifetime:
            raise ValueError("retention_days must not be shorter than idempotency_hours")
        return privacy

    @property
    def has_unsuitable_thresholds(self) -> bool:
        """Whether a default priority threshold is used with a currency without decimals.

        Of such a currency, 50 and 100 buy next to nothing: every order would have priority 10.
        """
        given = self.kitchen.priority_thresholds
        is_default = any(given[each] == PRIORITY_THRESHOLDS[each] for each in given)
        return Currency(self.currency).decimals == 0 and is_default

    @property
    def business_day(self) -> BusinessDay:
        """When a business date starts, in which time zone."""
        start = time.fromisoformat(self.business_day_start)
        return BusinessDay(ZoneInfo(self.business_timezone), start)
