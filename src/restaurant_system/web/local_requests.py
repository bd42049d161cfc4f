"""Tell requests of programs on this machine from others."""

from starlette.requests import Request

from restaurant_system.web.allowed_hosts import LOCAL_NAME
from restaurant_system.web.client_address import parse_address

PROXY_HEADERS = ("x-forwarded-for", "forwarded", "via")


def is_local(request: Request) -> bool:
    """Tell whether a program on this machine sent a request, and not a proxy for another one.

    A proxy on this machine is recognized by the header fields with which proxies name the client,
    or by the public host name that it passes on. A page cannot read metrics by DNS rebinding,
    because its requests name its own host.
    """
    if any(name in request.headers for name in PROXY_HEADERS):
        return False
    host = request.url.hostname or ""
    is_for_this_machine = host == LOCAL_NAME or _is_loopback(host)
    return is_for_this_machine and (request.client is None or _is_loopback(request.client.host))


def _is_loopback(text: str) -> bool:
    address = parse_address(text)
    return address is not None and address.is_loopback
