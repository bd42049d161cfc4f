"""The commands `privacy export` and `privacy erase`."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from restaurant_system.cli.options import Config, LogFormat
from restaurant_system.cli.running import complete, load
from restaurant_system.errors import ConfigurationError, ConfirmationImpossible

if TYPE_CHECKING:
    from restaurant_system.config import Settings
    from restaurant_system.database.personal_data import CustomerOrder
    from restaurant_system.services.order.privacy import Customer, Erased, ErasurePlan

cli = typer.Typer(help="Export and erase the personal data of one customer.", no_args_is_help=True)

Name = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The whole name of the customer or of one whose dish it is, or a reference; case,"
        " spaces, and kinds of hyphens and apostrophes do not matter.",
    ),
]
Phone = Annotated[
    str | None,
    typer.Option(
        metavar="PHONE",
        help="The customer's phone; only its digits count, without + or 00 before them.",
    ),
]
Orders = Annotated[
    list[str] | None,
    typer.Option(
        "--order",
        metavar="NUMBER",
        show_default=False,
        help="Number of an order; repeatable. With --name or --phone, each must have it.",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation (for scripts).")]


@cli.command()
def export(
    *,
    name: Name = None,
    phone: Phone = None,
    order: Orders = None,
    config: Config = None,
    log_format: LogFormat = None,
) -> None:
    """Print as JSON what is stored about a customer: orders, and dead letters."""
    customer = _customer(name, phone, order)
    settings = _load(config, log_format)
    from restaurant_system.app import privacy

    exported = complete(
        lambda shutdown: privacy.export(settings, shutdown, customer),
        if_stopped="Interrupted before the orders were read; run the command again.",
    )
    # In ASCII, so that no character controls the terminal and any encoding of stdout suits.
    print(json.dumps(exported, indent=2))
    numbers = [each["number"] for each in exported["orders"]]
    letters = _count(len(exported["dead_letters"]), "dead letter")
    print(f"Exported {_count(len(numbers))}{_listed(numbers)} and {letters}.", file=sys.stderr)


@cli.command()
def erase(
    *,
    name: Name = None,
    phone: Phone = None,
    order: Orders = None,
    yes: Yes = False,
    config: Config = None,
    log_format: LogFormat = None,
) -> None:
    """Erase a customer's name, phone, addresses and notes; figures, items and times stay."""
    customer = _customer(name, phone, order)
    settings = _load(config, log_format)
    if not yes and (sys.stdin is None or not sys.stdin.isatty()):
        raise ConfirmationImpossible("No terminal to ask for confirmation; erase with --yes.")
    from restaurant_system.app import privacy

    plan = complete(
        lambda shutdown: privacy.plan(settings, shutdown, customer),
        if_stopped="Interrupted; nothing was erased.",
    )
    if plan.finished or plan.dead_letters:
        _print_plan(plan)
        if yes or typer.confirm("Erase them? This cannot be undone."):
            _erase(settings, plan)
        else:
            print("Nothing was erased.")
            return
    else:
        print("There is nothing to erase.")
    _print_remaining(plan)
    if plan.unfinished:
        raise typer.Exit(1)


def _customer(name: str | None, phone: str | None, numbers: Sequence[str] | None) -> "Customer":
    """Return the customer that the options name; raise `ConfigurationError` if they name none."""
    from restaurant_system.models.order import is_order_number
    from restaurant_system.models.privacy import normalized_name, normalized_phone
    from restaurant_system.services.order.privacy import Customer

    if name is None and phone is None and not numbers:
        raise ConfigurationError(
            "Name the customer by --name or --phone, or orders by --order, or several of these."
        )
    if name is not None and not normalized_name(name):
        raise ConfigurationError("--name must not be empty.")
    if phone is not None and not normalized_phone(phone):
        raise ConfigurationError("--phone must have a digit.")
    for number in numbers or ():
        if not is_order_number(number):
            raise ConfigurationError(
                f"{number!r} is not an order number; use one such as ORD_20241216_001."
            )
    return Customer(name, tuple(dict.fromkeys(numbers or ())), phone)


def _load(config: Path | None, log_format: str | None) -> "Settings":
    return load("privacy", config, {"log.format": log_format}, logs_to=sys.stderr)


def _erase(settings: "Settings", plan: "ErasurePlan") -> None:
    from restaurant_system.app import privacy
    from restaurant_system.services.order.privacy import Erased

    result = Erased()
    try:
        complete(
            lambda shutdown: privacy.erase(settings, shutdown, plan, result),
            if_stopped="Interrupted before all was erased; run the command again.",
        )
    finally:  # also what was erased before an error
        _print_result(result)


def _print_plan(plan: "ErasurePlan") -> None:
    numbers = _numbers(plan.finished)
    print(f"To erase: {_count(len(numbers))}{_listed(numbers)}.")
    if plan.dead_letters:
        print(f"To discard: {_count(len(plan.dead_letters), 'dead letter')}.")


def _print_result(result: "Erased") -> None:
    print(
        f"Erased the personal data of {_count(len(result.orders))}; deleted"
        f" {_count(result.messages, 'waiting message')} and"
        f" {_count(result.dead_letters.done, 'dead letter')}."
    )


def _print_remaining(plan: "ErasurePlan") -> None:
    """Print what was not erased, and what to do about it."""
    if plan.unfinished:
        numbers = _numbers(plan.unfinished)
        print(
            f"Not erased, because not finished: {_count(len(numbers))}{_listed(numbers)};"
            " complete or cancel them, then run the command again.",
            file=sys.stderr,
        )
    if plan.unattributed:
        print(
            f"{_count(plan.unattributed, 'dead letter')} without a readable order may be about"
            " anyone; see `restaurant-system dead-letters list`.",
            file=sys.stderr,
        )


def _numbers(orders: "Sequence[CustomerOrder]") -> list[str]:
    return [order.number for order in orders]


def _listed(numbers: Sequence[str]) -> str:
    return f" ({', '.join(numbers)})" if numbers else ""


def _count(count: int, noun: str = "order") -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
