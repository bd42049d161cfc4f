"""The first screen of `up`: where things are, and one line to try."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from restaurant_system.app.kitchen_worker import Cook
from restaurant_system.config import Settings
from restaurant_system.escaping import escape_nonprintable
from restaurant_system.models.order import OrderType

TRY = (
    "curl {address}/orders -H 'Content-Type: application/json' -d "
    '\'{{"customer_name": "Ada", "order_type": "takeout",'
    ' "items": [{{"name": "Margherita", "quantity": 1, "price": 9.50}}]}}\''
)


def show(address: str, settings: Settings, cooks: Sequence[Cook]) -> None:
    """Print it; the line to try stays one line, so that it can be pasted."""
    places = {
        "Counter": f"{address}/",
        "Kitchen": f"{address}/kitchen",
        "Board": f"{address}/board",
        "Dashboard": f"{address}/dashboard",
        "Orders": f"{address}/orders",
        "Tracking": f"{address}/track/ORD_…",
        "API": f"{address}/docs",
        "Health": f"{address}/health",
        "Data": str(settings.data_dir) if settings.database is None else "your PostgreSQL",
        "Broker": "in PostgreSQL" if settings.rabbitmq is None else "your RabbitMQ",
        "Cooks": ", ".join(_describe(cook) for cook in cooks) or "people, at the kitchen display",
    }
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"\n[bold]The restaurant is open at {address}[/]\n")
    for name, place in places.items():
        console.print(Text(f"  {name:<10}"), Text(escape_nonprintable(place)), sep="")
    console.print("\nOrder something:\n")
    console.print(Text("  " + TRY.format(address=address)))
    console.print("\nCtrl-C closes the restaurant; nothing is lost.\n")


def _describe(cook: Cook) -> str:
    everything = set(cook.order_types) == set(OrderType)
    return f"{cook.name} ({'everything' if everything else ', '.join(cook.order_types)})"
