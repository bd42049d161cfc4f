"""Base class of all sections of the configuration, and the types of their fields."""

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


Port = Annotated[int, Field(ge=0, le=65_535)]
Seconds = Annotated[float, Field(gt=0)]
Location = Annotated[Path, AfterValidator(_expand_home)]
PemFile = Annotated[Path, AfterValidator(tls.check_pem_file)]
PostgresUrl = Annotated[SecretStr, AfterValidator(_parse_postgres_url)]
AmqpUrl = Annotated[SecretStr, AfterValidator(_parse_amqp_url)]
