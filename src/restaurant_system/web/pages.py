"""Serve the screens: HTML pages, and the styles and JavaScript modules that they load.

A page's texts are filled in once, in the restaurant's language, when the service starts. From then
on it is static content, which the browser revalidates at each load. The modules of a page are
joined in one file, and its styles in another; both are kept by the browser until they change.
"""

import html
import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from restaurant_system import screens
from restaurant_system.errors import ConfigurationError
from restaurant_system.models.access import Capability
from restaurant_system.models.currency import Currency
from restaurant_system.web.api import Feature
from restaurant_system.web.bundles import bundle_modules, bundle_styles
from restaurant_system.web.error_pages import KINDS, OTHER, UNAVAILABLE, ErrorTemplates
from restaurant_system.web.guarded_router import PUBLIC, GuardedRouter
from restaurant_system.web.page_over_api import add_page_over_api
from restaurant_system.web.static_files import (
    ContentOnDemand,
    HashedFiles,
    StaticContent,
)

TEXT = re.compile(r"{{ ([a-z_.]+) }}")
PART = re.compile(r"{{> ([a-z-]+) }}\n")  # a file of the folder `parts`
COMPLETE_LANGUAGE = "en"  # whose texts every other language must have as well
LANGUAGE_TAG = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")  # BCP 47, as browsers use it
STYLES = re.compile(r' *<link rel="stylesheet" href="/assets/([^"]+)">\n')
MODULES = re.compile(r' *<script type="module" src="/assets/([^"]+)"></script>\n')
ASSET = re.compile(r'(?<=")/assets/([^"]+)(?=")')
HTML = "text/html; charset=utf-8"
OVER_API = frozenset({"/orders"})  # paths of pages at which there is an API, too
# The page that is shown instead of another one, if the address lacks the parameter.
INSTEAD = {"kitchen": ("station", "stations")}
RESTAURANT = "restaurant.js"  # the module that is generated; all pages share it

Texts = Mapping[str, Any]
PageRoute = tuple[str, Capability | None]  # the name of a page, and what it requires


@dataclass(frozen=True, slots=True)
class Place:
    """A page that the navigation links to, and what it requires; `None`: nothing."""

    name: str
    path: str
    requires: Capability | None


@dataclass(frozen=True, slots=True)
class RestaurantInfo:
    """The restaurant's settings that the screens need, such as language, currency and times.

    `timezone` is an IANA name, `business_day_start` a time such as 05:00; `aging_seconds` and
    `late_seconds` are the ages, by order type, from which a ticket is coloured; `places` are the
    links of the navigation.
    """

    language: str
    timezone: str
    business_day_start: str
    currency: Currency
    aging_seconds: Mapping[str, float]
    late_seconds: Mapping[str, float]
    places: Sequence[Place] = ()


class Pages:
    """The pages in one language; raises `ConfigurationError` if it has no texts."""

    def __init__(self, restaurant: RestaurantInfo) -> None:
        self._folder = files(screens)
        self._texts = texts_in(self._folder, restaurant.language)
        self._places = {each.name: each for each in restaurant.places}
        files_of_pages = {each.name: each for each in (self._folder / "assets").iterdir()}
        contents = {name: each.read_bytes() for name, each in files_of_pages.items()}
        generated = {RESTAURANT: _module(restaurant, self._texts).encode()}
        self._templates = {}
        for file in self._folder.iterdir():
            name, _, suffix = file.name.rpartition(".")
            if suffix == "html":
                template = _with_parts(self._folder, name)
                self._templates[name], bundles = _bundled(name, template, contents)
                generated |= bundles
        served = {
            name: ContentOnDemand(name, each.read_bytes) for name, each in files_of_pages.items()
        }
        joined = {
            name: ContentOnDemand(name, partial(bytes, content))
            for name, content in generated.items()
        }
        self._assets = HashedFiles("/assets", contents | generated, served | joined)

    def feature(self, pages: Mapping[str, PageRoute]) -> Feature:
        """Return the routes of these pages, by path, and of the files that they load.

        They come before the routes of an API, because some pages have the path of one.
        """
        router = GuardedRouter(include_in_schema=False)
        for path, (name, requires) in pages.items():
            if path in OVER_API:
                add_page_over_api(router, path, self.page(name), requires)
            else:
                router.add_route(path, self._responder(name), methods=["GET"], requires=requires)
        self._assets.add_routes(router, PUBLIC)
        router.add_route("/manifest/{place}", self._manifest, methods=["GET"], requires=PUBLIC)
        return Feature(router, error_pages=self._error_pages())

    def _responder(self, name: str) -> Callable[[Request], Awaitable[Response]]:
        page = self.page(name)
        if name not in INSTEAD:
            return page.respond
        parameter, instead = INSTEAD[name]
        other = self.page(instead)

        async def respond(request: Request) -> Response:
            shown = page if request.query_params.get(parameter) else other
            return await shown.respond(request)

        return respond

    def page(self, name: str) -> StaticContent:
        """Return a page with its texts and the addresses of its files filled in."""
        return StaticContent(self._filled_in(self._templates[name]).encode(), HTML)

    async def _manifest(self, request: Request) -> Response:
        """Describe a page for a home screen, with the query that it is opened with."""
        place = self._places.get(request.path_params["place"])
        if place is None:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        query, station = request.url.query, request.query_params.get("station", "")
        address = f"{place.path}?{query}" if query else place.path
        title = self._texts["account"]["place"][place.name]
        manifest = {
            "id": address,
            "start_url": address,
            "scope": "/",
            "name": f"{title} {station}".strip(),
            "lang": self._texts["language"],
            "display": "standalone",
            "theme_color": "#9a3412",
            "background_color": "#14161a",
            "icons": [
                {
                    "src": self._assets.address(f"icon{mask}-{size}.png"),
                    "type": "image/png",
                    "sizes": f"{size}x{size}",
                    "purpose": purpose,
                }
                for mask, purpose in (("", "any"), ("-maskable", "maskable"))
                for size in (192, 512)
            ],
        }
        content = StaticContent(json.dumps(manifest).encode(), "application/manifest+json")
        return await content.respond(request)

    def _error_pages(self) -> ErrorTemplates:
        error = self._templates["error"]
        kinds = {*KINDS.values(), OTHER}
        pages = {kind: self._filled_in(error.replace("${kind}", kind)) for kind in kinds}
        return pages | {UNAVAILABLE: self._filled_in(self._templates["unavailable"])}

    def _filled_in(self, template: str) -> str:
        page = _with_texts(template, self._texts)
        return ASSET.sub(lambda asset: self._assets.address(asset[1]), page)


def starting_page(language: str) -> ErrorTemplates:
    """Return the page of a service that is starting, which serves no files yet."""
    folder = files(screens)
    page = _with_texts(_with_parts(folder, "unavailable"), texts_in(folder, language))
    return {UNAVAILABLE: page}


def _with_parts(folder: Traversable, name: str) -> str:
    """Return the source of a page with the parts that it shares with other pages."""

    def part(name: str) -> str:
        return (folder / "parts" / f"{name}.html").read_text(encoding="utf-8").lstrip()

    source = (folder / f"{name}.html").read_text(encoding="utf-8")
    return PART.sub(lambda found: part(found[1]), source)


def _with_texts(template: str, texts: Texts) -> str:
    def text(path: str) -> str:
        found: Any = texts
        for part in path.split("."):
            found = found[part]
        return str(found)

    return TEXT.sub(lambda found: html.escape(text(found[1])), template)


def _bundled(
    page: str, template: str, contents: Mapping[str, bytes]
) -> tuple[str, Mapping[str, bytes]]:
    """Return a page that loads one file of styles and one of modules, and these files."""

    def read(name: str) -> str:
        return contents[name].decode()

    css, js = f"{page}.page.css", f"{page}.page.js"
    styles = bundle_styles(STYLES.findall(template), read)
    modules = bundle_modules(MODULES.findall(template), read, frozenset({RESTAURANT}))
    loads_styles = f'    <link rel="stylesheet" href="/assets/{css}">\n'
    # The first one loads what the second one imports, without waiting for that to be read.
    loads_modules = "".join(
        f'    <script type="module" src="/assets/{each}"></script>\n' for each in (RESTAURANT, js)
    )
    rewritten = _replaced(MODULES, loads_modules, _replaced(STYLES, loads_styles, template))
    return rewritten, {css: styles.encode(), js: modules.encode()}


def _replaced(pattern: re.Pattern[str], lines: str, template: str) -> str:
    """Replace all lines that match by others, in the position of the first one."""
    first = pattern.search(template)
    if first is None:
        return template
    rest = pattern.sub("", template)
    return rest[: first.start()] + lines + rest[first.start() :]


def texts_in(folder: Traversable, language: str) -> Texts:
    """Read the texts of a language; raises `ConfigurationError` if any is missing."""
    languages = dict(_languages(folder / "texts"))
    if language not in languages:
        known = ", ".join(sorted(languages))
        raise ConfigurationError(
            f"language: there are no texts in {language!r}; choose from {known}."
        )
    texts, complete = (_read(languages[each]) for each in (language, COMPLETE_LANGUAGE))
    missing = sorted(_names(complete) - _names(texts))
    if missing:
        raise ConfigurationError(f"language: {language}.json has no text {', '.join(missing)}.")
    return texts


def texts_by_language() -> dict[str, Texts]:
    """Read the texts of all languages, by their tags."""
    folder = files(screens)
    return {each: texts_in(folder, each) for each, _ in _languages(folder / "texts")}


def _languages(folder: Traversable) -> Iterator[tuple[str, Traversable]]:
    for file in folder.iterdir():
        name, dot, suffix = file.name.rpartition(".")
        if dot and suffix == "json" and LANGUAGE_TAG.fullmatch(name):
            yield name, file


def _read(file: Traversable) -> Texts:
    texts: Texts = json.loads(file.read_text(encoding="utf-8"))
    return texts


def _names(texts: Texts, prefix: str = "") -> set[str]:
    """Return the names of all texts; those with plural forms count as one text."""
    names: set[str] = set()
    for name, text in texts.items():
        if isinstance(text, Mapping) and "other" not in text:
            names |= _names(text, f"{prefix}{name}.")
        else:
            names.add(f"{prefix}{name}")
    return names


def _module(restaurant: RestaurantInfo, texts: Texts) -> str:
    """Return the JavaScript module `restaurant.js`."""
    constants = {
        "language": restaurant.language,
        "timezone": restaurant.timezone,
        "businessDayStart": restaurant.business_day_start,
        "currency": {"code": restaurant.currency.code, "decimals": restaurant.currency.decimals},
        "agingSeconds": dict(restaurant.aging_seconds),
        "lateSeconds": dict(restaurant.late_seconds),
        "places": [
            {"name": each.name, "path": each.path, "requires": each.requires}
            for each in restaurant.places
        ],
        "texts": texts,
    }
    return "".join(
        f"export const {name} = {json.dumps(value, ensure_ascii=False)};\n"
        for name, value in constants.items()
    )
