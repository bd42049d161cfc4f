"""The screens as they are sent: every text and every file that they name exists."""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from restaurant_system import screens
from restaurant_system.errors import ConfigurationError
from restaurant_system.metrics.request_durations import UNKNOWN_PATH
from restaurant_system.web import api
from restaurant_system.web.guarded_router import PUBLIC
from restaurant_system.web.pages import Pages, RestaurantInfo, texts_in
from restaurant_system.web.static_files import CHUNK_SIZE, PackageFiles, StaticContent
from tests.support.metrics import increase

FOLDER = files(screens)
PLURAL_FORMS = {"zero", "one", "two", "few", "many", "other"}
IN_PAGES = re.compile(r"{{ (\S+) }}")
USED = re.compile(r"""\btranslate\(\s*["'`]([^"'`]+)["'`]""")
QUOTED = re.compile(r"""["'`]([a-z_]+(?:\.(?:[a-z_]+|\$\{[^}]*\}))+)["'`]""")
FILLED_IN = re.compile(r"\\\$\\\{.*?\\\}")  # the part of a name that a module fills in at run time
ASSET = re.compile(r'"/assets/([^"]+)"')
IMPORTED = re.compile(r'^\s*import\b[^"]*"\./([^"]+)"', re.MULTILINE)
GENERATED = {"restaurant.js"}
INLINE = re.compile(r"<script(?![^>]*\bsrc=)|<style|\son[a-z]+=|\sstyle=", re.IGNORECASE)


def texts(folder: Traversable, suffix: str) -> dict[str, str]:
    """Read the files with a suffix, by name."""
    found = [each for each in folder.iterdir() if each.name.endswith(suffix)]
    return {each.name: each.read_text(encoding="utf-8") for each in found}


PAGES = texts(FOLDER, ".html")
MODULES = texts(FOLDER / "assets", ".js")
WORDS = {
    name.removesuffix(".json"): json.loads(text)
    for name, text in texts(FOLDER / "texts", ".json").items()
}


def names(words: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Yield the name of every text; one with plural forms is one text."""
    for name, value in words.items():
        if isinstance(value, str) or value.keys() <= PLURAL_FORMS:
            yield path + name
        else:
            yield from names(value, f"{path}{name}.")


ENGLISH = set(names(WORDS["en"]))


def texts_matching(name: str) -> set[str]:
    """Return the texts that a name matches: several, if part of it is filled in at run time."""
    pattern = re.compile(FILLED_IN.sub(r"[a-z0-9_]+", re.escape(name)))
    return {each for each in ENGLISH if pattern.fullmatch(each)}


def used_texts() -> Iterator[tuple[str, str]]:
    """Yield every text that is used by name, with the file that uses it."""
    for file, page in PAGES.items():
        yield from ((file, name) for name in IN_PAGES.findall(page))
    for file, module in MODULES.items():
        yield from ((file, name) for name in USED.findall(module))


def test_every_text_that_a_page_or_module_uses_exists() -> None:
    missing = {(file, name) for file, name in used_texts() if not texts_matching(name)}

    assert len(list(used_texts())) > 5
    assert missing == set()


def test_every_text_of_the_language_file_is_used() -> None:
    by_name = {name for _, name in used_texts()}
    quoted = {name for module in MODULES.values() for name in QUOTED.findall(module)}

    used = set[str]().union(*(texts_matching(name) for name in by_name | quoted))

    assert used >= ENGLISH, sorted(ENGLISH - used)


@pytest.mark.parametrize("language", sorted(WORDS))
def test_translation_has_every_text_and_its_own_tag(language: str) -> None:
    assert set(names(WORDS[language])) == ENGLISH
    assert WORDS[language]["language"] == language


def test_every_asset_that_a_page_or_module_loads_exists() -> None:
    loaded = {name for page in PAGES.values() for name in ASSET.findall(page)}
    loaded |= {name for module in MODULES.values() for name in IMPORTED.findall(module)}

    existing = {each.name for each in (FOLDER / "assets").iterdir()} | GENERATED
    assert loaded
    assert loaded <= existing


@pytest.mark.parametrize("page", sorted(PAGES))
def test_page_has_no_inline_scripts_or_styles(page: str) -> None:
    """The Content-Security-Policy forbids inline scripts and styles."""
    assert INLINE.search(PAGES[page]) is None


RESTAURANT = RestaurantInfo("en", "Europe/Rome", {"dine_in": 300}, {"dine_in": 600})


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """Return a client of two pages."""
    pages = Pages(RESTAURANT).feature(
        {"/board": ("board", PUBLIC), "/track/{order_number}": ("track", PUBLIC)}
    )
    transport = httpx.ASGITransport(api.build("Screens", [pages]).asgi)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


async def test_page_has_its_texts_and_security_headers(
    client: httpx.AsyncClient,
) -> None:
    """The headers keep browsers from sending order numbers to other sites as Referer."""
    page = await client.get("/track/ORD_20241216_001")

    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"].split("; ")
    assert {"default-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"} <= set(policy)
    assert {"form-action 'self'", "object-src 'none'"} <= set(policy)
    assert "unsafe" not in page.headers["content-security-policy"]
    assert page.headers.get_list("x-content-type-options") == ["nosniff"]
    assert page.headers.get_list("referrer-policy") == ["same-origin"]
    assert page.headers.get_list("cache-control") == ["no-cache"]
    assert '<html lang="en">' in page.text
    assert "{{" not in page.text


async def test_pages_and_their_files_are_counted_by_their_routes(client: httpx.AsyncClient) -> None:
    """Those that do not exist are counted together."""
    routes = {
        "/track/{order_number}": ("/track/ORD_20241216_001", "200"),
        "/assets/{name}": ("/assets/base.css", "200"),
        UNKNOWN_PATH: ("/tracks", "404"),
    }
    counts = {
        route: increase(
            "restaurant_http_request_duration_seconds_count", method="GET", route=route, code=code
        )
        for route, (_, code) in routes.items()
    }

    for path, _ in routes.values():
        await client.get(path)

    assert {route: count() for route, count in counts.items()} == dict.fromkeys(routes, 1)


async def test_markup_in_a_text_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    words = WORDS["en"] | {"board": WORDS["en"]["board"] | {"title": 'Tom & "Ada" <b>'}}
    monkeypatch.setattr("restaurant_system.web.pages.texts_in", lambda *_: words)

    site = api.build("Screens", [Pages(RESTAURANT).feature({"/board": ("board", PUBLIC)})])
    transport = httpx.ASGITransport(site.asgi)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        page = await client.get("/board")

    assert "<title>Tom &amp; &quot;Ada&quot; &lt;b&gt;</title>" in page.text


@pytest.mark.parametrize(
    "address", ["/board", "/assets/base.css", "/assets/restaurant.js", "/docs"]
)
@pytest.mark.parametrize("known_as", ["{}", "W/{}", '"another", {}'])
async def test_unchanged_file_is_answered_with_304(
    client: httpx.AsyncClient, address: str, known_as: str
) -> None:
    """A weak ETag, as a compressing proxy makes it, is answered with 304 too."""
    first = await client.get(address)
    tag = first.headers["etag"]

    again = await client.get(address, headers={"If-None-Match": known_as.format(tag)})
    other = await client.get(address, headers={"If-None-Match": '"another"'})

    assert first.headers["cache-control"] == "no-cache"
    policy = first.headers["content-security-policy"]  # of the page that the browser has stored
    assert again.headers.get("content-security-policy", policy) == policy
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert (other.status_code, other.content) == (200, first.content)


def test_etag_depends_on_the_content_alone(tmp_path: Path) -> None:
    """Some installers give all files the same time, and a release may not change a file's size."""

    def etag_of(name: str, content: str, modified: int) -> str:
        (tmp_path / name).write_text(content)
        os.utime(tmp_path / name, (modified, modified))
        scope = {"type": "http", "headers": []}
        response = PackageFiles("assets").file_response(
            tmp_path / name, (tmp_path / name).stat(), scope
        )
        return response.headers["etag"]

    before = etag_of("1.css", "a { top: 1px }", 0)

    assert etag_of("2.css", "a { top: 2px }", 0) != before
    assert etag_of("3.css", "a { top: 1px }", 7) == before


@pytest.mark.parametrize(
    ("address", "media_type"),
    [("/assets/base.css", "text/css"), ("/assets/live.js", "text/javascript")],
)
async def test_asset_has_its_media_type(
    client: httpx.AsyncClient, address: str, media_type: str
) -> None:
    assert (await client.get(address)).headers["content-type"].split(";")[0] == media_type


@pytest.mark.parametrize("name", ["nothing.js", "..%2Fboard.html", "en.json"])
async def test_path_that_is_no_asset_gets_404(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.get(f"/assets/{name}")

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_restaurant_js_exports_the_settings_and_texts(
    client: httpx.AsyncClient,
) -> None:
    module = (await client.get("/assets/restaurant.js")).text

    exported = dict(re.findall(r"^export const (\w+) = (.*);$", module, re.MULTILINE))
    assert {name: json.loads(value) for name, value in exported.items()} == {
        "language": "en",
        "timezone": "Europe/Rome",
        "agingSeconds": {"dine_in": 300},
        "lateSeconds": {"dine_in": 600},
        "texts": WORDS["en"],
    }


@pytest.mark.parametrize("language", ["tlh", "", "../assets/en"])
def test_language_without_texts_is_a_configuration_error(language: str) -> None:
    """The error for an unknown language lists those that exist."""
    with pytest.raises(ConfigurationError, match=r"language: .* choose from en\."):
        Pages(RestaurantInfo(language, "UTC", {}, {}))


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        ({"line": {"old": "Alt"}}, "line.new"),
        ({"line": {"new": "Neu"}}, "line.old"),
        ({}, "line.new"),
    ],
)
def test_translation_that_lacks_a_text_is_a_configuration_error(
    tmp_path: Path, words: dict[str, object], missing: str
) -> None:
    """The error names the text. Which plural forms a text has depends on the language."""
    ours = {"line": {"old": "Old", "new": "New"}, "kept": {"one": "A tap", "other": "Taps"}}
    kept = {"kept": {"few": "Ein paar", "other": "Viele"}}
    written = {"en": ours, "de": kept | words, "fr": ours | kept, "pt_BR": ours}
    (tmp_path / "texts").mkdir()
    for language, texts in written.items():
        (tmp_path / "texts" / f"{language}.json").write_text(json.dumps(texts), encoding="utf-8")

    assert texts_in(tmp_path, "fr") == written["fr"]
    with pytest.raises(ConfigurationError, match=missing):
        texts_in(tmp_path, "de")
    with pytest.raises(ConfigurationError, match="choose from de, en, fr"):
        texts_in(tmp_path, "pt_BR")


@pytest.mark.parametrize("name", ["generated", "swagger-ui.css"])
async def test_large_content_is_sent_in_chunks(name: str) -> None:
    """For a client that reads slowly, the server has one chunk in memory, not all content."""
    request = Request(
        {"type": "http", "method": "GET", "headers": [], "path_params": {"name": name}}
    )
    content = StaticContent(bytes(range(256)) * 1_000, "text/plain")
    files = content if name == "generated" else PackageFiles("docs")
    sent: list[Any] = []

    async def receive() -> dict[str, str]:
        await asyncio.Event().wait()
        return {}

    async def send(message: Any) -> None:  # noqa: ANN401 - as ASGI has it
        sent.append(message)

    response = await files.respond(request)
    await response(request.scope, receive, send)

    start, *parts = sent
    sizes = [len(part["body"]) for part in parts]
    assert (b"content-length", str(sum(sizes)).encode()) in start["headers"]
    assert max(sizes) == CHUNK_SIZE < sum(sizes)
