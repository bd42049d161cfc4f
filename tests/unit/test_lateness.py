from restaurant_system.models.timing import Lateness


def test_shares_are_weighed() -> None:
    """The share over all is that of all orders, not the mean of the types' shares."""
    takeout, delivery = Lateness(orders=9, late=0), Lateness(orders=1, late=1)

    assert (takeout + delivery).share == 0.1


def test_no_orders_have_no_share() -> None:
    """Of no orders none is late, and none is in time."""
    assert Lateness().share is None
