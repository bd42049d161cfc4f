"""The commands that run services, and `migrate`."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from restaurant_system import __version__
from restaurant_system.cli.options import (
    Config,
    DisplayPort,
    LogFormat,
    MetricsPort,
    OrderPort,
    Processes,
    Scale,
    TrackingPort,
    check_subscriber_name,
    make_cook,
    parse_cook,
)
from restaurant_system.cli.running import broken_pipes_ignored, complete, load, run_service
from restaurant_system.errors import ConfigurationError

if TYPE_CHECKING:
    from restaurant_system.config import OrderServiceSettings, Settings, TrackingServiceSettings
    from restaurant_system.web.server import Service

cli = typer.Typer(
    help="Take restaurant orders, cook them and track them. To try it, run [bold]up[/].",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - as typer calls it
    if wanted:
        print(f"restaurant-system {__version__}")
        raise typer.Exit


@cli.callback()
def program(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Accept the options that precede a command."""


@cli.command(rich_help_panel="On one machine")
def up(
    *,
    port: OrderPort = None,
    host: Annotated[
        str, typer.Option(metavar="HOST", help="Address to listen on; 0.0.0.0: all addresses.")
    ] = "127.0.0.1",
    data_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Directory of the database."
            " [dim](the platform's data directory: ~/.local/share/restaurant-system on Linux)[/]",
        ),
    ] = None,
    worker: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:TYPE,TYPE]",
            help="A simulated cook and its order types; repeatable. [dim](chef: all types)[/]",
        ),
    ] = None,
    no_worker: Annotated[
        bool,
        typer.Option(
            "--no-worker", help="No simulated cook: people cook, with the kitchen display."
        ),
    ] = False,
    cooking_time_scale: Scale = None,
    config: Config = None,
    log_format: LogFormat = None,
) -> None:
    """Run all services in one process; nothing else needs to be installed."""
    if worker and no_worker:
        raise ConfigurationError("--worker and --no-worker contradict each other; use one of them.")
    options = {
        "order_service.port": port,
        "order_service.host": host,
        "data_dir": data_dir,
        "kitchen.cooking_time_scale": cooking_time_scale,
        "log.format": log_format,
    }
    settings = load("up", config, options, logs_to=sys.stderr)
    cooks = [] if no_worker else [parse_cook(argument) for argument in worker or ["chef"]]
    from restaurant_system.app.all_in_one import run_all_in_one
    from restaurant_system.cli import welcome

    run_service(
        lambda shutdown: run_all_in_one(
            settings, shutdown, cooks, partial(welcome.show, settings, cooks)
        )
    )


@cli.command(rich_help_panel="The services")
def order_service(
    *,
    port: OrderPort = None,
    max_concurrent: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Requests processed at the same time. [dim](50)[/]"),
    ] = None,
    processes: Processes = None,
    config: Config = None,
    log_format: LogFormat = None,
) -> None:
    """Accept orders over HTTP."""
    options = {
        "order_service.port": port,
        "order_service.max_concurrent": max_concurrent,
        "order_service.processes": processes,
        "log.format": log_format,
    }
    settings = load("order-service", config, options)
    from restaurant_system.app.order_service import order_service

    _serve(partial(order_service, settings), "order-service", settings.order_service, settings)


@cli.command(rich_help_panel="The services")
def kitchen_worker(
    *,
    worker_name: Annotated[
        str, typer.Option(metavar="NAME", help="Name of the worker; must not be online already.")
    ],
    order_types: Annotated[
        str | None,
        typer.Option(
            metavar="TYPE,TYPE",
            help="Order types to cook: dine_in, takeout, delivery. [dim](all)[/]",
        ),
    ] = None,
    heartbeat_interval: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Seconds between heartbeats. After two missed heartbeats the worker counts as"
            " offline. [dim](30)[/]",
        ),
    ] = None,
    prefetch: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Maximum number of unacknowledged orders. [dim](1)[/]"
        ),
    ] = None,
    cooking_time_scale: Scale = None,
    metrics_port: MetricsPort = None,
    config: Config = None,
    log_format: LogFormat = None,
) -> None:
    """Run a simulated cook."""
    options = {
        "kitchen.heartbeat_interval": heartbeat_interval,
        "kitchen.prefetch": prefetch,
        "kitchen.cooking_time_scale": cooking_time_scale,
        "metrics.port": metrics_port,
        "log.format": log_format,
    }
    settings = load("kitchen-worker", config, options)
    cook = make_cook(worker_name, order_types)
    from restaurant_system.app.kitchen_worker import run_kitchen_worker

    run_service(lambda shutdown: run_kitchen_worker(settings, shutdown, cook))


@cli.command(rich_help_panel="The services")
def kitchen_display(
    *,
    port: DisplayPort = None,
    capacity: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Maximum number of tickets of a station. [dim](12)[/]"
        ),
    ] = None,
    config: Config = None,
    log_format: LogFormat = None,
) -> None:
    """Show orders to the people who cook, on a screen for each station: /kitchen?station=NAME."""
    options = {
        "kitchen_display.port": port,
        "kitchen_display.capacity": capacity,
        "log.format": log_format,
    }
    settings = load("kitchen-display", config, options)
    from restaurant_system.app import http_service
    from restaurant_system.app.kitchen_display import kitchen_display

    run_service(
        lambda shutdown: http_service.serve(
            kitchen_display(settings), settings.kitchen_display, settings, shutdown
        )
    )


@cli.command(rich_help_panel="The services")
def tracking_service(
    *,
    port: TrackingPort = None,
    processes: Processes = None,
    config: Config = None,
    log_format: LogFormat = None,
) -> None:
    """Answer read-only queries about orders over HTTP."""
    options = {
        "tracking_service.port": port,
        "tracking_service.processes": processes,
        "log.format": log_format,
    }
    settings = load("tracking-service", config, options)
    from restaurant_system.app.tracking_service import tracking_service

    create = partial(tracking_service, settings)
    _serve(create, "tracking-service", settings.tracking_service, settings)


@cli.command(rich_help_panel="The services")
def notification_subscriber(
    *,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Name of a queue that keeps notifications while this command is not running."
            " [dim](none: a temporary queue)[/]",
        ),
    ] = None,
    metrics_port: MetricsPort = None,
    config: Config = None,
    log_format: LogFormat = None,
) -> None:
    """Print each status change on stdout; log lines go to stderr."""
    options = {"metrics.port": metrics_port, "log.format": log_format}
    settings = load("notification-subscriber", config, options, logs_to=sys.stderr)
    check_subscriber_name(name)
    from restaurant_system.app.notification_subscriber import run_notification_subscriber

    run_service(lambda shutdown: run_notification_subscriber(settings, shutdown, name))


@cli.command(rich_help_panel="Maintenance")
def migrate(
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit 1 if migrations are pending.")
    ] = False,
    config: Config = None,
    log_format: LogFormat = None,
) -> None:
    """Bring the database schema up to date."""
    settings = load("migrate", config, {"log.format": log_format}, logs_to=sys.stderr)
    from restaurant_system.app import maintenance

    if check:
        pending = complete(
            lambda shutdown: maintenance.pending_migrations(settings, shutdown),
            if_stopped="Interrupted before the schema was checked; run migrate --check again.",
        )
        print("\n".join(["Pending:", *pending]) if pending else "The schema is up to date.")
        raise typer.Exit(1 if pending else 0)
    applied = complete(
        lambda shutdown: maintenance.migrate(settings, shutdown),
        if_stopped="Interrupted before the schema was up to date; the migration in progress was"
        " rolled back. Run migrate again.",
    )
    print("\n".join(["Applied:", *applied]) if applied else "The schema is up to date.")


def _serve(
    create: "Callable[[], Service]",
    name: str,
    address: "OrderServiceSettings | TrackingServiceSettings",
    settings: "Settings",
) -> None:
    """Run an HTTP service, in this process or in as many as the settings say."""
    if address.processes > 1:
        from restaurant_system.app import processes

        with broken_pipes_ignored():
            processes.serve(create, name, address, settings)
    else:
        from restaurant_system.app import http_service

        run_service(lambda shutdown: http_service.serve(create(), address, settings, shutdown))
