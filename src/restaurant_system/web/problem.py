"""Send errors as `application/problem+json` (RFC 9457), with the id of the request."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from restaurant_system.error_texts import ErrorText
from restaurant_system.errors import (
    BrokerUnavailable,
    DeadLetterNotFound,
    DeadLettersLocked,
    ErasedOrderRepeated,
    ErasureRefused,
    ExternalIdTaken,
    HandedOverAlready,
    IdempotencyKeyReused,
    IllegalMove,
    ItemNotFound,
    LastManager,
    NameTaken,
    NameUnknown,
    NotAllowed,
    NoTrackingLink,
    NotSignedIn,
    OrderCancelledBefore,
    OrderNotFound,
    OrderOfAnotherCustomer,
    Overloaded,
    RestaurantError,
    TicketChanged,
    TooManyAttempts,
    TooManyOrders,
    TooManyStations,
    Unavailable,
)
from restaurant_system.logger import get_logger
from restaurant_system.web.headers import IDEMPOTENCY_KEY, Headers, first_value
from restaurant_system.web.validation_errors import MAX_FIELD_ERRORS, FieldError, field_errors

log = get_logger()

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = "1"
TRY_AGAIN = ErrorText("The system cannot take this now; try again.", "service_unavailable")
TRY_AGAIN_WITH_KEY = TRY_AGAIN.with_text(
    "The system cannot take this now; try again with the same Idempotency-Key."
)
INTERNAL_ERROR = ErrorText(
    "Something went wrong on our side; the request id finds it in our logs.", "internal_error"
)
INVALID_REQUEST = ErrorText("The request breaks a rule.", "invalid_request")
INVALID_ADDRESS = INVALID_REQUEST.with_text("The address breaks a rule.")
INCOMPLETE = ErrorText("The request ended before it was complete.", "request_incomplete")
STATUSES = {
    OrderNotFound: HTTPStatus.NOT_FOUND,
    ItemNotFound: HTTPStatus.NOT_FOUND,
    IdempotencyKeyReused: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErasedOrderRepeated: HTTPStatus.CONFLICT,
    ExternalIdTaken: HTTPStatus.CONFLICT,
    NoTrackingLink: HTTPStatus.NOT_FOUND,
    OrderCancelledBefore: HTTPStatus.CONFLICT,
    NameTaken: HTTPStatus.CONFLICT,
    NameUnknown: HTTPStatus.NOT_FOUND,
    LastManager: HTTPStatus.CONFLICT,
    DeadLetterNotFound: HTTPStatus.NOT_FOUND,
    DeadLettersLocked: HTTPStatus.CONFLICT,
    OrderOfAnotherCustomer: HTTPStatus.CONFLICT,
    TooManyStations: HTTPStatus.CONFLICT,
    TooManyOrders: HTTPStatus.CONFLICT,
    ErasureRefused: HTTPStatus.CONFLICT,
}


class Refusal(Exception):
    """A request that is refused, with a status, a sentence, and the errors of its fields.

    At most `MAX_FIELD_ERRORS` of the errors are listed; the detail says how many more there are,
    with the `unlisted` ones that the caller has counted and left out. `retry_after` is in seconds.
    """

    def __init__(
        self,
        status: HTTPStatus,
        detail: ErrorText,
        errors: Sequence[FieldError] = (),
        *,
        unlisted: int = 0,
        retry_after: int | None = None,
    ) -> None:
        more = max(0, len(errors) - MAX_FIELD_ERRORS) + unlisted
        self.status = status
        if more:
            detail = detail.with_text(
                f"{detail} The first errors are listed, and {more} more exist."
            )
        self.detail = detail
        self.errors = errors[:MAX_FIELD_ERRORS]
        self.headers = None if retry_after is None else {"Retry-After": str(retry_after)}
        super().__init__(self.detail)


def response_for(error: Exception, request_id: str, request_headers: Headers = ()) -> Response:
    """Return the problem response for an error; log an unexpected error and hide its details.

    If `request_headers` have an Idempotency-Key, the text asks the client to repeat it.
    """
    extra = dict[str, Any]()
    detail = _text_of(error)
    errors: Sequence[FieldError] = ()
    headers: Mapping[str, str] | None = None
    match error:
        case Refusal():
            status, detail, errors = error.status, error.detail, error.errors
            headers = error.headers
        case RequestValidationError():
            found = field_errors(error.errors(), skip=1)
            refusal = Refusal(HTTPStatus.BAD_REQUEST, INVALID_REQUEST, found)
            status, detail, errors = refusal.status, refusal.detail, refusal.errors
        case ClientDisconnect():  # the response is not sent, and nothing is logged
            status, detail = HTTPStatus.BAD_REQUEST, INCOMPLETE
        case NotSignedIn() | NotAllowed() | TooManyAttempts():
            status, headers = _refusal_of_caller(error)
        case _ if type(error) in STATUSES:
            status = STATUSES[type(error)]
        case TicketChanged():
            status = HTTPStatus.CONFLICT
            extra = {"current_status": error.current, "processed_by": error.cook}
        case IllegalMove():
            status, extra = HTTPStatus.CONFLICT, {"current_status": error.current}
            extra |= {"handed_over": True} if isinstance(error, HandedOverAlready) else {}
        case Unavailable():
            status = HTTPStatus.SERVICE_UNAVAILABLE
            detail = (
                TRY_AGAIN
                if first_value(IDEMPOTENCY_KEY, request_headers) is None
                else TRY_AGAIN_WITH_KEY
            )
            headers = {"Retry-After": RETRY_AFTER_SECONDS}
            log.warning(_action(error), message=str(error))
        case HTTPException():
            status, headers = HTTPStatus(error.status_code), error.headers
            detail = _explain(status)
        case _:
            status, detail = HTTPStatus.INTERNAL_SERVER_ERROR, INTERNAL_ERROR
            log.error(
                "request_failed", message="An HTTP request failed: answered 500.", exc_info=error
            )
    return _problem(request_id, status, detail, errors=errors, headers=headers, extra=extra)


def _text_of(error: Exception) -> ErrorText:
    if isinstance(error, RestaurantError):
        return ErrorText(str(error), error.code, **error.params)
    return ErrorText(str(error))


async def handle(request: Request, error: Exception) -> Response:
    """Return the problem response for an error, as an exception handler of FastAPI."""
    return response_for(error, request.scope["request_id"], request.scope["headers"])


def _action(error: Unavailable) -> str:
    """Return the action under which an unavailable server is logged."""
    match error:
        case Overloaded():
            return "request_rejected"
        case BrokerUnavailable():
            return error.action
        case _:
            return "db_query_failed"


def _refusal_of_caller(
    error: NotSignedIn | NotAllowed | TooManyAttempts,
) -> tuple[HTTPStatus, Mapping[str, str] | None]:
    """Return the status and the headers of a response to a caller that is not accepted."""
    match error:
        case NotSignedIn():
            return HTTPStatus.UNAUTHORIZED, {"WWW-Authenticate": "Bearer"}
        case NotAllowed():
            return HTTPStatus.FORBIDDEN, None
        case TooManyAttempts():
            return HTTPStatus.TOO_MANY_REQUESTS, {"Retry-After": str(error.seconds)}


def _explain(status: HTTPStatus) -> ErrorText:
    match status:
        case HTTPStatus.NOT_FOUND:
            message = "There is nothing at this address; /docs shows what there is."
            return ErrorText(message, "no_such_address")
        case HTTPStatus.METHOD_NOT_ALLOWED:
            message = "This address does not take that method; /docs shows which it takes."
            return ErrorText(message, "method_not_allowed")
        case _:
            return ErrorText(status.description, "http_error")


def _problem(
    request_id: str,
    status: HTTPStatus,
    detail: ErrorText,
    *,
    errors: Sequence[FieldError],
    headers: Mapping[str, str] | None,
    extra: Mapping[str, Any],
) -> Response:
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": detail,
        "request_id": request_id,
        **extra,
        **detail.members,
    }
    if errors:
        content["errors"] = [
            {"field": each.field, "message": each.message, **each.message.members}
            for each in errors
        ]
    body = json.dumps(content, ensure_ascii=False)
    return Response(body.encode("utf-8", "replace"), status, headers, MEDIA_TYPE)
