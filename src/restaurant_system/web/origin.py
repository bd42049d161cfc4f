"""Tell requests of our own pages and of programs from those of another site's page."""

from collections.abc import Mapping
from http import HTTPStatus

from restaurant_system.web.problem import Refusal

OURS = frozenset({"same-origin", "none"})  # Sec-Fetch-Site; "none" is what a person typed


def refuse_other_origins(headers: Mapping[str, str]) -> None:
    """Raise `Refusal` for a request that a page of another origin has sent.

    Browsers send `Sec-Fetch-Site` (W3C Fetch Metadata) or, without TLS, `Origin` alone. Programs
    send neither, and pass.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    host = headers.get("host", "")
    if site is not None:
        is_ours = site in OURS
    else:
        is_ours = origin in {None, f"http://{host}", f"https://{host}"}
    if not is_ours:
        raise Refusal(HTTPStatus.FORBIDDEN, "Send this request from a page of this site.")
