"""The `doctor` command."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from restaurant_system.cli.options import Config
from restaurant_system.cli.running import complete
from restaurant_system.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from restaurant_system.app.doctor import Report


def doctor(
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of lines.")
    ] = False,
    config: Config = None,
) -> None:
    """Test the configuration end to end, and say what to fix; change nothing."""
    from restaurant_system import logger
    from restaurant_system.cli import doctor_output

    # What goes wrong is printed as a finding. Libraries log it a second time, as a warning.
    logger.configure(service="doctor", level="CRITICAL", style="auto", stream=sys.stderr)
    report = _report(config)
    if as_json:
        doctor_output.print_json(report)
    else:
        doctor_output.print_lines(report)
    raise typer.Exit(1 if report.worst == "error" else 0)


def _report(config: "Path | None") -> "Report":
    from restaurant_system import config as configuration
    from restaurant_system.app import doctor

    try:
        settings = configuration.load(config)
    except ConfigurationError as error:
        return doctor.report_of_refused_configuration(error)
    return complete(
        lambda _: doctor.diagnose(settings),
        if_stopped="Interrupted before all checks were done; run doctor again.",
    )
