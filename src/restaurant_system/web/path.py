"""What stands in an address."""

from restaurant_system.errors import OrderNotFound
from restaurant_system.models.order import is_order_number


def order_number_in(text: str) -> str:
    """Return the number that stands in an address.

    Raises `OrderNotFound` for what no order can be called: the database need not be asked, and for
    a NUL could not be.
    """
    if not is_order_number(text):
        raise OrderNotFound(text)
    return text
