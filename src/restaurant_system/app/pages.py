"""The pages of each service, and the places among them that people reach at one address."""

from collections.abc import Mapping, Sequence

from restaurant_system.config import Settings
from restaurant_system.models.access import Capability
from restaurant_system.models.currency import Currency
from restaurant_system.web.access_control import SIGN_IN
from restaurant_system.web.api import Feature
from restaurant_system.web.guarded_router import PUBLIC
from restaurant_system.web.pages import PageRoute, Pages, Place, RestaurantInfo

OF_ORDER_SERVICE: Mapping[str, PageRoute] = {"/": ("counter", Capability.READ_ORDERS)}
OF_KITCHEN_DISPLAY: Mapping[str, PageRoute] = {"/kitchen": ("kitchen", Capability.TICKETS)}
ALONE: Mapping[str, PageRoute] = {"/": ("service", PUBLIC)}  # of a service without the counter
OF_TRACKING_SERVICE: Mapping[str, PageRoute] = {
    "/orders": ("orders", Capability.READ_ORDERS),
    "/pass": ("pass", Capability.READ_ORDERS),
    "/board": ("board", PUBLIC),
    "/track/{order_number}": ("track", PUBLIC),
    "/track/{order_number}/{token}": ("track", PUBLIC),
    "/dashboard": ("dashboard", Capability.READ_ORDERS),
}
OF_EVERY_SERVICE: Mapping[str, PageRoute] = {
    SIGN_IN: ("sign-in", PUBLIC),
    "/access": ("access", Capability.ADMINISTER),
}
ALL: Mapping[str, PageRoute] = {
    **OF_ORDER_SERVICE,
    **OF_KITCHEN_DISPLAY,
    **OF_TRACKING_SERVICE,
    **OF_EVERY_SERVICE,
}

# The pages that the navigation links to, in its order; one without a route is left out.
PLACES = ("counter", "orders", "kitchen", "pass", "board", "dashboard", "access")


def pages_feature(settings: Settings, own: Mapping[str, PageRoute]) -> Feature:
    """Return the routes of the pages of a service, by path.

    Their navigation has the pages of the other services too if a proxy is configured: that makes
    all of them one site. Otherwise the others have another port, which only their operator knows.
    """
    routes = {**own, **OF_EVERY_SERVICE}
    reachable = ALL if settings.security.trusted_proxies else routes
    kitchen = settings.kitchen
    restaurant = RestaurantInfo(
        language=settings.language,
        timezone=settings.business_timezone,
        business_day_start=settings.business_day_start,
        currency=Currency(settings.currency),
        aging_seconds=kitchen.aging_seconds.model_dump(),
        late_seconds=kitchen.late_seconds.model_dump(),
        places=places_in(reachable),
    )
    return Pages(restaurant).feature(routes)


def places_in(routes: Mapping[str, PageRoute]) -> Sequence[Place]:
    """Return the places among the routes of pages, in the order of the navigation."""
    by_name = {name: Place(name, path, requires) for path, (name, requires) in routes.items()}
    return [by_name[name] for name in PLACES if name in by_name]
