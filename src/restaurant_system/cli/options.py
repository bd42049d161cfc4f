"""Options that several commands share, and the parsing of their values."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from restaurant_system.errors import ConfigurationError

if TYPE_CHECKING:
    from restaurant_system.app.kitchen_worker import Cook
    from restaurant_system.models.order import OrderType


def _port(default: int) -> Any:  # noqa: ANN401 - typer's own annotation
    """Return the option of a port to listen on."""
    help_text = f"Port to listen on; 0: any free port. [dim]({default})[/]"
    return typer.Option(min=0, max=65535, metavar="PORT", help=help_text)


Config = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="Settings file. [dim](config.yaml, if it exists)[/]"
    ),
]
LogFormat = Annotated[
    str | None,
    typer.Option(
        metavar="json|console",
        help="Format of log lines. [dim](console on a terminal, else json)[/]",
    ),
]
OrderPort = Annotated[int | None, _port(3000)]
DisplayPort = Annotated[int | None, _port(3001)]
TrackingPort = Annotated[int | None, _port(3002)]
MetricsPort = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=65535,
        metavar="PORT",
        help="Port at which Prometheus reads metrics; 0: any free port. [dim](none)[/]",
    ),
]
Processes = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="Processes that share the port; about one per core. [dim](1)[/]"
    ),
]
Scale = Annotated[
    float | None,
    typer.Option(
        "--cooking-time-scale",
        metavar="FACTOR",
        min=0,
        help="Factor on cooking times; 0: no cooking time. [dim](1.0)[/]",
    ),
]


def parse_cook(argument: str) -> "Cook":
    """Parse a cook, ``NAME`` or ``NAME:TYPE,TYPE``."""
    name, colon, types = argument.partition(":")
    return make_cook(name, types if colon else None)


def make_cook(name: str, types: str | None) -> "Cook":
    """Return a cook of these comma-separated order types, by default of all."""
    from restaurant_system.app.kitchen_worker import Cook
    from restaurant_system.models.worker import is_worker_name

    if not is_worker_name(name):
        raise ConfigurationError(
            f"{name!r} is not a valid worker name; use 1 to 100 visible characters, without"
            " control and format characters."
        )
    if types is None:
        return Cook(name)
    return Cook(name, tuple(dict.fromkeys(_parse_order_type(part) for part in types.split(","))))


def check_subscriber_name(name: str | None) -> None:
    """Raise `ConfigurationError` for a name that shows nothing, or has control characters."""
    from restaurant_system.models.text import is_visible, refused_character

    if name is not None and (not is_visible(name) or refused_character(name) is not None):
        raise ConfigurationError(
            f"{name!r} is not a valid subscriber name; use visible characters, without control and"
            " format characters."
        )


def _parse_order_type(name: str) -> "OrderType":
    from restaurant_system.models.order import OrderType

    try:
        return OrderType(name.strip())
    except ValueError:
        known = ", ".join(OrderType)
        raise ConfigurationError(f"{name!r} is not an order type; use {known}.") from None
