"""Serve static files and the API documentation, with headers for caching and security."""

import functools
import hashlib
import mimetypes
import re
from collections.abc import AsyncIterator
from http import HTTPStatus
from os import PathLike, stat_result
from pathlib import Path

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Scope

from restaurant_system.models.access import Capability
from restaurant_system.web.guarded_router import GuardedRouter
from restaurant_system.web.security_headers import STATIC_HEADERS

CHUNK_SIZE = 64 * 1024  # bytes written at once; those that a client does not read stay in memory
ENTITY_TAG = re.compile(r'"[^"]*"')

mimetypes.add_type("text/javascript", ".js")  # RFC 9239; Python 3.11 has an obsolete type


class PackageFiles(StaticFiles):
    """The files in a directory of the package `screens`."""

    def __init__(self, directory: str) -> None:
        super().__init__(packages=[("restaurant_system.screens", directory)])

    async def respond(self, request: Request) -> Response:
        """Send the static file that the path parameter `name` names."""
        return await self.get_response(request.path_params["name"], request.scope)

    def file_response(
        self,
        full_path: str | PathLike[str],
        stat_result: stat_result,
        scope: Scope,
        status_code: int = HTTPStatus.OK,
    ) -> Response:
        """Return the response for a file, or 304 if the client has it."""
        etag = _etag_of_file(Path(full_path), stat_result.st_mtime_ns)
        headers = {**STATIC_HEADERS, "ETag": etag}
        response = FileResponse(full_path, status_code, headers, stat_result=stat_result)
        if self.is_not_modified(response.headers, Headers(scope=scope)):
            return NotModifiedResponse(response.headers)
        return response


class StaticContent:
    """Generated content that is sent like a static file."""

    def __init__(self, content: bytes, media_type: str) -> None:
        self._content = content
        self._headers = {**STATIC_HEADERS, "ETag": _etag(content)}
        self._content_headers = {"Content-Type": media_type, "Content-Length": str(len(content))}

    async def respond(self, request: Request) -> Response:
        """Send generated content, or 304 if the client has it."""
        if self._is_known_to(request):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=self._headers)
        return StreamingResponse(self._chunks(), headers=self._headers | self._content_headers)

    async def _chunks(self) -> AsyncIterator[bytes]:
        """Yield the content in chunks, each once the client has read the ones before."""
        for start in range(0, len(self._content), CHUNK_SIZE):
            yield self._content[start : start + CHUNK_SIZE]

    def _is_known_to(self, request: Request) -> bool:
        """Compare weakly (RFC 9110, 13.1.2): a proxy that compresses weakens an ETag."""
        known = request.headers.get("if-none-match", "")
        return known.strip() == "*" or self._headers["ETag"] in ENTITY_TAG.findall(known)


@functools.cache
def _etag_of_file(path: Path, _modified: int) -> str:
    """Return the ETag of a file's content; Starlette's does not change if time and size do not."""
    return _etag(path.read_bytes())


def _etag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def docs_routes() -> GuardedRouter:
    """Return the routes of the API documentation, which loads nothing from the internet."""
    files = PackageFiles("docs")

    async def page(request: Request) -> Response:
        return await files.get_response("index.html", request.scope)

    router = GuardedRouter(include_in_schema=False)
    for path, endpoint in (("/docs", page), ("/docs/{name}", files.respond)):
        router.add_route(path, endpoint, methods=["GET"], requires=Capability.METRICS)
    return router
