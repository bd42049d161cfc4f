"""The menu over HTTP."""

from http import HTTPStatus

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from restaurant_system.models.menu import NO_MENU, Menu
from restaurant_system.models.order import Money
from restaurant_system.services.order.menu_file import MenuSource
from restaurant_system.web.api import Feature
from restaurant_system.web.body import JSON
from restaurant_system.web.openapi import PROBLEMS, header_parameter
from restaurant_system.web.static_file import StaticFile

KNOWN = header_parameter("If-None-Match", "The ETag of the menu that is known already")
ETAG = {"ETag": {"description": "Another one for another menu", "schema": {"type": "string"}}}


class _Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class MenuItemAnswer(_Answer):
    """What may be ordered, if it is available."""

    name: str
    price: Money
    available: bool


class MenuSectionAnswer(_Answer):
    """Items that belong together."""

    name: str
    items: list[MenuItemAnswer]


class MenuAnswer(_Answer):
    """All that is offered, in the order in which it is to be shown."""

    sections: list[MenuSectionAnswer]


class MenuHandler:
    """Answers what is on the menu now; whoever knows it already is told so."""

    def __init__(self, offer: MenuSource) -> None:
        self._offer = offer
        self._menu = NO_MENU
        self._page = _page(NO_MENU)

    def feature(self) -> Feature:
        """Return the route."""
        router = APIRouter(tags=["menu"])
        router.add_api_route(
            "/menu",
            self.menu,
            methods=["GET"],
            response_model=MenuAnswer,
            summary="What is offered",
            operation_id="menu",
            responses={
                HTTPStatus.OK: {"headers": ETAG},
                HTTPStatus.NOT_MODIFIED: {"description": "It is the one that is known already"},
                **PROBLEMS,
            },
            openapi_extra={"parameters": [KNOWN]},
        )
        return Feature(router)

    async def menu(self, request: Request) -> Response:
        """Answer with the menu, or that it has not changed."""
        menu = await self._offer()
        if menu is not self._menu:
            self._menu, self._page = menu, _page(menu)
        return self._page.answer(request)


def _page(menu: Menu) -> StaticFile:
    return StaticFile(MenuAnswer.model_validate(menu).model_dump_json().encode(), JSON)
