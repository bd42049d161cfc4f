"""The screens as they are sent: every text and every file that they name exists."""

import asyncio
import json
import re
import struct
from collections.abc import AsyncIterator, Iterator, Mapping
from hashlib import sha256
from html import escape
from http import HTTPStatus
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response

from restaurant_system import screens
from restaurant_system.app.pages import OF_KITCHEN_DISPLAY, pages_feature
from restaurant_system.config import Settings
from restaurant_system.error_texts import ErrorText
from restaurant_system.errors import ConfigurationError, DatabaseUnavailable, NotAllowed
from restaurant_system.metrics.request_durations import UNKNOWN_PATH
from restaurant_system.models.access import Capability
from restaurant_system.models.currency import NO_CURRENCY, Currency
from restaurant_system.services.order.menu_file import read_menu
from restaurant_system.services.tracking import export_handler
from restaurant_system.web import api
from restaurant_system.web.api import Feature
from restaurant_system.web.guarded_router import PUBLIC, GuardedRouter
from restaurant_system.web.pages import Pages, Place, RestaurantInfo, texts_in
from restaurant_system.web.problem import Refusal
from restaurant_system.web.static_files import CHUNK_SIZE, HashedFiles, StaticContent, accepts_gzip
from tests.support.metrics import increase

FOLDER = files(screens)
PLURAL_FORMS = {"zero", "one", "two", "few", "many", "other"}
IN_PAGES = re.compile(r"{{ (\S+) }}")
USED = re.compile(r"""\btranslate\(\s*["'`]([^"'`]+)["'`]""")
QUOTED = re.compile(r"""["'`]([a-z_]+(?:\.(?:[a-z_]+|\$\{[^}]*\}))+)["'`]""")
FILLED_IN = re.compile(r"\\\$\\\{.*?\\\}")  # the part of a name that a module fills in at run time
FILLED_IN_TEXT = re.compile(r"{(\w+)}")  # a value of a text
ASSET = re.compile(r'"/assets/([^"]+)"')
IMPORTED = re.compile(r'^\s*import\b[^"]*"\./([^"]+)"', re.MULTILINE)
GENERATED = {"restaurant.js"}
INLINE = re.compile(r"<script(?![^>]*\bsrc=)|<style|\son[a-z]+=|\sstyle=", re.IGNORECASE)


IMMUTABLE = "public, max-age=31536000, immutable"


def texts(folder: Traversable, suffix: str) -> dict[str, str]:
    """Read the files with a suffix, by name."""
    found = [each for each in folder.iterdir() if each.name.endswith(suffix)]
    return {each.name: each.read_text(encoding="utf-8") for each in found}


PAGES = texts(FOLDER, ".html") | texts(FOLDER / "parts", ".html")
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


def values_of(words: Mapping[str, Any], path: str = "") -> dict[str, set[str]]:
    """Return, by the name of each text, the values that are filled in, over all plural forms."""
    found = dict[str, set[str]]()
    for name, value in words.items():
        if isinstance(value, str):
            found[path + name] = set(FILLED_IN_TEXT.findall(value))
        elif value.keys() <= PLURAL_FORMS:
            found[path + name] = set(FILLED_IN_TEXT.findall(" ".join(value.values())))
        else:
            found |= values_of(value, f"{path}{name}.")
    return found


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
    in_files = (*export_handler.COLUMNS, "separator", "decimal_mark", "without")
    used |= {f"export.{each}" for each in in_files}

    assert used >= ENGLISH, sorted(ENGLISH - used)


@pytest.mark.parametrize("language", sorted(WORDS))
def test_translation_has_every_text_and_its_own_tag(language: str) -> None:
    assert set(names(WORDS[language])) == ENGLISH
    assert WORDS[language]["language"] == language


@pytest.mark.parametrize("language", sorted(WORDS))
def test_translation_fills_in_the_same_values(language: str) -> None:
    original, translated = values_of(WORDS["en"]), values_of(WORDS[language])

    assert {name: translated[name] for name in original} == original


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


RESTAURANT = RestaurantInfo(
    "en",
    "Europe/Rome",
    "05:00",
    Currency("KWD"),
    {"dine_in": 300},
    {"dine_in": 600},
    [Place("kitchen", "/kitchen", Capability.TICKETS), Place("board", "/board", PUBLIC)],
)


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
        "/assets/{name}": ("/assets/base.css", "307"),
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
    ("address", "caching"),
    [
        ("/board", "no-cache"),
        ("/docs", "no-cache"),
        ("/assets/base.css", IMMUTABLE),
        ("/assets/restaurant.js", IMMUTABLE),
        ("/docs/docs.js", IMMUTABLE),
    ],
)
@pytest.mark.parametrize("known_as", ["{}", "W/{}", '"another", {}'])
async def test_unchanged_file_is_answered_with_304(
    client: httpx.AsyncClient, address: str, caching: str, known_as: str
) -> None:
    """A weak ETag, as a compressing proxy makes it, is answered with 304 too."""
    first = await client.get(address, follow_redirects=True)
    address, tag = first.url.path, first.headers["etag"]

    again = await client.get(address, headers={"If-None-Match": known_as.format(tag)})
    other = await client.get(address, headers={"If-None-Match": '"another"'})

    assert first.headers["cache-control"] == caching
    policy = first.headers["content-security-policy"]  # of the page that the browser has stored
    assert again.headers.get("content-security-policy", policy) == policy
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert (other.status_code, other.content) == (200, first.content)


async def test_content_is_compressed_for_clients_that_read_gzip(client: httpx.AsyncClient) -> None:
    """Each encoding has a tag of its own, and a cache learns that there are two."""
    for address in ("/board", "/assets/base.css", "/docs/swagger-ui-bundle.js"):
        compressed = await client.get(
            address, headers={"Accept-Encoding": "br, gzip"}, follow_redirects=True
        )
        plain = await client.get(compressed.url.path, headers={"Accept-Encoding": "gzip;q=0"})

        assert compressed.headers["content-encoding"] == "gzip"
        assert "content-encoding" not in plain.headers
        assert compressed.content == plain.content
        assert int(compressed.headers["content-length"]) < len(plain.content)
        assert int(plain.headers["content-length"]) == len(plain.content)
        assert compressed.headers["etag"] != plain.headers["etag"]
        assert compressed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        (None, False),
        ("", False),
        ("br, deflate", False),
        ("GZIP", True),
        ("br;q=1.0, gzip;q=0.8", True),
        ("gzip ; q=0.000", False),
        ("xgzip", False),
    ],
)
def test_gzip_is_sent_if_the_client_accepts_it(header: str | None, *, accepted: bool) -> None:
    assert accepts_gzip(header) is accepted


async def test_page_loads_one_file_of_modules_and_one_of_styles(client: httpx.AsyncClient) -> None:
    page = (await client.get("/board")).text

    loaded = re.findall(r'(?:src|href)="(/assets/[^"]+\.(?:js|css))"', page)
    assert [re.sub("/[0-9a-f]{16}/", "/HASH/", each) for each in loaded] == [
        "/assets/HASH/board.page.css",
        "/assets/HASH/old-browser.js",
        "/assets/HASH/restaurant.js",
        "/assets/HASH/board.page.js",
    ]
    module = (await client.get(loaded[3])).text
    assert "class LiveView" in module
    other_files = re.findall("^(?:import|export).*", module, re.MULTILINE)
    assert [re.sub(r"\d+", "N", each) for each in other_files] == [
        'import * as $modulesN from "./restaurant.js";'
    ]


async def test_address_of_another_release_leads_to_the_current_file(
    client: httpx.AsyncClient,
) -> None:
    """During an upgrade, a page of the old release may ask a process of the new one."""
    for address in ("/assets/0123456789abcdef/board.page.js", "/assets/board.page.js"):
        answer = await client.get(address)

        assert answer.status_code == 307
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["location"] in (await client.get("/board")).text


async def test_addresses_of_files_change_with_what_they_contain() -> None:
    def address(files: Mapping[str, bytes]) -> str:
        return HashedFiles("/assets", files, {}).address("a.css")

    before = address({"a.css": b"a { top: 1px }", "b.css": b""})

    assert address({"b.css": b"", "a.css": b"a { top: 1px }"}) == before
    assert address({"a.css": b"a { top: 2px }", "b.css": b""}) != before
    assert address({"a.css": b"a { top: 1px }", "b.css": b" "}) != before


@pytest.mark.parametrize(
    ("address", "media_type"),
    [("/assets/base.css", "text/css"), ("/assets/live.js", "text/javascript")],
)
async def test_asset_has_its_media_type(
    client: httpx.AsyncClient, address: str, media_type: str
) -> None:
    answer = await client.get(address, follow_redirects=True)
    assert answer.headers["content-type"].split(";")[0] == media_type


@pytest.mark.parametrize("name", ["nothing.js", "..%2Fboard.html", "en.json"])
async def test_path_that_is_no_asset_gets_404(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.get(f"/assets/{name}")

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_restaurant_js_exports_the_settings_and_texts(
    client: httpx.AsyncClient,
) -> None:
    module = (await client.get("/assets/restaurant.js", follow_redirects=True)).text

    exported = dict(re.findall(r"^export const (\w+) = (.*);$", module, re.MULTILINE))
    assert {name: json.loads(value) for name, value in exported.items()} == {
        "language": "en",
        "timezone": "Europe/Rome",
        "businessDayStart": "05:00",
        "currency": {"code": "KWD", "decimals": 3},
        "agingSeconds": {"dine_in": 300},
        "lateSeconds": {"dine_in": 600},
        "places": [
            {"name": "kitchen", "path": "/kitchen", "requires": "tickets"},
            {"name": "board", "path": "/board", "requires": None},
        ],
        "texts": WORDS["en"],
    }


@pytest.mark.parametrize("language", ["tlh", "", "../assets/en"])
def test_language_without_texts_is_a_configuration_error(language: str) -> None:
    """The error for an unknown language lists those that exist."""
    with pytest.raises(ConfigurationError, match=r"language: .* choose from de, en, es\."):
        Pages(RestaurantInfo(language, "UTC", "00:00", NO_CURRENCY, {}, {}))


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


@pytest.mark.parametrize("encoding", [[], [(b"accept-encoding", b"gzip")]])
async def test_large_content_is_sent_in_chunks(encoding: list[tuple[bytes, bytes]]) -> None:
    """For a client that reads slowly, the server has one chunk in memory, not all content."""
    request = Request({"type": "http", "method": "GET", "headers": encoding})
    noise = "".join(sha256(b"%d" % each).hexdigest() for each in range(5_000)).encode()
    content = StaticContent(noise, "text/plain")
    sent: list[Any] = []

    async def receive() -> dict[str, str]:
        await asyncio.Event().wait()
        return {}

    async def send(message: Any) -> None:  # noqa: ANN401 - as ASGI has it
        sent.append(message)

    response = await content.respond(request)
    await response(request.scope, receive, send)

    start, *parts = sent
    sizes = [len(part["body"]) for part in parts]
    assert (b"content-length", str(sum(sizes)).encode()) in start["headers"]
    assert max(sizes) == CHUNK_SIZE < sum(sizes)


@pytest.mark.parametrize(
    ("proxies", "names"),
    [
        ([], ["kitchen", "access"]),
        (["127.0.0.1"], ["counter", "kitchen", "board", "dashboard", "access"]),
    ],
)
async def test_navigation_has_other_services_only_behind_a_proxy(
    proxies: list[str], names: list[str]
) -> None:
    """Without one they have a port of their own, which a service does not know."""
    settings = Settings.model_validate({"security": {"trusted_proxies": proxies}})
    site = api.build("Screens", [pages_feature(settings, OF_KITCHEN_DISPLAY)])
    transport = httpx.ASGITransport(site.asgi)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        module = (await client.get("/assets/restaurant.js", follow_redirects=True)).text

    places = re.search(r"^export const places = (.*);$", module, re.MULTILINE)
    assert places is not None
    found = [each["name"] for each in json.loads(places[1])]
    assert [name for name in found if name not in {"orders", "pass"}] == names


BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


async def test_browser_gets_an_error_as_a_page(client: httpx.AsyncClient) -> None:
    answer = await client.get("/nothing", headers=BROWSER | {"X-Request-ID": "a<b>"})

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.headers["cache-control"] == "no-store"
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "<h1>There is no such page</h1>" in answer.text
    assert f"<code>{escape(answer.headers['x-request-id'])}</code>" in answer.text
    assert "${" not in answer.text
    assert "{{" not in answer.text
    for stylesheet in re.findall(r'href="(/assets/[^"]+\.css)"', answer.text):
        assert (await client.get(stylesheet)).status_code == 200


@pytest.mark.parametrize(
    "accept",
    [
        "*/*",
        "application/json",
        "application/json, text/html",
        "application/problem+json, text/html;q=0.9",
        "text/html;q=0",
        "text/html;q=x",
        "text/*",
        "",
    ],
)
async def test_program_gets_an_error_as_a_problem(client: httpx.AsyncClient, accept: str) -> None:
    answer = await client.get("/nothing", headers={"Accept": accept})

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_other_errors_are_pages_and_keep_their_header_fields() -> None:
    async def fail(_: Request) -> Response:
        raise errors.pop()

    errors: list[Exception] = [
        RuntimeError("secret"),
        NotAllowed("The role kitchen does not allow this."),
        DatabaseUnavailable("down"),
        Refusal(HTTPStatus.TOO_MANY_REQUESTS, ErrorText("Slow down."), retry_after=7),
        Refusal(HTTPStatus.BAD_REQUEST, ErrorText("Bad address.")),
    ]
    router = GuardedRouter()
    router.add_route("/fails", fail, methods=["GET"], requires=PUBLIC)
    router.add_route("/takes", fail, methods=["POST"], requires=PUBLIC)
    site = api.build("Screens", [Pages(RESTAURANT).feature({}), Feature(router)])
    transport = httpx.ASGITransport(site.asgi)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answers = [await client.get("/fails", headers=BROWSER) for _ in range(5)]
        method = await client.get("/takes", headers=BROWSER)
        posted = await client.post("/nothing", headers=BROWSER)

    titles = [
        (each.status_code, *re.findall("<h1>(.*)</h1>", each.text)) for each in (*answers, method)
    ]
    assert titles == [
        (400, "This cannot be shown"),
        (429, "Too many requests"),
        (503, "Not available at the moment"),
        (403, "You may not open this page"),
        (500, "Something went wrong"),
        (405, "This address is not a page"),
    ]
    assert answers[1].headers["retry-after"] == "7"
    assert '<meta http-equiv="refresh"' in answers[2].text
    assert "secret" not in answers[4].text
    assert method.headers["allow"] == "POST"
    assert posted.headers["content-type"] == "application/problem+json"


async def test_manifest_describes_the_page_at_its_address(client: httpx.AsyncClient) -> None:
    answer = await client.get("/manifest/kitchen?station=Grill%20%22A%22")

    manifest = answer.json()
    assert answer.headers["content-type"] == "application/manifest+json"
    assert manifest["name"] == 'Kitchen Grill "A"'
    assert manifest["start_url"] == manifest["id"] == "/kitchen?station=Grill%20%22A%22"
    for icon in manifest["icons"]:
        png = (await client.get(icon["src"])).content
        width, height = struct.unpack(">II", png[16:24])
        assert f"{width}x{height}" == icon["sizes"]
    assert {each["purpose"] for each in manifest["icons"]} == {"any", "maskable"}
    assert (await client.get("/manifest/nothing")).status_code == 404


@pytest.mark.parametrize("language", sorted(WORDS))
def test_menu_that_the_counter_shows_as_a_sample_is_valid(tmp_path: Path, language: str) -> None:
    file = tmp_path / "menu.yaml"
    file.write_text(WORDS[language]["counter"]["make_menu"]["sample"], encoding="utf-8")

    sections = read_menu(file, Currency("JPY")).sections

    assert [len(each.items) for each in sections] == [2, 1]


def test_both_copies_of_the_dark_colours_are_equal() -> None:
    """One is for devices in dark mode, the other for screens that are dark on every device."""
    styles = FOLDER.joinpath("assets", "base.css").read_text(encoding="utf-8")
    of_device, of_screen = (
        re.findall(r"--[a-z-]+: [^;]+;", re.search(pattern, styles)[1])  # type: ignore[index]
        for pattern in (
            r"@media \(prefers-color-scheme: dark\) {\s+:root {([^}]*)}",
            r"\n\.dark {([^}]*)}",
        )
    )

    assert len(of_device) > 10
    assert of_device == of_screen
