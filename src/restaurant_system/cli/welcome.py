"""The first screen of `up`: addresses, and a command that places an order."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from restaurant_system.app.access import is_guarded
from restaurant_system.app.kitchen_worker import Cook
from restaurant_system.config import Settings
from restaurant_system.models.order import OrderType
from restaurant_system.models.text import escape_nonprintable
from restaurant_system.services.access.administration import FIRST_MANAGER

EXAMPLE_ORDER = (
    "curl {address}/orders -H 'Content-Type: application/json' -d "
    '\'{{"customer_name": "Ada", "order_type": "takeout",'
    ' "items": [{{"name": "Margherita", "quantity": 1, "price": 9.50}}]}}\''
)


def show(
    settings: Settings, cooks: Sequence[Cook], address: str, manager_password: str | None
) -> None:
    """Print the first screen of `up`; the command stays on one line, so that it can be copied.

    The password of a new manager is shown here only.
    """
    entries = {
        "Counter": f"{address}/",
        "Kitchen": f"{address}/kitchen",
        "Board": f"{address}/board",
        "Dashboard": f"{address}/dashboard",
        "Orders": f"{address}/orders",
        "Tracking": f"{address}/track/ORDER_NUMBER; its customer gets the order's tracking_url",
        "API": f"{address}/docs",
        "Health": f"{address}/health",
        "Data": str(settings.data_dir) if settings.database is None else "your PostgreSQL",
        "Broker": "in PostgreSQL" if settings.rabbitmq is None else "your RabbitMQ",
        "Cooks": ", ".join(_describe(cook) for cook in cooks)
        or "none; people cook, with the kitchen display",
    }
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"\n[bold]The restaurant is running at {address}[/]\n")
    for name, value in entries.items():
        console.print(Text(f"  {name:<10}"), Text(escape_nonprintable(value)), sep="")
    if manager_password is not None:
        console.print(
            "\nOther machines can reach it, so people sign in. The first manager is new:\n"
        )
        console.print(Text(f"  Sign in   {address}/sign-in"))
        console.print(Text(f"  Name      {FIRST_MANAGER}"))
        console.print(Text(f"  Password  {manager_password}"))
        console.print("\nThe password is shown once. `restaurant-system users --help` has more.")
    if is_guarded(settings, settings.order_service.host):
        if manager_password is None:
            console.print(Text(f"\nPeople sign in at {address}/sign-in."))
            console.print(
                "`restaurant-system users list` shows them; `users reset` sets a password."
            )
        console.print("\nPrograms need a key: `restaurant-system api-keys add --help`.")
    else:
        console.print("\nPlace an order:\n")
        console.print(Text("  " + EXAMPLE_ORDER.format(address=address)))
    console.print("\nPress Ctrl-C to stop. Orders are kept and continue after the next start.\n")


def _describe(cook: Cook) -> str:
    cooks_all = set(cook.order_types) == set(OrderType)
    return f"{cook.name} ({'all order types' if cooks_all else ', '.join(cook.order_types)})"
