"""Show a person an error as a page; programs get the problem as JSON."""

import html
from collections.abc import Mapping
from http import HTTPStatus

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from restaurant_system.web.headers import ACCEPT, CONTENT_TYPE, first_value, prefers_html
from restaurant_system.web.problem import MEDIA_TYPE
from restaurant_system.web.security_headers import PAGE_POLICY

OTHER = "refused"
UNAVAILABLE = "unavailable"
# The texts of an error, by its status.
KINDS = {
    HTTPStatus.UNAUTHORIZED: "not_allowed",
    HTTPStatus.FORBIDDEN: "not_allowed",
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method",
    HTTPStatus.TOO_MANY_REQUESTS: "too_many",
    HTTPStatus.INTERNAL_SERVER_ERROR: "failed",
    HTTPStatus.SERVICE_UNAVAILABLE: UNAVAILABLE,
}

REQUEST_ID = "${request_id}"  # in a template

ErrorTemplates = Mapping[str, str]  # pages by kind


class ErrorPages:
    """ASGI middleware that replaces the problem in a response by a page, if the client is a person.

    The status and the other header fields stay.
    """

    def __init__(self, app: ASGIApp, templates: ErrorTemplates) -> None:
        self._app = app
        self._templates = templates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request; show an error as a page if it is for one."""
        if scope["type"] == "http" and _is_for_person(scope):
            send = _ErrorPage(scope, send, self._templates).send
        await self._app(scope, receive, send)


class _ErrorPage:
    """The response to one request."""

    def __init__(self, scope: Scope, send: Send, templates: ErrorTemplates) -> None:
        self._scope = scope
        self._send = send
        self._templates = templates
        self._page: bytes | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and self._replaces(message):
            template = self._templates[_kind(message["status"])]
            request_id = html.escape(self._scope["request_id"])
            self._page = template.replace(REQUEST_ID, request_id).encode()
            headers = MutableHeaders(raw=list(message["headers"]))
            headers["Content-Type"] = "text/html; charset=utf-8"
            headers["Content-Length"] = str(len(self._page))
            headers["Content-Security-Policy"] = PAGE_POLICY
            message = {**message, "headers": headers.raw}
        elif self._page is not None:
            message = {**message, "body": self._page}
        await self._send(message)

    def _replaces(self, start: Message) -> bool:
        is_problem = first_value(CONTENT_TYPE, start.get("headers", ())) == MEDIA_TYPE.encode()
        return is_problem and _kind(start["status"]) in self._templates


def _kind(status: int) -> str:
    return KINDS.get(HTTPStatus(status), OTHER)


def _is_for_person(scope: Scope) -> bool:
    return scope["method"] == "GET" and prefers_html(first_value(ACCEPT, scope["headers"]))
