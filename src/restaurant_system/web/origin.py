"""Where a request comes from: a page of ours, a program, or a page of another site."""

from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import urlsplit

from restaurant_system.web.problem import Refusal

OURS = frozenset({"same-origin", "none"})  # Sec-Fetch-Site; "none" is what a person typed


def refuse_other_origins(headers: Mapping[str, str]) -> None:
    """Raise `Refusal` for a request that a page of another origin has sent.

    Browsers send `Sec-Fetch-Site` (W3C Fetch Metadata) or, without TLS, `Origin` alone. Programs
    send neither, and pass.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        is_ours = site in OURS
    else:
        is_ours = origin is None or urlsplit(origin).netloc == headers.get("host")
    if not is_ours:
        raise Refusal(HTTPStatus.FORBIDDEN, "Send this request from a page of this site.")
