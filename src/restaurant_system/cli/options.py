"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Any

import typer


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
