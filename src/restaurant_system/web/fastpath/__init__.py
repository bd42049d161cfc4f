"""Answer the two most frequent requests without ASGI, middleware and routing.

See docs/decisions/006-fast-path.md, also for how to delete it.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from restaurant_system.logger import get_logger
from restaurant_system.web.access_checks import AccessChecks
from restaurant_system.web.endpoint import Endpoint
from restaurant_system.web.fastpath.protocol import FastPathProtocol
from restaurant_system.web.fastpath.routes import FastRoute
from restaurant_system.web.fastpath.uvicorn_adapter import is_tested, tested_versions
from restaurant_system.web.http_protocol import HttpProtocol

log = get_logger()


def protocol_for(
    endpoints: Sequence[Endpoint[Any]], checks: AccessChecks
) -> Callable[..., HttpProtocol]:
    """Return the class that speaks HTTP on a connection, with the fast path for these endpoints.

    With a version of uvicorn that the fast path is not tested with, it is `HttpProtocol`: every
    request is answered over ASGI.
    """
    if not endpoints:
        return HttpProtocol
    if not is_tested():
        log.warning(
            "fast_path_disabled",
            message=f"The fast path is tested with {tested_versions()}; every request is answered"
            " over ASGI.",
        )
        return HttpProtocol
    return partial(FastPathProtocol, [FastRoute.to(each) for each in endpoints], checks)
