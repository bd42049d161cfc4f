"""Every setting with its default; `config.yaml` shows them to people, a test keeps both equal."""

from datetime import timedelta
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import platformdirs
from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from restaurant_system.config.section import Location, Port, Seconds, Section
from restaurant_system.config.servers import DatabaseSettings, RabbitMQSettings

ENV_PREFIX = "RESTAURANT_"
LOCAL_ZONES = {"localtime", "posixrules", "Factory"}
SHORTEST_KEY = 16  # characters; shorter ones can be guessed


class HttpSettings(Section):
    """What a client of any HTTP service may take: time for a request, and connections.

    The number of connections per address holds in each process by itself; 0 means any number.
    """

    head_timeout: Seconds = 10
    body_timeout: Seconds = 30
    connections_per_address: int = Field(default=200, ge=0)


class OrderServiceSettings(Section):
    """The HTTP intake."""

    host: str = "0.0.0.0"  # noqa: S104 - a service of its own is reached from other machines
    port: Port = 3000
    processes: int = Field(default=1, ge=1)
    max_concurrent: int = Field(default=50, ge=1)
    menu: Location | None = None


class TrackingServiceSettings(Section):
    """The read-only HTTP service."""

    host: str = "0.0.0.0"  # noqa: S104 - likewise
    port: Port = 3002
    processes: int = Field(default=1, ge=1)


class CookingSeconds(Section):
    """How long a simulated cook takes for an order of each type."""

    dine_in: float = Field(default=8, ge=0)
    takeout: float = Field(default=10, ge=0)
    delivery: float = Field(default=12, ge=0)


class AgingSeconds(Section):
    """From which age on an order that is not ready yet is looked at with concern, by type."""

    dine_in: float = Field(default=480, ge=0)
    takeout: float = Field(default=480, ge=0)
    delivery: float = Field(default=600, ge=0)


class LateSeconds(Section):
    """From which age on an order counts as late, by type."""

    dine_in: float = Field(default=900, ge=0)
    takeout: float = Field(default=900, ge=0)
    delivery: float = Field(default=1200, ge=0)


class KitchenSettings(Section):
    """The cooks, and how long orders may take.

    A worker that is offline is removed when it was not heard from for `unused_worker_hours` and
    has finished no order, or for `used_worker_days`.
    """

    cooking_seconds: CookingSeconds = CookingSeconds()
    aging_seconds: AgingSeconds = AgingSeconds()
    late_seconds: LateSeconds = LateSeconds()
    cooking_time_scale: float = Field(default=1.0, ge=0)
    heartbeat_interval: Seconds = 30
    prefetch: int = Field(default=1, ge=1, le=1000)
    unused_worker_hours: float = Field(default=24, gt=0, le=100_000)
    used_worker_days: float = Field(default=90, gt=0, le=10_000)

    @model_validator(mode="after")
    def _must_age_before_it_is_late(self) -> Self:
        for kind, seconds in self.aging_seconds:
            if seconds > getattr(self.late_seconds, kind):
                raise ValueError(f"aging_seconds.{kind} must not be above late_seconds.{kind}")
        return self

    def cooking_time(self, order_type: str) -> timedelta:
        """Return how long an order of this type cooks, scale applied."""
        seconds: float = getattr(self.cooking_seconds, order_type)
        return timedelta(seconds=seconds * self.cooking_time_scale)


class KitchenDisplaySettings(Section):
    """The screens of the kitchen.

    Up to `stations` are open at once; each holds up to `capacity` tickets. It is heard of every
    `heartbeat_interval` seconds, and closes when no screen has shown it for `absence` seconds.
    """

    host: str = "0.0.0.0"  # noqa: S104 - likewise
    port: Port = 3001
    stations: int = Field(default=20, ge=1)
    capacity: int = Field(default=12, ge=1, le=1000)
    heartbeat_interval: Seconds = 5
    absence: Seconds = 60


class DeliverySettings(Section):
    """What becomes of a message whose handling fails for now.

    After attempt n it comes back in ``retry_delays[n-1]`` seconds (the last delay repeats); after
    ``max_attempts`` it is a dead letter. A process that puts more than ``max_dead_letters`` aside
    within ``dead_letter_window`` seconds stops.
    """

    max_attempts: int = Field(default=5, ge=1)
    retry_delays: tuple[Seconds, ...] = Field(default=(1, 5, 15, 60), min_length=1)
    max_dead_letters: int = Field(default=50, ge=1)
    dead_letter_window: Seconds = 60


class OutboxSettings(Section):
    """The way from a committed row to the broker."""

    batch: int = Field(default=500, ge=1, le=10_000)
    sweep_interval: Seconds = 2
    sweep_after: Seconds = 5


class ReconciliationSettings(Section):
    """The look for orders that stand still, and what is said again when messages were lost."""

    enabled: bool = True
    interval: Seconds = 30
    after: Seconds = 60
    announce_again: Seconds = 3600


def _must_be_long(key: SecretStr) -> SecretStr:
    if len(key.get_secret_value()) < SHORTEST_KEY:
        raise ValueError(
            f"a key has {SHORTEST_KEY} characters or more, as `openssl rand -hex 32` makes"
        )
    return key


class SigningSettings(Section):
    """Who may send messages: whoever knows one of these keys. Without keys, everyone.

    The first key signs, each is accepted; so a new one can be brought in while messages wait.
    """

    keys: tuple[Annotated[SecretStr, AfterValidator(_must_be_long)], ...] = Field(
        default=(), max_length=2
    )


class LogSettings(Section):
    """What is logged, and how."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["auto", "json", "console"] = "auto"


class Settings(BaseSettings):
    """The whole configuration.

    No `database` means the embedded PostgreSQL in `data_dir`; no `rabbitmq` means the broker that
    lives in PostgreSQL.
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
    language: str = "en"
    startup_timeout: Seconds = 60
    idempotency_hours: float = Field(default=24, gt=0)
    database: DatabaseSettings | None = None
    rabbitmq: RabbitMQSettings | None = None
    http: HttpSettings = HttpSettings()
    order_service: OrderServiceSettings = OrderServiceSettings()
    tracking_service: TrackingServiceSettings = TrackingServiceSettings()
    kitchen: KitchenSettings = KitchenSettings()
    kitchen_display: KitchenDisplaySettings = KitchenDisplaySettings()
    delivery: DeliverySettings = DeliverySettings()
    outbox: OutboxSettings = OutboxSettings()
    reconciliation: ReconciliationSettings = ReconciliationSettings()
    signing: SigningSettings = SigningSettings()
    log: LogSettings = LogSettings()

    @field_validator("business_timezone")
    @classmethod
    def _must_exist(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            known = False
        else:  # what only this machine calls so, PostgreSQL and browsers do not know
            known = name not in LOCAL_ZONES and not name.startswith(("posix/", "right/"))
        if not known:
            raise ValueError(f"{name!r} is no time zone; write one like Europe/Berlin")
        return name

    @property
    def timezone(self) -> ZoneInfo:
        """The zone whose midnight starts a new business date."""
        return ZoneInfo(self.business_timezone)
