"""Serve static content, compressed, with headers for caching and security.

Files are served at addresses that contain a hash of all files of their folder: browsers keep them
without asking again. What has an address of its own, such as a page, is revalidated at each load.
"""

import asyncio
import gzip
import hashlib
import mimetypes
import re
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from http import HTTPStatus
from importlib.resources import files

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from restaurant_system import screens
from restaurant_system.models.access import Capability
from restaurant_system.web.guarded_router import GuardedRouter
from restaurant_system.web.security_headers import STATIC_HEADERS

CHUNK_SIZE = 64 * 1024  # bytes written at once; those that a client does not read stay in memory
COMPRESSION = 6  # of zlib; the maximum takes twice as long and saves one percent
GZIP_FORMAT = 16 + zlib.MAX_WBITS
ENTITY_TAG = re.compile(r'"[^"]*"')
GZIP_REFUSED = re.compile(r"q=0(\.0*)?")
HASH_LENGTH = 16  # digits in addresses
IMMUTABLE = {"Cache-Control": "public, max-age=31536000, immutable"}

mimetypes.add_type("text/javascript", ".js")  # RFC 9239; Python 3.11 has an obsolete type


class StaticContent:
    """Content in memory: compressed, if that makes it smaller.

    `is_immutable` content never changes at its address. Other content is revalidated.
    """

    def __init__(self, content: bytes, media_type: str, *, is_immutable: bool = False) -> None:
        compressed = gzip.compress(content, COMPRESSION, mtime=0)
        self._is_compressed = len(compressed) < len(content)
        self._stored = compressed if self._is_compressed else content
        self._length = len(content)
        self._hash = _hash(content)
        self._headers = {
            **STATIC_HEADERS,
            **(IMMUTABLE if is_immutable else {}),
            **({"Vary": "Accept-Encoding"} if self._is_compressed else {}),
        }
        self._media_type = media_type

    async def respond(self, request: Request) -> Response:
        """Send the content, or 304 if the client has it."""
        sends_gzip = self._is_compressed and accepts_gzip(request.headers.get("accept-encoding"))
        headers = {**self._headers, "ETag": f'"{self._hash}{"-gzip" if sends_gzip else ""}"'}
        if _is_known(headers["ETag"], request):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        headers["Content-Type"] = self._media_type
        if sends_gzip or not self._is_compressed:
            headers["Content-Length"] = str(len(self._stored))
            chunks = self._stored_chunks()
        else:
            headers["Content-Length"] = str(self._length)
            chunks = self._decompressed_chunks()
        if sends_gzip:
            headers["Content-Encoding"] = "gzip"
        return StreamingResponse(_each_once_read(chunks), headers=headers)

    def _stored_chunks(self) -> Iterator[bytes]:
        for start in range(0, len(self._stored), CHUNK_SIZE):
            yield self._stored[start : start + CHUNK_SIZE]

    def _decompressed_chunks(self) -> Iterator[bytes]:
        stream, rest = zlib.decompressobj(GZIP_FORMAT), self._stored
        while not stream.eof:
            yield stream.decompress(rest, CHUNK_SIZE)
            rest = stream.unconsumed_tail


class ContentOnDemand:
    """Content that is read and compressed, in a thread, when it is first requested.

    It never changes at its address. `name` is the name of its file, `read` returns its content.
    """

    def __init__(self, name: str, read: Callable[[], bytes]) -> None:
        self._name = name
        self._read = read
        self._loading: asyncio.Task[StaticContent] | None = None

    async def respond(self, request: Request) -> Response:
        """Send the content, or 304 if the client has it."""
        if self._loading is None:
            self._loading = asyncio.create_task(asyncio.to_thread(self._load))
        content = await asyncio.shield(self._loading)
        return await content.respond(request)

    def _load(self) -> StaticContent:
        content = StaticContent(self._read(), media_type_of(self._name), is_immutable=True)
        del self._read  # which may hold the content
        return content


class HashedFiles:
    """Files at addresses that contain the hash of them all, so that relative references work.

    `hashed` is what the hash depends on, by name.
    """

    def __init__(
        self, path: str, hashed: Mapping[str, bytes], files: Mapping[str, ContentOnDemand]
    ) -> None:
        whole = b"".join(name.encode() + b"\0" + _digest(hashed[name]) for name in sorted(hashed))
        self._hash = hashlib.sha256(whole).hexdigest()[:HASH_LENGTH]
        self._path = path
        self._files = files

    def address(self, name: str) -> str:
        """Return the address of a file."""
        return f"{self._path}/{self._hash}/{name}"

    def add_routes(self, router: GuardedRouter, requires: Capability | None) -> None:
        """Add the routes of the files to a router."""
        for path in ("{hash}/{name}", "{name}"):
            router.add_route(
                f"{self._path}/{path}", self.respond, methods=["GET"], requires=requires
            )

    async def respond(self, request: Request) -> Response:
        """Send a file; redirect to it from an address without a hash, or with another one.

        A page of another release, or of a process with other settings, loads these files then.
        """
        name = request.path_params["name"]
        if name not in self._files:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        if request.path_params.get("hash") != self._hash:
            return RedirectResponse(self.address(name), HTTPStatus.TEMPORARY_REDIRECT)
        return await self._files[name].respond(request)


def media_type_of(name: str) -> str:
    """Return the media type of a file."""
    media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return f"{media_type}; charset=utf-8" if media_type.startswith("text/") else media_type


def accepts_gzip(accept_encoding: str | None) -> bool:
    """Return whether a client with this header field reads gzip."""
    for each in (accept_encoding or "").split(","):
        coding, _, quality = each.replace(" ", "").lower().partition(";")
        if coding == "gzip":
            return GZIP_REFUSED.fullmatch(quality) is None
    return False


def _is_known(etag: str, request: Request) -> bool:
    """Compare weakly (RFC 9110, 13.1.2): a proxy that compresses weakens an ETag."""
    known = request.headers.get("if-none-match", "")
    return known.strip() == "*" or etag in ENTITY_TAG.findall(known)


async def _each_once_read(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Yield chunks, each once the client has read the ones before."""
    for chunk in chunks:
        yield chunk


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def docs_routes() -> GuardedRouter:
    """Return the routes of the API documentation, which loads nothing from the internet."""
    sources = {each.name: each for each in (files(screens) / "docs").iterdir() if each.is_file()}
    contents = {name: each.read_bytes() for name, each in sources.items()}
    served = {
        name: ContentOnDemand(name, each.read_bytes)
        for name, each in sources.items()
        if name != "index.html"
    }
    hashed = HashedFiles("/docs", contents, served)
    template = contents["index.html"].decode()
    html = re.sub(r'(?<=")/docs/([^"]+)', lambda found: hashed.address(found[1]), template)
    page = StaticContent(html.encode(), media_type_of("index.html"))
    router = GuardedRouter(include_in_schema=False)
    router.add_route("/docs", page.respond, methods=["GET"], requires=Capability.METRICS)
    hashed.add_routes(router, Capability.METRICS)
    return router
