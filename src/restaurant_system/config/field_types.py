"""Base class of all sections of the configuration, and the types of their fields."""

import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

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
AMQP_EXAMPLE = "amqp://user:password@host:5672/vhost"
AMQP_DSN = TypeAdapter(AmqpDsn)

# A user without a host: valid for PostgreSQL, whose `host` option may follow, but not for pydantic.
USER_WITHOUT_HOST = re.compile(r"(?<=//)([^/?#]*@)(?=[/?]|$)")
PLACEHOLDER_HOST = "host.invalid"

LABEL = r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?"
HOST = rf"{LABEL}(\.{LABEL})*|\[[0-9a-f:.]+\]"  # a name, an IPv4 address or an IPv6 address
HOST_PATTERN = re.compile(rf"(\*\.)?({HOST})", re.ASCII)
ORIGIN = re.compile(rf"https?://({HOST})(:[0-9]{{1,5}})?", re.ASCII)
DEFAULT_PORT = re.compile(r"(http://.*):80|(https://.*):443")


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
    return SecretStr(parsed.replace(f"@{PLACEHOLDER_HOST}", "@", 1))


def _parse_amqp_url(url: SecretStr) -> SecretStr:
    return SecretStr(_parse_url(url.get_secret_value(), AMQP_DSN.validate_python, AMQP_EXAMPLE))


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
    """Return a host in lower case, as browsers send it."""
    pattern = text.lower()
    if not HOST_PATTERN.fullmatch(pattern):
        raise ValueError(
            "must be a host name or an IP address without a scheme and a port, such as"
            " restaurant.example.com, *.example.com, 192.0.2.1 or [2001:db8::1]"
        )
    return pattern


def _check_origin(text: str) -> str:
    """Return an origin as browsers send it: in lower case, without a default port."""
    origin = text.lower()
    if not ORIGIN.fullmatch(origin):
        raise ValueError("must be an origin without a path, such as https://shop.example.com")
    default = DEFAULT_PORT.fullmatch(origin)
    return (default[1] or default[2]) if default else origin


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


Port = Annotated[int, Field(ge=0, le=65_535)]
Seconds = Annotated[float, Field(gt=0)]
Location = Annotated[Path, AfterValidator(_expand_home)]
PemFile = Annotated[Path, AfterValidator(tls.check_pem_file)]
PostgresUrl = Annotated[SecretStr, AfterValidator(_parse_postgres_url)]
AmqpUrl = Annotated[SecretStr, AfterValidator(_parse_amqp_url)]
HostPattern = Annotated[str, AfterValidator(_check_host_pattern)]
Origin = Annotated[str, AfterValidator(_check_origin)]
Network = Annotated[ipaddress.IPv4Network | ipaddress.IPv6Network, PlainValidator(_parse_network)]
