"""Files of the package as a browser gets them: unchanged, and with the headers of every page."""

import hashlib
import re
from collections.abc import AsyncIterator
from http import HTTPStatus
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath
from typing import Self

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

PART = 64 * 1024  # bytes that are written at once: what a client does not read stays in memory
TAG = re.compile(r'"[^"]*"')
HTML = "text/html; charset=utf-8"
JAVASCRIPT = "text/javascript"
MEDIA_TYPES = {".css": "text/css", ".html": HTML, ".js": JAVASCRIPT, ".svg": "image/svg+xml"}
# Nothing is loaded from elsewhere, nothing in a page's own text is run, no other site frames it.
POLICY = "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'"


class StaticFile:
    """A file as it is sent; the browser keeps it, and asks whether it is still the same."""

    def __init__(self, content: bytes, media_type: str) -> None:
        self._content = content
        self._media_type = media_type
        self._headers = {
            "ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"',
            "Cache-Control": "no-cache",
            "Content-Security-Policy": POLICY,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "same-origin",
        }

    @classmethod
    def read(cls, file: Traversable) -> Self:
        """Read a file; the ending of its name tells its media type."""
        media_type = MEDIA_TYPES.get(PurePosixPath(file.name).suffix, "application/octet-stream")
        return cls(file.read_bytes(), media_type)

    def answer(self, request: Request) -> Response:
        """Send it, or 304 if the browser has it."""
        if self._is_known_to(request):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=self._headers)
        if len(self._content) <= PART:
            return Response(self._content, headers=self._headers, media_type=self._media_type)
        headers = {**self._headers, "Content-Length": str(len(self._content))}
        return StreamingResponse(self._parts(), headers=headers, media_type=self._media_type)

    async def _parts(self) -> AsyncIterator[bytes]:
        """Yield the file part by part, each once the client has taken those before."""
        for start in range(0, len(self._content), PART):
            yield self._content[start : start + PART]

    def _is_known_to(self, request: Request) -> bool:
        """Compare as RFC 9110, 13.1.2 has it; a proxy that compresses makes our ETag a weak one."""
        known = request.headers.get("if-none-match", "")
        return known.strip() == "*" or self._headers["ETag"] in TAG.findall(known)
