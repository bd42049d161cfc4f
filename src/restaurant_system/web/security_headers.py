"""Response headers that tell browsers what they may do with a response."""

from collections.abc import Sequence
from http import HTTPStatus

RawHeaders = Sequence[tuple[bytes, bytes]]

# A page loads nothing from elsewhere, runs no inline code, sends forms nowhere else, and is in no
# frame. `data:` images are in Swagger UI's styles.
PAGE_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none';"
    " form-action 'self'; frame-ancestors 'none'"
)
# Everything else loads nothing if a browser shows it.
DATA_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

STATIC_HEADERS = {
    "Cache-Control": "no-cache",  # the browser keeps the file and revalidates it by its ETag
    "Content-Security-Policy": PAGE_POLICY,
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
# No copy of personal data remains in a cache. The referrer would be the number of an order.
DATA_HEADERS: RawHeaders = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", DATA_POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


def with_data_headers(status: int, headers: RawHeaders) -> RawHeaders:
    """Return the headers of a response, with those of `DATA_HEADERS` that it does not have.

    A 304 is left alone: its headers would replace those of the stored page.
    """
    if status == HTTPStatus.NOT_MODIFIED:
        return headers
    names = {name.lower() for name, _ in headers}
    return [*headers, *(each for each in DATA_HEADERS if each[0] not in names)]
