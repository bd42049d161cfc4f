"""The screens as they are sent: in words that exist, of parts that exist."""

import asyncio
import json
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
from restaurant_system.web import api
from restaurant_system.web.pages import Pages, RestaurantInfo, texts_in
from restaurant_system.web.static_file import PART, StaticFile

FOLDER = files(screens)
PLURAL_FORMS = {"zero", "one", "two", "few", "many", "other"}
IN_PAGES = re.compile(r"{{ (\S+) }}")
SAID = re.compile(r"""\btranslate\(\s*["'`]([^"'`]+)["'`]""")
QUOTED = re.compile(r"""["'`]([a-z_]+(?:\.(?:[a-z_]+|\$\{[^}]*\}))+)["'`]""")
FILLED_IN = re.compile(r"\\\$\\\{.*?\\\}")  # what a module puts into a name when it runs
ASSET = re.compile(r'"/assets/([^"]+)"')
IMPORTED = re.compile(r'^\s*import\b[^"]*"\./([^"]+)"', re.MULTILINE)
MADE_WHEN_IT_STARTS = {"house.js"}
WITHIN = re.compile(r"<script(?![^>]*\bsrc=)|<style|\son[a-z]+=|\sstyle=", re.IGNORECASE)


def texts(folder: Traversable, suffix: str) -> dict[str, str]:
    """Read the files of a kind, by name."""
    found = [each for each in folder.iterdir() if each.name.endswith(suffix)]
    return {each.name: each.read_text(encoding="utf-8") for each in found}


PAGES = texts(FOLDER, ".html")
MODULES = texts(FOLDER / "assets", ".js")
WORDS = {
    name.removesuffix(".json"): json.loads(text)
    for name, text in texts(FOLDER / "texts", ".json").items()
}


def names(words: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Name every text; one that is written once for each plural form is one text."""
    for name, value in words.items():
        if isinstance(value, str) or value.keys() <= PLURAL_FORMS:
            yield path + name
        else:
            yield from names(value, f"{path}{name}.")


ENGLISH = set(names(WORDS["en"]))


def meant_by(name: str) -> set[str]:
    """Return the texts that a name stands for: several, where a part is filled in when it runs."""
    pattern = re.compile(FILLED_IN.sub(r"[a-z0-9_]+", re.escape(name)))
    return {each for each in ENGLISH if pattern.fullmatch(each)}


def said() -> Iterator[tuple[str, str]]:
    """Collect the texts that are asked for by name, each with the file that asks."""
    for file, page in PAGES.items():
        yield from ((file, name) for name in IN_PAGES.findall(page))
    for file, module in MODULES.items():
        yield from ((file, name) for name in SAID.findall(module))


def test_every_text_that_is_asked_for_exists() -> None:
    """Neither a page nor a module asks for a text that there is none of."""
    missing = {(file, name) for file, name in said() if not meant_by(name)}

    assert len(list(said())) > 5
    assert missing == set()


def test_no_text_is_left_over() -> None:
    """Nobody translates what is shown nowhere."""
    asked_for = {name for _, name in said()}
    quoted = {name for module in MODULES.values() for name in QUOTED.findall(module)}

    used = set[str]().union(*(meant_by(name) for name in asked_for | quoted))

    assert used >= ENGLISH, sorted(ENGLISH - used)


@pytest.mark.parametrize("language", sorted(WORDS))
def test_a_language_says_everything(language: str) -> None:
    """A translation has every text, and states its own name."""
    assert set(names(WORDS[language])) == ENGLISH
    assert WORDS[language]["language"] == language


def test_every_part_of_a_page_exists() -> None:
    """What pages and modules load is there to be loaded."""
    loaded = {name for page in PAGES.values() for name in ASSET.findall(page)}
    loaded |= {name for module in MODULES.values() for name in IMPORTED.findall(module)}

    there = {each.name for each in (FOLDER / "assets").iterdir()} | MADE_WHEN_IT_STARTS
    assert loaded
    assert loaded <= there


@pytest.mark.parametrize("page", sorted(PAGES))
def test_no_page_has_scripts_or_styles_within(page: str) -> None:
    """A browser that keeps to our policy would not run them."""
    assert WITHIN.search(PAGES[page]) is None


A_HOUSE = RestaurantInfo("en", "Europe/Rome", {"dine_in": 300}, {"dine_in": 600})


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """Ask for pages."""
    pages = Pages(A_HOUSE).feature({"/board": "board", "/track/{order_number}": "track"})
    transport = httpx.ASGITransport(api.build("Screens", [pages]).asgi)
    async with httpx.AsyncClient(transport=transport, base_url="http://screens") as client:
        yield client


async def test_a_page_is_in_our_words_and_loads_nothing_from_elsewhere(
    client: httpx.AsyncClient,
) -> None:
    """Every gap is filled; the browser runs nothing but what we serve, in no other site's frame.

    Nor does it tell another site where it comes from, for the address has an order's number in it.
    """
    page = await client.get("/track/ORD_20241216_001")

    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"].split("; ")
    assert {"default-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"} <= set(policy)
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "same-origin"
    assert '<html lang="en">' in page.text
    assert "{{" not in page.text


async def test_a_text_is_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever signs a translation has, a page shows them as they are written."""
    words = WORDS["en"] | {"board": WORDS["en"]["board"] | {"title": 'Tom & "Ada" <b>'}}
    monkeypatch.setattr("restaurant_system.web.pages.texts_in", lambda *_: words)

    site = api.build("Screens", [Pages(A_HOUSE).feature({"/board": "board"})])
    transport = httpx.ASGITransport(site.asgi)
    async with httpx.AsyncClient(transport=transport, base_url="http://screens") as client:
        page = await client.get("/board")

    assert "<title>Tom &amp; &quot;Ada&quot; &lt;b&gt;</title>" in page.text


@pytest.mark.parametrize("address", ["/board", "/assets/base.css", "/assets/house.js"])
@pytest.mark.parametrize("known_as", ["{}", "W/{}", '"another", {}'])
async def test_what_has_not_changed_is_not_sent_again(
    client: httpx.AsyncClient, address: str, known_as: str
) -> None:
    """A browser that has it is told so, also where a proxy has packed it; others get all of it."""
    first = await client.get(address)
    tag = first.headers["etag"]

    again = await client.get(address, headers={"If-None-Match": known_as.format(tag)})
    other = await client.get(address, headers={"If-None-Match": '"another"'})

    assert first.headers["cache-control"] == "no-cache"
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert (other.status_code, other.content) == (200, first.content)


@pytest.mark.parametrize(
    ("address", "media_type"),
    [("/assets/base.css", "text/css"), ("/assets/live.js", "text/javascript")],
)
async def test_an_asset_is_sent_as_what_it_is(
    client: httpx.AsyncClient, address: str, media_type: str
) -> None:
    """A browser takes no module, and no style, for anything else."""
    assert (await client.get(address)).headers["content-type"].split(";")[0] == media_type


@pytest.mark.parametrize("name", ["nothing.js", "..%2Fboard.html", "en.json"])
async def test_an_asset_that_is_none(client: httpx.AsyncClient, name: str) -> None:
    """Nothing but the assets is at their addresses."""
    answer = await client.get(f"/assets/{name}")

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_modules_are_told_what_the_house_is_like(client: httpx.AsyncClient) -> None:
    """The zone, the ages from which tickets are coloured, and the texts."""
    stated = (await client.get("/assets/house.js")).text

    told = dict(re.findall(r"^export const (\w+) = (.*);$", stated, re.MULTILINE))
    assert {name: json.loads(value) for name, value in told.items()} == {
        "language": "en",
        "timezone": "Europe/Rome",
        "agingSeconds": {"dine_in": 300},
        "lateSeconds": {"dine_in": 600},
        "texts": WORDS["en"],
    }


@pytest.mark.parametrize("language", ["tlh", "", "../assets/en"])
def test_a_language_without_texts_is_a_wrong_setting(language: str) -> None:
    """Whoever asks for one is told which there are."""
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
def test_a_translation_that_lacks_a_text_is_a_wrong_setting(
    tmp_path: Path, words: dict[str, object], missing: str
) -> None:
    """Whoever has forgotten one is told which; plural forms are a language's own affair."""
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


async def test_large_file_is_sent_in_parts() -> None:
    """A client that reads nothing keeps no more than a part of it in memory."""
    content = bytes(range(256)) * 1_000
    request = Request({"type": "http", "headers": []})
    sent: list[Any] = []

    async def receive() -> dict[str, str]:
        await asyncio.Event().wait()
        return {}

    async def send(message: Any) -> None:  # noqa: ANN401 - as ASGI has it
        sent.append(message)

    await StaticFile(content, "text/plain").answer(request)(request.scope, receive, send)

    start, *parts = sent
    assert (b"content-length", b"256000") in start["headers"]
    assert b"".join(part["body"] for part in parts) == content
    assert max(len(part["body"]) for part in parts) == PART
