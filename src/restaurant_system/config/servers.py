"""How to reach PostgreSQL and RabbitMQ, and whom to trust there."""

import re
import ssl
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from restaurant_system import tls
from restaurant_system.config.section import HIGHEST_PORT, Port, Seconds, Section

PemFile = Annotated[Path, AfterValidator(tls.readable)]


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
    def _must_be_a_url(cls, url: SecretStr | None) -> SecretStr | None:
        _must_be_like("postgresql://user:password@host:5432/name", url)
        return url

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

    @field_validator("url")
    @classmethod
    def _must_be_a_url(cls, url: SecretStr | None) -> SecretStr | None:
        _must_be_like("amqp://user:password@host:5672/vhost", url)
        return url

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


def _bracketed(host: str) -> str:
    """Write an IPv6 address as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def _query(url: str) -> dict[str, str]:
    """Return the options that a URL ends with."""
    return {name: values[-1] for name, values in parse_qs(urlsplit(url).query).items()}


# Either name of a scheme, and what stands behind it, where more than one server may be named.
SCHEMES = {"postgresql": ("postgresql", "postgres"), "amqp": ("amqp", "amqps")}
SERVER = re.compile(r"([^:\[\]]*|\[[0-9A-Fa-f:.%]+\])(:(?P<port>[0-9]{1,5}))?")


def _must_be_like(example: str, url: SecretStr | None) -> None:
    """Raise `ValueError`, without quoting it, for what is no URL of this kind."""
    if url is not None and not _is_like(example, url.get_secret_value()):
        raise ValueError(
            f"it must look like {example}; in a password, write # @ : / ? and % as %23 %40 %3A %2F"
            " %3F and %25"
        )


def _is_like(example: str, url: str) -> bool:
    try:
        stated = urlsplit(url)
    except ValueError:  # its text quotes the password
        return False
    if stated.scheme not in SCHEMES[urlsplit(example).scheme] or stated.fragment:
        return False
    if "@" in stated.path + stated.query:  # the password's / or ? was taken for the server's end
        return False
    servers = [SERVER.fullmatch(each) for each in stated.netloc.rpartition("@")[2].split(",")]
    return all(each and int(each["port"] or 0) <= HIGHEST_PORT for each in servers)
