"""Every setting: read from `config.yaml`, overridden by the environment, overridden by options.

A variable is named ``RESTAURANT_`` and the setting's path with two underscores for each level:
``RESTAURANT_DATABASE__PASSWORD``. A wrong or unknown key is a `ConfigurationError` with its path.
"""

import os
import ssl
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qs, quote, urlencode, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import platformdirs
import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from restaurant_system import tls
from restaurant_system.errors import ConfigurationError

ENV_PREFIX = "RESTAURANT_"
DEFAULT_FILE = Path("config.yaml")

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]

PemFile = Annotated[Path, AfterValidator(tls.readable)]

SHORTEST_KEY = 16  # characters; shorter ones can be guessed


def _bracketed(host: str) -> str:
    """Write an IPv6 address as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def _query(url: str) -> dict[str, str]:
    """Return the options that a URL ends with."""
    return {name: values[-1] for name, values in parse_qs(urlsplit(url).query).items()}


class Section(BaseModel):
    """A part of the configuration; an unknown key in it is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ServerSettings(Section):
    """How to reach a PostgreSQL server: by `url`, or by its parts.

    What stands here about TLS holds for a `url` too, unless that says otherwise.
    """

    url: SecretStr | None = None
    host: str = "localhost"
    port: Port = 5432
    user: str = "restaurant_user"
    password: SecretStr = SecretStr("restaurant_pass")
    database: str = "restaurant_db"
    pool_min: int = Field(default=1, ge=0)
    pool_max: int = Field(default=10, ge=2)  # the relay holds one while the broker takes another
    connect_timeout: Seconds = 5
    command_timeout: Seconds = 30
    ping_interval: Seconds = 1
    ping_timeout: Seconds = 2
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = "prefer"
    sslrootcert: PemFile | None = None
    sslcert: PemFile | None = None
    sslkey: PemFile | None = None

    @field_validator("url")
    @classmethod
    def _must_name_readable_files(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            stated = _query(url.get_secret_value())
            for name in ("sslrootcert", "sslcert", "sslkey"):
                if name in stated:
                    tls.readable(Path(stated[name]))
        return url

    @model_validator(mode="after")
    def _must_fit(self) -> Self:
        tls.must_fit(self.sslrootcert, self.sslcert, self.sslkey)
        return self

    def dsn(self) -> str:
        """Return the connection string, password included: never log it."""
        if self.url is not None:
            return self._completed(self.url.get_secret_value())
        place = {"host": _bracketed(self.host), "port": self.port, "sslmode": self.sslmode}
        stated = urlencode({**place, **self._tls()})
        user, database = quote(self.user, safe=""), quote(self.database, safe="")
        password = quote(self.password.get_secret_value(), safe="")
        return f"postgresql://{user}:{password}@/{database}?{stated}"

    def _completed(self, url: str) -> str:
        missing = {name: value for name, value in self._tls().items() if name not in _query(url)}
        if not missing:
            return url
        return f"{url}{'&' if '?' in url else '?'}{urlencode(missing)}"

    def _tls(self) -> dict[str, str]:
        """Return what was stated about TLS, by the names that PostgreSQL has for it."""
        names = self.model_fields_set & {"sslmode", "sslrootcert", "sslcert", "sslkey"}
        stated = {name: getattr(self, name) for name in sorted(names)}
        return {name: str(value) for name, value in stated.items() if value is not None}


class DatabaseSettings(ServerSettings):
    """The database that everyone writes to, and the one that tracking may read from."""

    replica: ServerSettings | None = None


class TlsSettings(Section):
    """TLS to RabbitMQ: what to trust, and what to show."""

    enabled: bool = False
    verify: bool = True
    cafile: PemFile | None = None
    certfile: PemFile | None = None
    keyfile: PemFile | None = None

    @model_validator(mode="after")
    def _must_fit(self) -> Self:
        tls.must_fit(self.cafile, self.certfile, self.keyfile)
        return self

    def context(self) -> ssl.SSLContext:
        """Return the context that these settings describe."""
        context = tls.context(self.cafile, self.certfile, self.keyfile)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


class RabbitMQSettings(Section):
    """How to reach RabbitMQ: by `url`, or by its parts."""

    url: SecretStr | None = None
    host: str = "localhost"
    port: Port = 5672
    user: str = "guest"
    password: SecretStr = SecretStr("guest")
    vhost: str = "/"
    connect_timeout: Seconds = 5
    confirm_timeout: Seconds = 10
    heartbeat: int = Field(default=30, ge=0)
    tls: TlsSettings = TlsSettings()

    @model_validator(mode="after")
    def _must_be_encrypted_if_it_is_meant_to_be(self) -> Self:
        described = self.tls.enabled or self.tls.cafile or self.tls.certfile
        if described and not self.encrypted:
            raise ValueError(
                "tls is described, but the line would not be encrypted; set tls.enabled, and begin"
                " a url with amqps://"
            )
        return self

    @property
    def encrypted(self) -> bool:
        """Whether the line is encrypted: a `url` says so by its scheme."""
        return self.dsn().startswith("amqps:")

    def dsn(self) -> str:
        """Return the connection string, password included: never log it."""
        if self.url is not None:
            return self.url.get_secret_value()
        scheme = "amqps" if self.tls.enabled else "amqp"
        user, password = quote(self.user, safe=""), quote(self.password.get_secret_value(), safe="")
        host, vhost = _bracketed(self.host), quote(self.vhost, safe="")
        return f"{scheme}://{user}:{password}@{host}:{self.port}/{vhost}"


class OrderServiceSettings(Section):
    """The HTTP intake."""

    host: str = "0.0.0.0"  # noqa: S104 - a service of its own is reached from other machines
    port: Port = 3000
    max_concurrent: int = Field(default=50, ge=1)


class TrackingServiceSettings(Section):
    """The read-only HTTP service."""

    host: str = "0.0.0.0"  # noqa: S104 - likewise
    port: Port = 3002


class CookingSeconds(Section):
    """How long a simulated cook takes for an order of each type."""

    dine_in: float = Field(default=8, ge=0)
    takeout: float = Field(default=10, ge=0)
    delivery: float = Field(default=12, ge=0)


class KitchenSettings(Section):
    """The cooks."""

    cooking_seconds: CookingSeconds = CookingSeconds()
    cooking_time_scale: float = Field(default=1.0, ge=0)
    heartbeat_interval: Seconds = 30
    prefetch: int = Field(default=1, ge=1, le=1000)

    def cooking_time(self, order_type: str) -> timedelta:
        """Return how long an order of this type cooks, scale applied."""
        seconds: float = getattr(self.cooking_seconds, order_type)
        return timedelta(seconds=seconds * self.cooking_time_scale)


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

    batch: int = Field(default=200, ge=1, le=10_000)
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

    data_dir: Path = Field(
        default_factory=lambda: platformdirs.user_data_path("restaurant-system", appauthor=False)
    )
    business_timezone: str = "UTC"
    startup_timeout: Seconds = 60
    idempotency_hours: float = Field(default=24, gt=0)
    database: DatabaseSettings | None = None
    rabbitmq: RabbitMQSettings | None = None
    order_service: OrderServiceSettings = OrderServiceSettings()
    tracking_service: TrackingServiceSettings = TrackingServiceSettings()
    kitchen: KitchenSettings = KitchenSettings()
    delivery: DeliverySettings = DeliverySettings()
    outbox: OutboxSettings = OutboxSettings()
    reconciliation: ReconciliationSettings = ReconciliationSettings()
    signing: SigningSettings = SigningSettings()
    log: LogSettings = LogSettings()

    @field_validator("data_dir")
    @classmethod
    def _expand(cls, path: Path) -> Path:
        return path.expanduser()

    @field_validator("business_timezone")
    @classmethod
    def _must_exist(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"{name!r} is no time zone; write one like Europe/Berlin") from None
        return name

    @property
    def timezone(self) -> ZoneInfo:
        """The zone whose midnight starts a new business date."""
        return ZoneInfo(self.business_timezone)


def load(file: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read the configuration.

    `file` must exist when it is named; without one, `config.yaml` is read if it is there.
    `overrides` are options by dotted path (``kitchen.prefetch``), `None` for an option that was
    not given; they win over everything. Raises `ConfigurationError`.
    """
    _refuse_unknown_variables()
    content = _read(file)

    class FromEverywhere(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            *_: PydanticBaseSettingsSource,
            **__: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, InitSettingsSource(settings_cls, content)

    try:
        return FromEverywhere(**_nested(overrides or {}))
    except ValidationError as error:
        raise ConfigurationError(_sentence(error)) from None
    except SettingsError as error:  # a variable that must hold JSON, as a list or a section does
        raise ConfigurationError(f"The environment: {error}, which must be JSON.") from None


def _read(file: Path | None) -> dict[str, Any]:
    path = file or DEFAULT_FILE
    if file is None and not path.exists():
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"Cannot read {path}: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{path} is not valid YAML: {' '.join(str(error).split())}."
        ) from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigurationError(
            f"{path} must hold settings by name, as in the sample config.yaml."
        )
    return content


def _nested(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Turn ``{"kitchen.prefetch": 3}`` into ``{"kitchen": {"prefetch": 3}}``, without `None`s."""
    nested: dict[str, Any] = {}
    for path, value in overrides.items():
        if value is None:
            continue
        *sections, name = path.split(".")
        place = nested
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
    return nested


def _refuse_unknown_variables() -> None:
    """Name a variable whose first level is no setting; the levels below are checked as keys."""
    for variable in os.environ:
        if variable.upper().startswith(ENV_PREFIX):
            name = variable[len(ENV_PREFIX) :].lower().split("__")[0]
            if name not in Settings.model_fields:
                raise ConfigurationError(f"{variable}: there is no setting {name!r}.")


def _sentence(error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_input=False)
    return "; ".join(
        f"{'.'.join(str(part) for part in fault['loc'])}: "
        + ("there is no such setting" if fault["type"] == "extra_forbidden" else fault["msg"])
        for fault in faults
    )
