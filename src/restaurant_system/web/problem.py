"""Errors over HTTP: `application/problem+json`, RFC 9457, with the request's id."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from restaurant_system.errors import IllegalMove, KeyReused, OrderNotFound, Unavailable
from restaurant_system.logger import get_logger
from restaurant_system.web.faults import Fault, faults_of

log = get_logger()

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = "1"


class Refusal(Exception):
    """A request that cannot be served as it stands: a status, a sentence, and each fault."""

    def __init__(self, status: HTTPStatus, detail: str, faults: Sequence[Fault] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.faults = faults


def response_for(error: Exception, request_id: str) -> Response:
    """Turn any error into the answer that it deserves; what is not foreseen is logged and hidden."""
    match error:
        case Refusal():
            return _problem(request_id, error.status, error.detail, faults=error.faults)
        case RequestValidationError():
            return _problem(
                request_id,
                HTTPStatus.BAD_REQUEST,
                "The request breaks a rule.",
                faults=faults_of(error.errors(), skip=1),
            )
        case OrderNotFound():
            return _problem(request_id, HTTPStatus.NOT_FOUND, str(error))
        case IllegalMove():
            extra = {"current_status": error.current}
            return _problem(request_id, HTTPStatus.CONFLICT, str(error), extra=extra)
        case KeyReused():
            return _problem(request_id, HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
        case Unavailable():
            return _problem(
                request_id,
                HTTPStatus.SERVICE_UNAVAILABLE,
                "The system cannot take this now; try again, with the same Idempotency-Key.",
                headers={"Retry-After": RETRY_AFTER_SECONDS},
            )
        case HTTPException():
            status = HTTPStatus(error.status_code)
            return _problem(request_id, status, _explain(status), headers=error.headers)
        case _:
            log.error("request_failed", message="A request failed.", exc_info=error)
            detail = "Something went wrong on our side; the request id finds it in our logs."
            return _problem(request_id, HTTPStatus.INTERNAL_SERVER_ERROR, detail)


async def handle(request: Request, error: Exception) -> Response:
    """Answer for FastAPI, whose exception handlers look like this."""
    return response_for(error, request.scope["request_id"])


def _explain(status: HTTPStatus) -> str:
    match status:
        case HTTPStatus.NOT_FOUND:
            return "There is nothing at this address; /docs shows what there is."
        case HTTPStatus.METHOD_NOT_ALLOWED:
            return "This address does not take that method; /docs shows which it takes."
        case _:
            return status.description


def _problem(
    request_id: str,
    status: HTTPStatus,
    detail: str,
    *,
    faults: Sequence[Fault] = (),
    headers: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Response:
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": detail,
        "request_id": request_id,
        **(extra or {}),
    }
    if faults:
        content["errors"] = [{"field": fault.field, "message": fault.message} for fault in faults]
    body = json.dumps(content, ensure_ascii=False)
    return Response(body.encode("utf-8", "replace"), status, headers, MEDIA_TYPE)
