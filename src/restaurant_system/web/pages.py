"""Serve the screens: HTML pages, and the styles and JavaScript modules that they load.

A page's texts are filled in once, in the restaurant's language, when the service starts. From then
on it is static content, which the browser revalidates at each load.
"""

import html
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from restaurant_system import screens
from restaurant_system.errors import ConfigurationError
from restaurant_system.models.access import Capability
from restaurant_system.web.api import Feature
from restaurant_system.web.guarded_router import PUBLIC, GuardedRouter
from restaurant_system.web.static_files import PackageFiles, StaticContent

TEXT = re.compile(r"{{ ([a-z_.]+) }}")
COMPLETE_LANGUAGE = "en"  # whose texts every other language must have as well
LANGUAGE_TAG = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")  # BCP 47, as browsers use it
HTML = "text/html; charset=utf-8"
JAVASCRIPT = "text/javascript; charset=utf-8"

Texts = Mapping[str, Any]
PageRoute = tuple[str, Capability | None]  # the name of a page, and what it requires


@dataclass(frozen=True, slots=True)
class RestaurantInfo:
    """The restaurant's settings that the screens need: time zone, language, late times.

    `timezone` is an IANA name; `aging_seconds` and `late_seconds` are the ages, by order type, from
    which a ticket is coloured.
    """

    language: str
    timezone: str
    aging_seconds: Mapping[str, float]
    late_seconds: Mapping[str, float]


class Pages:
    """The pages in one language; raises `ConfigurationError` if it has no texts."""

    def __init__(self, restaurant: RestaurantInfo) -> None:
        self._folder = files(screens)
        self._texts = texts_in(self._folder, restaurant.language)
        self._restaurant = StaticContent(_module(restaurant, self._texts).encode(), JAVASCRIPT)

    def feature(self, pages: Mapping[str, PageRoute]) -> Feature:
        """Return the routes of these pages, by path, and of the files that they load."""
        router = GuardedRouter(include_in_schema=False)
        for path, (name, requires) in pages.items():
            respond = self.page(name).respond
            router.add_route(path, respond, methods=["GET"], requires=requires)
        for path, respond in (
            ("/assets/restaurant.js", self._restaurant.respond),
            ("/assets/{name}", PackageFiles("assets").respond),
        ):
            router.add_route(path, respond, methods=["GET"], requires=PUBLIC)
        return Feature(router)

    def page(self, name: str) -> StaticContent:
        """Return a page with its texts filled in."""
        template = (self._folder / f"{name}.html").read_text(encoding="utf-8")
        page = TEXT.sub(lambda text: html.escape(self._text(text[1])), template)
        return StaticContent(page.encode(), HTML)

    def _text(self, path: str) -> str:
        found: Any = self._texts
        for part in path.split("."):
            found = found[part]
        return str(found)


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
        "agingSeconds": dict(restaurant.aging_seconds),
        "lateSeconds": dict(restaurant.late_seconds),
        "texts": texts,
    }
    return "".join(
        f"export const {name} = {json.dumps(value, ensure_ascii=False)};\n"
        for name, value in constants.items()
    )
