"""Decide for which host names a service answers.

A page whose own host name is made to point at a service (DNS rebinding) has the same origin as the
service for the browser, and could read everything. Its requests name its own host.
"""

import functools
import re
from collections.abc import Sequence
from http import HTTPStatus

from restaurant_system.error_texts import ErrorText
from restaurant_system.web.client_address import parse_address
from restaurant_system.web.file_descriptors import ThrottledLog
from restaurant_system.web.headers import Headers, all_values
from restaurant_system.web.problem import Refusal

HOST = b"host"
# RFC 3986, 3.2.2, without percent-encoding, which no host name needs; the port is optional.
HOST_FIELD = re.compile(
    rb"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9!$&'()*+,;=._~-]*)(?::[0-9]*)?", re.ASCII
)
# RFC 9112, 3.2.2. User information is invalid in a Host field, and so is refused (RFC 9110, 4.2.4).
ABSOLUTE_FORM = re.compile(rb"https?://(?P<authority>[^/?#]*)", re.IGNORECASE)
CACHED_HOSTS = 256  # values of Host
LOCAL_NAME = "localhost"
ALL_ADDRESSES = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - to compare with

INVALID_HOST = ErrorText("Send exactly one valid Host header field.", "invalid_host")
INVALID_TARGET = INVALID_HOST.with_text(
    "Send the path alone, or a URL that begins with http:// and a valid host."
)
NOT_SERVED = ErrorText(
    "This host name is not served here; add it to security.allowed_hosts if it should be.",
    "host_not_served",
)

refused = ThrottledLog(
    "host_refused",
    "A request names a host that is not served; if it is a name of this service, add it to"
    " security.allowed_hosts.",
)


class AllowedHosts:
    """The host names and addresses for which a service answers, on any port.

    These are the names and addresses of this machine's loopback interface, the host at which the
    service listens, and the configured names; `*.example.com` stands for all names that end like
    this. A service that listens on all interfaces answers for every IP address: it cannot know
    under which ones it is reached (NAT, containers), and DNS does not decide where they lead.
    """

    def __init__(self, names: Sequence[str] = (), *, bound_to: str = LOCAL_NAME) -> None:
        self._any_address = bound_to in ALL_ADDRESSES
        self._serves = functools.lru_cache(CACHED_HOSTS)(self._contains)
        exact = [LOCAL_NAME, bound_to.lower(), *(each for each in names if each[0] != "*")]
        self._names = frozenset(exact)
        self._addresses = frozenset(map(parse_address, exact)) - {None}
        self._suffixes = tuple(name.removeprefix("*") for name in names if name.startswith("*"))

    def check(self, headers: Headers) -> None:
        """Raise `Refusal` for a request to another host.

        Accepts a request without a host: HTTP/1.0 allows it, and browsers always name one.
        """
        values = all_values(HOST, headers)
        if values and not self._serves(values[0]):
            refused.warn()
            raise Refusal(HTTPStatus.MISDIRECTED_REQUEST, NOT_SERVED)

    def _contains(self, value: bytes) -> bool:
        """Tell whether the value of a Host field names a host that is served."""
        match = HOST_FIELD.fullmatch(value)
        if match is None:
            return False
        host = match["host"].decode().lower().removesuffix(".")
        if host in self._names or host.endswith(self._suffixes):
            return True
        address = parse_address(host)
        if address is None:
            return False
        return self._any_address or address.is_loopback or address in self._addresses


def check_host_fields(headers: Headers, http_version: str) -> None:
    """Raise `Refusal` unless a request has exactly one valid Host (RFC 9112, 3.2).

    HTTP/1.0 may omit it.
    """
    values = all_values(HOST, headers)
    if len(values) == 1 and HOST_FIELD.fullmatch(values[0]):
        return
    if values or http_version != "1.0":
        raise Refusal(HTTPStatus.BAD_REQUEST, INVALID_HOST)


def host_of_target(target: bytes) -> bytes | None:
    """Return the host and port in a request target in absolute form; `None` in any other form.

    It replaces the Host field (RFC 9112, 3.2.2). Raises `Refusal` if it is invalid.
    """
    if target.startswith(b"/") or b"://" not in target:
        return None
    match = ABSOLUTE_FORM.match(target)
    host = HOST_FIELD.fullmatch(match["authority"]) if match else None
    if host is None or not host["host"]:
        raise Refusal(HTTPStatus.BAD_REQUEST, INVALID_TARGET)
    return host[0]
