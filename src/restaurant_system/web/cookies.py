"""Read and set the cookies of a browser: random tokens, which no script can read."""

from starlette.requests import Request
from starlette.responses import Response

from restaurant_system.web.headers import COOKIE, Headers, all_values

SESSION, DEVICE = "session", "device"
# A browser stores a cookie with the prefix only if it came over TLS, from this host itself.
TLS_PREFIX = "__Host-"


def cookie_in(headers: Headers, name: str) -> bytes | None:
    """Return the token in a cookie, of those with the prefix first; `None` if there is none."""
    cookies = [
        cookie.strip().partition(b"=")
        for field in all_values(COOKIE, headers)
        for cookie in field.split(b";")
    ]
    for wanted in ((TLS_PREFIX + name).encode(), name.encode()):
        for each, _, token in cookies:
            if each == wanted and token:
                return token
    return None


def set_cookie(
    response: Response, request: Request, name: str, token: str, *, max_age: float
) -> None:
    """Set a cookie, over TLS with the prefix; `max_age` is in seconds."""
    is_tls = request.url.scheme == "https"
    response.set_cookie(
        (TLS_PREFIX if is_tls else "") + name,
        token,
        max_age=int(max_age),
        secure=is_tls,
        httponly=True,
        samesite="lax",
    )


def delete_cookie(response: Response, name: str) -> None:
    """Delete a cookie, with and without the prefix."""
    response.delete_cookie(name, httponly=True, samesite="lax")
    # A browser ignores a cookie with this name that is not secure.
    response.delete_cookie(TLS_PREFIX + name, secure=True, httponly=True, samesite="lax")
