"""Settings of the connections to PostgreSQL and RabbitMQ: address, login, timeouts and TLS."""

import ssl
from pathlib import Path
from typing import Literal, Self
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from restaurant_system import tls
from restaurant_system.config.field_types import (
    AmqpUrl,
    Nodes,
    PemFile,
    PostgresUrl,
    ReplicaAddress,
    Seconds,
    Section,
    ServerPort,
    postgres_url_at,
    split_amqp_url,
    split_postgres_url,
    url_parts,
)

MAX_PARTITIONS = 32
POSTGRES_PORT = 5432


class ServerSettings(Section):
    """A PostgreSQL server, given by its `url` or by the parts of it.

    `hosts` are servers of which a connection uses the first that fits; a `url` may name several
    too. The TLS settings also apply to a `url`; its own options take precedence.

    With a pooler in transaction mode at this address, such as PgBouncer, `direct_url` is the server
    itself. `prepared_statements` must be off if the pooler does not keep them.
    """

    url: PostgresUrl | None = None
    hosts: Nodes = ()
    host: str = "localhost"
    port: ServerPort = POSTGRES_PORT
    user: str = "restaurant_user"
    password: SecretStr = SecretStr("restaurant_pass")
    database: str = "restaurant_db"
    pool_min: int = Field(default=1, ge=0)
    pool_max: int = Field(default=10, ge=2)  # the relay holds one while the broker uses another
    connect_timeout: Seconds = 5
    command_timeout: Seconds = 30
    ping_interval: Seconds = 1
    ping_timeout: Seconds = 2
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = "prefer"
    sslrootcert: PemFile | None = None
    sslcert: PemFile | None = None
    sslkey: PemFile | None = None
    direct_url: PostgresUrl | None = None
    prepared_statements: bool = True

    @field_validator("url", "direct_url")
    @classmethod
    def _check_files_in_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            options = _options_of(url.get_secret_value())
            for name in ("sslrootcert", "sslcert", "sslkey"):
                if name in options:
                    tls.check_pem_file(Path(options[name]))
        return url

    @model_validator(mode="after")
    def _check_certificates(self) -> Self:
        tls.check_files(self.sslrootcert, self.sslcert, self.sslkey)
        return self

    @model_validator(mode="after")
    def _check_address(self) -> Self:
        _refuse_two_addresses(self, "PostgreSQL")
        if self.direct_url is None and not self.prepared_statements:
            raise ValueError(
                "prepared_statements is off for a pooler in transaction mode only; set direct_url"
                " to the URL of PostgreSQL itself"
            )
        return self

    def dsn(self) -> str:
        """Return the connection string; it contains the password and must not be logged."""
        if self.url is not None:
            return self._with_tls_options(self.url.get_secret_value())
        hosts, ports = [_bracketed(self.host)], [str(self.port)]
        if self.hosts:
            nodes = [_with_port(node, self.port).rpartition(":") for node in self.hosts]
            hosts, ports = [host for host, _, _ in nodes], [port for _, _, port in nodes]
        server = {"host": ",".join(hosts), "port": ",".join(ports), "sslmode": self.sslmode}
        options = urlencode({**server, **self._tls_options()})
        user, database = quote(self.user, safe=""), quote(self.database, safe="")
        password = quote(self.password.get_secret_value(), safe="")
        return f"postgresql://{user}:{password}@/{database}?{options}"

    def dsns(self) -> dict[str, str]:
        """Return the connection string of each server by its address."""
        return {_address_in(dsn): dsn for dsn in split_postgres_url(self.dsn())}

    def direct(self) -> "ServerSettings":
        """Return the settings of the server itself, also if there is a pooler before it."""
        if self.direct_url is None:
            return self
        address = {"url": self.direct_url, "hosts": (), "direct_url": None}
        return self.model_copy(update={**address, "prepared_statements": True})

    def certificate_files(self) -> list[Path]:
        """Return the files of trusted authorities and of the client certificate that are used."""
        options = _options_of(self.dsn())
        return [Path(options[name]) for name in ("sslrootcert", "sslcert") if name in options]

    def _with_tls_options(self, url: str) -> str:
        present = _options_of(url)
        missing = {name: it for name, it in self._tls_options().items() if name not in present}
        if not missing:
            return url
        return f"{url}{'&' if '?' in url else '?'}{urlencode(missing)}"

    def _tls_options(self) -> dict[str, str]:
        """Return the TLS settings that were given, as options of a PostgreSQL URL."""
        names = self.model_fields_set & {"sslmode", "sslrootcert", "sslcert", "sslkey"}
        given = {name: getattr(self, name) for name in sorted(names)}
        return {name: str(value) for name, value in given.items() if value is not None}


class DatabaseSettings(ServerSettings):
    """The primary database, and optionally replicas from which the tracking service reads.

    A host in `replicas` is reached with the other settings of the primary, a URL with its own login
    and options. `replica` is one with settings of its own. A replica that is more than `max_lag`
    behind is not read.
    """

    replicas: tuple[ReplicaAddress, ...] = ()
    replica: ServerSettings | None = None
    max_lag: Seconds = 3

    @model_validator(mode="after")
    def _check_replicas(self) -> Self:
        if self.replica is not None and self.replicas:
            raise ValueError("replica and replicas both say where the replicas are; remove one")
        if len(self.replica_servers()) < len(self.replicas):
            raise ValueError("replicas names a server twice; remove one")
        return self

    def replica_servers(self) -> dict[str, ServerSettings]:
        """Return the settings of each replica by its address."""
        if self.replica is not None:
            return {_address_in(self.replica.dsn()): self.replica}
        dsns = [self._replica_dsn(each.get_secret_value()) for each in self.replicas]
        return {_address_in(dsn): self._at(dsn) for dsn in dsns}

    def _replica_dsn(self, address: str) -> str:
        if "/" in address:
            return address
        return postgres_url_at(split_postgres_url(self.dsn())[0], _with_port(address, self.port))

    def _at(self, dsn: str) -> ServerSettings:
        others = {"replicas": (), "replica": None, "direct_url": SecretStr(dsn)}
        return self.model_copy(update=others).direct()


class TlsSettings(Section):
    """TLS to RabbitMQ: the trusted authorities and the client certificate."""

    enabled: bool = False
    verify: bool = True
    cafile: PemFile | None = None
    certfile: PemFile | None = None
    keyfile: PemFile | None = None

    @model_validator(mode="after")
    def _check_certificates(self) -> Self:
        tls.check_files(self.cafile, self.certfile, self.keyfile)
        return self

    def context(self) -> ssl.SSLContext:
        """Return an `ssl.SSLContext` with these settings."""
        context = tls.client_context(self.cafile, self.certfile, self.keyfile)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


class RabbitMQSettings(Section):
    """A RabbitMQ server or cluster, given by its `url` or by the parts of it.

    `hosts` are the nodes of a cluster; a `url` may name several hosts too. Each queue of an order
    type has `partitions`, of which `consume_partitions` are consumed (none named: all).
    """

    url: AmqpUrl | None = None
    hosts: Nodes = ()
    queue_type: Literal["classic", "quorum"] = "classic"
    partitions: int = Field(default=1, ge=1, le=MAX_PARTITIONS)
    consume_partitions: tuple[int, ...] = ()
    host: str = "localhost"
    port: ServerPort = 5672
    user: str = "guest"
    password: SecretStr = SecretStr("guest")
    vhost: str = "/"
    connect_timeout: Seconds = 5
    confirm_timeout: Seconds = 10
    heartbeat: int = Field(default=30, ge=0)
    tls: TlsSettings = TlsSettings()

    @model_validator(mode="after")
    def _refuse_tls_settings_without_tls(self) -> Self:
        has_tls_settings = self.tls.enabled or self.tls.cafile or self.tls.certfile
        if has_tls_settings and not self.encrypted:
            raise ValueError(
                "there are TLS settings, but the connection would not be encrypted; set"
                " tls.enabled, or begin the url with amqps://"
            )
        return self

    @model_validator(mode="after")
    def _check_address(self) -> Self:
        _refuse_two_addresses(self, "RabbitMQ")
        return self

    @model_validator(mode="after")
    def _check_partitions(self) -> Self:
        for number in self.consume_partitions:
            if not 0 <= number < self.partitions:
                raise ValueError(
                    f"there is no partition {number} in consume_partitions; they are numbered from"
                    f" 0 to {self.partitions - 1}"
                )
        if len(set(self.consume_partitions)) < len(self.consume_partitions):
            raise ValueError("a partition is named twice in consume_partitions; name each once")
        return self

    @property
    def encrypted(self) -> bool:
        """Return whether the `url` or `tls.enabled` requires TLS."""
        return self.dsns()[0].startswith("amqps:")

    def address(self) -> str:
        """Return the host and the port of the first node."""
        return urlsplit(self.dsns()[0]).netloc.rpartition("@")[2]

    def vhost_and_user(self) -> tuple[str, str]:
        """Return the names of the virtual host and of the user."""
        if self.url is None:
            return self.vhost, self.user
        parts = urlsplit(self.dsns()[0])
        return unquote(parts.path.removeprefix("/")) or "/", unquote(parts.username or "guest")

    def nodes(self) -> list[Self]:
        """Return the settings of each node alone."""
        return [self.model_copy(update={"url": SecretStr(dsn), "hosts": ()}) for dsn in self.dsns()]

    def dsns(self) -> list[str]:
        """Return a connection string for each node; they contain the password: do not log them."""
        if self.url is not None:
            return split_amqp_url(self.url.get_secret_value())
        scheme = "amqps" if self.tls.enabled else "amqp"
        user, password = quote(self.user, safe=""), quote(self.password.get_secret_value(), safe="")
        vhost = quote(self.vhost, safe="")
        nodes = self.hosts or (_bracketed(self.host),)
        return [
            f"{scheme}://{user}:{password}@{_with_port(node, self.port)}/{vhost}" for node in nodes
        ]


def _refuse_two_addresses(server: ServerSettings | RabbitMQSettings, name: str) -> None:
    other = "url" if server.url else "host" if "host" in server.model_fields_set else None
    if server.hosts and other:
        raise ValueError(f"hosts and {other} both say where {name} is; remove one")


def _with_port(node: str, port: int | str) -> str:
    has_port = ":" in node.rpartition("]")[2]
    return node if has_port else f"{node}:{port}"


def _bracketed(host: str) -> str:
    """Put an IPv6 address into brackets, as in a URL, unless it is in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _address_in(url: str) -> str:
    """Return the host and the port in the URL of one PostgreSQL server."""
    options = _options_of(url)
    host = url_parts(url)[1] or _bracketed(options.get("host", "localhost"))
    return _with_port(host, options.get("port") or POSTGRES_PORT)


def _options_of(url: str) -> dict[str, str]:
    """Return the options in a URL's query."""
    first, *_ = split_postgres_url(url)
    return {name: values[-1] for name, values in parse_qs(urlsplit(first).query).items()}
