"""Base class of all sections of the configuration, and the types of their fields."""

import ipaddress
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode

from pydantic import (
    AfterValidator,
    AmqpDsn,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    SecretStr,
    TypeAdapter,
    UrlConstraints,
    ValidationError,
)
from pydantic_core import MultiHostUrl

from restaurant_system import tls

POSTGRES_EXAMPLE = "postgresql://user:password@host:5432/name"
POSTGRES_DSN: TypeAdapter[MultiHostUrl] = TypeAdapter(
    Annotated[MultiHostUrl, UrlConstraints(allowed_schemes=["postgresql", "postgres"])]
)
POSTGRES_HOSTS_EXAMPLE = "postgresql://user:password@host1:5432,host2:5432/name"
AMQP_EXAMPLE = "amqp://user:password@host:5672/vhost"
AMQP_DSN = TypeAdapter(AmqpDsn)
AMQP_HOSTS_EXAMPLE = "amqp://user:password@host1:5672,host2:5672/vhost"
URL_WITH_HOSTS = re.compile(r"([^/]*//(?:[^/?#]*@)?)([^/?#]*)(.*)", re.DOTALL)
LOGIN_BEFORE_COMMA = re.compile(r"//[^/?#]*@[^/?#]*,[^/?#]*@")

# A user without a host: valid for PostgreSQL, whose `host` option may follow, but not for pydantic.
USER_WITHOUT_HOST = re.compile(r"(?<=//)([^/?#]*@)(?=[/?]|$)")
PLACEHOLDER_HOST = "host.invalid"

LABEL = r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?"
HOST_NAME = re.compile(rf"{LABEL}(\.{LABEL})*", re.ASCII)
# A host that ends like this is an IPv4 address for browsers (WHATWG URL, "ends in a number").
NUMBER = re.compile(r"(.*\.)?([0-9]+|0x[0-9a-f]*)", re.ASCII)
SCHEME_OR_END = re.compile(r"^[a-z][a-z0-9+.-]*://|(:[0-9]*)?\.?([/?#].*)?$", re.ASCII)
NODE = re.compile(r"(?P<host>\[.*\]|[^:]*)(?::(?P<port>[0-9]{1,5}))?")
PORT = re.compile("[0-9]{1,5}")
WILDCARD = "*."
ORIGIN = re.compile(r"(https?)://(\[.*\]|[^:]*)(?::([0-9]{1,5}))?", re.ASCII)
DEFAULT_PORTS = {"http": 80, "https": 443}
HIGHEST_PORT = 65_535
COLLECTOR = re.compile(r"([^/]+//[^/@]+)(/[A-Za-z0-9._~-]+)*/?", re.ASCII)


class Section(BaseModel):
    """A part of the configuration; an unknown key in it is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _expand_home(path: Path) -> Path:
    """Replace a leading `~` by the home directory, as a shell does."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError(f"there is no home directory for {path}") from None


def _parse_postgres_url(url: SecretStr) -> SecretStr:
    with_host = USER_WITHOUT_HOST.sub(rf"\g<1>{PLACEHOLDER_HOST}", url.get_secret_value())
    parsed = _parse_url(with_host, POSTGRES_DSN.validate_python, POSTGRES_EXAMPLE)
    checked = parsed.replace(f"@{PLACEHOLDER_HOST}", "@", 1)
    if LOGIN_BEFORE_COMMA.search(checked):
        raise ValueError(f"with several hosts it must look like {POSTGRES_HOSTS_EXAMPLE}")
    split_postgres_url(checked)
    return SecretStr(checked)


def split_postgres_url(url: str) -> list[str]:
    """Return a URL for each of the hosts in a URL, which are separated by commas.

    They are in the place of the host, or in the option `host`, with their ports in `port`.

    Raises `ValueError` if there is neither one port for all of them nor one for each, for a port
    that no server has, and if the ports of hosts are not in their place.
    """
    before, hosts, after = url_parts(url)
    path, _, query = after.partition("?")
    options = dict(parse_qsl(query))
    names, ports = options.get("host", "").split(","), options.get("port", "").split(",")
    _check_ports(ports)
    if hosts:
        if any(ports):
            raise ValueError("a port must follow its host, as in host:5432; remove the option port")
        _check_ports(_ports_of(hosts.split(",")))
        return [f"{before}{host}{after}" for host in hosts.split(",")]
    if len(names) == 1:
        return [url]
    if len(ports) == 1:
        ports *= len(names)
    if len(ports) != len(names) or not all(names):
        raise ValueError("the options host and port must name as many hosts as ports")
    servers = [{"host": name, "port": port} for name, port in zip(names, ports, strict=True)]
    return [f"{before}{path}?{urlencode({**options, **server})}" for server in servers]


def postgres_url_at(url: str, node: str) -> str:
    """Return a URL with the login, the database and the options of another, for one host.

    What says which of several hosts is to be used is left out.
    """
    before, _, after = url_parts(url)
    path, _, query = after.partition("?")
    options = {
        name: value
        for name, value in parse_qsl(query)
        if name not in {"host", "port", "target_session_attrs"}
    }
    return f"{before}{node}{path}{'?' if options else ''}{urlencode(options)}"


def _check_replica(address: SecretStr) -> SecretStr:
    """Check ``host``, ``host:port``, or the URL of one PostgreSQL server."""
    text = address.get_secret_value()
    if "/" not in text:
        return SecretStr(_check_node(text))
    url = _parse_postgres_url(address)
    if len(split_postgres_url(url.get_secret_value())) > 1:
        raise ValueError("a replica is one server; list several as several replicas")
    return url


def _parse_amqp_url(url: SecretStr) -> SecretStr:
    """Check the URL with each of its hosts, and join the hosts again."""
    text = url.get_secret_value()
    parsed = [
        _parse_url(each, AMQP_DSN.validate_python, AMQP_EXAMPLE) for each in split_amqp_url(text)
    ]
    (before, _, after), *_ = parts = [url_parts(each) for each in parsed]
    hosts = [host for _, host, _ in parts]
    if LOGIN_BEFORE_COMMA.search(text) or (not all(hosts) and len(hosts) > 1):
        raise ValueError(f"with several hosts it must look like {AMQP_HOSTS_EXAMPLE}")
    _check_ports(_ports_of(hosts))
    return SecretStr(f"{before}{','.join(hosts)}{after}")


def split_amqp_url(url: str) -> list[str]:
    """Return a URL for each of the hosts in a URL, which are separated by commas."""
    before, hosts, after = url_parts(url)
    return [f"{before}{host}{after}" for host in hosts.split(",")]


def _ports_of(hosts: Iterable[str]) -> list[str]:
    """Return the port of each host as it stands in a URL; it is empty if there is none."""
    return [host.rpartition("]")[2].partition(":")[2] for host in hosts]


def _check_ports(ports: Iterable[str]) -> None:
    if not all(port == "" or _is_port(port) for port in ports):
        raise ValueError(f"a port must be a number from 1 to {HIGHEST_PORT}")


def url_parts(url: str) -> tuple[str, str, str]:
    """Return the scheme with the login, the hosts, and the path with the options."""
    parts = URL_WITH_HOSTS.fullmatch(url)
    return (parts[1], parts[2], parts[3]) if parts else ("", url, "")


def _parse_url(url: str, parse: Callable[[str], Any], example: str) -> str:
    """Return the URL with special characters escaped; raises `ValueError` without quoting it.

    A "/", "?" or "#" in a password ends the host; the "@" behind the password then stands too late.
    """
    try:
        parsed = parse(url)
    except ValidationError:
        parsed = None
    if parsed is None or parsed.fragment or "@" in f"{parsed.path}{parsed.query}":
        raise ValueError(
            f"it must look like {example}; in a password, write # @ : / ? and % as %23 %40 %3A %2F"
            " %3F and %25"
        )
    return str(parsed)


def _check_host_pattern(text: str) -> str:
    """Return a host as browsers send it, or a wildcard for all hosts below a domain."""
    domain = text.lower().removeprefix(WILDCARD)
    if domain == text.lower():
        if host := _canonical_host(domain):
            return host
    elif HOST_NAME.fullmatch(domain) and not NUMBER.fullmatch(domain):
        if "." in domain:
            return WILDCARD + domain
        raise ValueError(
            f"must be a domain of at least two labels after *., such as *.example.com, because"
            f" *.{domain} stands for every host below {domain}, of any owner"
        )
    suggested = _suggested_host(domain)
    raise ValueError(
        "must be a host name or an IP address without a scheme and a port, such as"
        " restaurant.example.com, *.example.com, 192.0.2.1 or [2001:db8::1]"
        + (f"; write {suggested}" if suggested else "")
    )


def _canonical_host(text: str) -> str | None:
    """Return a lower-case host as browsers send it; `None` if it is not valid.

    Of the many forms of an IPv6 address, browsers send the shortest one (RFC 5952), in brackets.
    """
    if HOST_NAME.fullmatch(text) and not NUMBER.fullmatch(text):
        return text
    try:
        if text.startswith("[") and text.endswith("]"):
            return f"[{ipaddress.IPv6Address(text[1:-1])}]"
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        return None


def _suggested_host(text: str) -> str | None:
    """Return the host in a URL, before a port, or in an IPv6 address without brackets."""
    return _canonical_host(f"[{text}]") or _canonical_host(SCHEME_OR_END.sub("", text))


def _check_node(text: str) -> str:
    """Return ``host`` or ``host:port`` of a server, as it stands in a URL."""
    found = NODE.fullmatch(text.lower())
    host = _canonical_host(found["host"] if found else f"[{text.lower()}]")
    port = f":{found['port']}" if found and found["port"] else ""
    if not host or (port and not _is_port(port[1:])):
        raise ValueError(
            "must be a host with or without a port, such as a.example.org, a.example.org:5433 or"
            " [2001:db8::1]:5433"
        )
    return host + port


def _is_port(text: str) -> bool:
    return bool(PORT.fullmatch(text)) and 0 < int(text) <= HIGHEST_PORT


def _check_nodes(nodes: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(nodes)) < len(nodes):
        raise ValueError("a host is named twice; name each once")
    return nodes


def _check_origin(text: str) -> str:
    """Return an origin as browsers send it: in lower case, without a default port."""
    match = ORIGIN.fullmatch(text.lower())
    host = _canonical_host(match[2]) if match else None
    port = int(match[3]) if match and match[3] else None
    if not match or not host or (port or 0) > HIGHEST_PORT:
        raise ValueError("must be an origin without a path, such as https://shop.example.com")
    origin = f"{match[1]}://{host}"
    return origin if port in {None, DEFAULT_PORTS[match[1]]} else f"{origin}:{port}"


def _check_collector(url: str) -> str:
    """Return the address of a collector: an origin, and perhaps a path."""
    match = COLLECTOR.fullmatch(url)
    try:
        _check_origin(match[1] if match else "")
    except ValueError:
        raise ValueError(
            "must be an address such as http://localhost:4318; a password or key belongs into"
            " OTEL_EXPORTER_OTLP_HEADERS"
        ) from None
    return url


def _parse_network(value: object) -> object:
    """Parse an address or a network."""
    if isinstance(value, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return value
    try:
        return ipaddress.ip_network(str(value))
    except ValueError:
        raise ValueError(
            "must be an IP address or a network, such as 192.0.2.1 or 10.0.0.0/8"
        ) from None


Port = Annotated[int, Field(ge=0, le=HIGHEST_PORT)]  # 0 is any that is free
ServerPort = Annotated[int, Field(ge=1, le=HIGHEST_PORT)]
Seconds = Annotated[float, Field(gt=0)]
Location = Annotated[Path, AfterValidator(_expand_home)]
PemFile = Annotated[Path, AfterValidator(tls.check_pem_file)]
PostgresUrl = Annotated[SecretStr, AfterValidator(_parse_postgres_url)]
AmqpUrl = Annotated[SecretStr, AfterValidator(_parse_amqp_url)]
ReplicaAddress = Annotated[SecretStr, AfterValidator(_check_replica)]
Node = Annotated[str, AfterValidator(_check_node)]
Nodes = Annotated[tuple[Node, ...], AfterValidator(_check_nodes)]
HostPattern = Annotated[str, AfterValidator(_check_host_pattern)]
Origin = Annotated[str, AfterValidator(_check_origin)]
CollectorUrl = Annotated[str, AfterValidator(_check_collector)]
Network = Annotated[ipaddress.IPv4Network | ipaddress.IPv6Network, PlainValidator(_parse_network)]
