"""`GET /docs`: the API documentation, which needs nothing from the internet."""

import functools
from importlib.resources import files

from fastapi import APIRouter

from restaurant_system.screens import docs
from restaurant_system.web.static_file import StaticFile

PAGE = "docs.html"
PARTS = ("docs.js", "swagger-ui.css", "swagger-ui-bundle.js")


def routes() -> APIRouter:
    """Return the routes of the page and of the files that it loads."""
    router = APIRouter(include_in_schema=False)
    router.add_route("/docs", _read(PAGE).answer, methods=["GET"])
    for name in PARTS:
        router.add_route(f"/docs/{name}", _read(name).answer, methods=["GET"])
    return router


@functools.cache
def _read(name: str) -> StaticFile:
    return StaticFile.read(files(docs) / name)
