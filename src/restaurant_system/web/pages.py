"""Serve the screens: HTML pages, and the styles and JavaScript modules that they load.

A page's texts are filled in once, in the restaurant's language, when the service starts. From then
on it is a static file, which the browser revalidates at each load.
"""

import html
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from restaurant_system import screens
from restaurant_system.errors import ConfigurationError
from restaurant_system.web.api import Feature
from restaurant_system.web.static_file import HTML, JAVASCRIPT, StaticFile

TEXT = re.compile(r"{{ ([a-z_.]+) }}")
HOUSE = "house.js"
OUR_LANGUAGE = "en"  # which has all texts
LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")  # a tag of BCP 47, as browsers know them

Texts = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RestaurantInfo:
    """What the screens need to know of a restaurant.

    `timezone` is an IANA name; `aging_seconds` and `late_seconds` tell, by order type, from which
    age on a ticket is coloured.
    """

    language: str
    timezone: str
    aging_seconds: Mapping[str, float]
    late_seconds: Mapping[str, float]


class Pages:
    """The pages in one language; raises `ConfigurationError` when there are no texts in it."""

    def __init__(self, house: RestaurantInfo) -> None:
        self._folder = files(screens)
        self._texts = texts_in(self._folder, house.language)
        self._assets = {
            each.name: StaticFile.read(each) for each in (self._folder / "assets").iterdir()
        }
        self._assets[HOUSE] = StaticFile(_house(house, self._texts).encode(), JAVASCRIPT)

    def feature(self, pages: Mapping[str, str]) -> Feature:
        """Return the routes of these pages, by address, and of what they are made of."""
        router = APIRouter(include_in_schema=False)
        for address, name in pages.items():
            router.add_route(address, self.page(name).answer, methods=["GET"])
        router.add_route("/assets/{name}", self._answer_asset, methods=["GET"])
        return Feature(router)

    def page(self, name: str) -> StaticFile:
        """Return a page in this house's words."""
        template = (self._folder / f"{name}.html").read_text(encoding="utf-8")
        page = TEXT.sub(lambda text: html.escape(self._text(text[1])), template)
        return StaticFile(page.encode(), HTML)

    def _text(self, path: str) -> str:
        found: Any = self._texts
        for part in path.split("."):
            found = found[part]
        return str(found)

    def _answer_asset(self, request: Request) -> Response:
        page = self._assets.get(request.path_params["name"])
        if page is None:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        return page.answer(request)


def texts_in(folder: Traversable, language: str) -> Texts:
    """Read the words of a language, which must have them all."""
    languages = dict(_languages(folder / "texts"))
    if language not in languages:
        known = ", ".join(sorted(languages))
        raise ConfigurationError(
            f"language: there are no texts in {language!r}; choose from {known}."
        )
    texts, ours = (_read(languages[each]) for each in (language, OUR_LANGUAGE))
    missing = sorted(_names(ours) - _names(texts))
    if missing:
        raise ConfigurationError(f"language: {language}.json has no text {', '.join(missing)}.")
    return texts


def _languages(folder: Traversable) -> Iterator[tuple[str, Traversable]]:
    for file in folder.iterdir():
        name, dot, suffix = file.name.rpartition(".")
        if dot and suffix == "json" and LANGUAGE.fullmatch(name):
            yield name, file


def _read(file: Traversable) -> Texts:
    texts: Texts = json.loads(file.read_text(encoding="utf-8"))
    return texts


def _names(texts: Texts, before: str = "") -> set[str]:
    """Name all texts. The plural forms of one are a language's own affair, but for `other`."""
    names: set[str] = set()
    for name, text in texts.items():
        if isinstance(text, Mapping) and "other" not in text:
            names |= _names(text, f"{before}{name}.")
        else:
            names.add(f"{before}{name}")
    return names


def _house(house: RestaurantInfo, texts: Texts) -> str:
    """Write a module that tells a page's modules what this house is like."""
    stated = {
        "language": house.language,
        "timezone": house.timezone,
        "agingSeconds": dict(house.aging_seconds),
        "lateSeconds": dict(house.late_seconds),
        "texts": texts,
    }
    return "".join(
        f"export const {name} = {json.dumps(value, ensure_ascii=False)};\n"
        for name, value in stated.items()
    )
