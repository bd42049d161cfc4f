"""The HTTP route of the menu."""

from http import HTTPStatus

from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from restaurant_system.models.menu import NO_MENU, Menu
from restaurant_system.models.order import Money
from restaurant_system.services.order.menu_file import MenuSource
from restaurant_system.web.api import Feature
from restaurant_system.web.guarded_router import PUBLIC, GuardedRouter
from restaurant_system.web.json_body import JSON
from restaurant_system.web.openapi import PROBLEMS, header_parameter
from restaurant_system.web.static_files import StaticContent

KNOWN = header_parameter("If-None-Match", "The ETag of the menu that the client has")
ETAG = {"ETag": {"description": "Changes with the menu", "schema": {"type": "string"}}}


class _ResponseModel(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class MenuItemResponse(_ResponseModel):
    """An item on the menu, which can be ordered if it is available."""

    name: str
    price: Money
    available: bool


class MenuSectionResponse(_ResponseModel):
    """A named group of menu items."""

    name: str
    items: list[MenuItemResponse]


class MenuResponse(_ResponseModel):
    """The menu, in the order in which it is to be shown."""

    sections: list[MenuSectionResponse]


class MenuHandler:
    """Returns the current menu, or 304 to a client that has it."""

    def __init__(self, offer: MenuSource) -> None:
        self._offer = offer
        self._menu = NO_MENU
        self._page = _page(NO_MENU)

    def feature(self) -> Feature:
        """Return the route of the menu."""
        router = GuardedRouter(tags=["menu"])
        router.add_api_route(
            "/menu",
            self.menu,
            methods=["GET"],
            requires=PUBLIC,
            response_model=MenuResponse,
            summary="Get the menu",
            operation_id="menu",
            responses={
                HTTPStatus.OK: {"headers": ETAG},
                HTTPStatus.NOT_MODIFIED: {"description": "The client has this menu"},
                **PROBLEMS,
            },
            openapi_extra={"parameters": [KNOWN]},
        )
        return Feature(router)

    async def menu(self, request: Request) -> Response:
        """Return the menu, or that it has not changed."""
        menu = await self._offer()
        if menu is not self._menu:
            self._menu, self._page = menu, _page(menu)
        return await self._page.respond(request)


def _page(menu: Menu) -> StaticContent:
    return StaticContent(MenuResponse.model_validate(menu).model_dump_json().encode(), JSON)
