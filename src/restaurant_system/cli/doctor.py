"""The `doctor` command."""

import sys
from typing import Annotated

import typer

from restaurant_system.cli.options import Config
from restaurant_system.cli.running import complete
from restaurant_system.errors import ConfigurationError, Interrupted


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
    from restaurant_system import config as configuration
    from restaurant_system.app import doctor

    print_report = doctor_output.print_json if as_json else doctor_output.print_lines
    try:
        settings = configuration.load(config)
    except ConfigurationError as error:
        report = doctor.report_of_refused_configuration(error)
    else:
        report = doctor.start_report(settings)
        try:
            complete(
                lambda _: doctor.diagnose(settings, report),
                if_stopped="Interrupted before all checks were done; run doctor again.",
            )
        except Interrupted:
            print_report(report)
            raise
    print_report(report)
    raise typer.Exit(1 if report.worst == "error" else 0)
