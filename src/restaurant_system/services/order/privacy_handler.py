"""The HTTP routes that export and erase a customer's personal data, as the commands `privacy` do.

The customer is named in the body, because addresses of requests are logged by proxies and kept in
the histories of browsers.
"""

from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, Field, StringConstraints, model_validator
from starlette.requests import Request

from restaurant_system.database.connection import Database
from restaurant_system.error_texts import ErrorText
from restaurant_system.messaging.broker import Broker
from restaurant_system.models.access import Capability
from restaurant_system.models.clock import utc_now
from restaurant_system.models.fields import StrictModel, invalid_value
from restaurant_system.models.order import ORDER_NUMBER, is_order_number
from restaurant_system.models.privacy import normalized_name, normalized_phone
from restaurant_system.services.order.dead_letter_requests import DeadLetterRequests
from restaurant_system.services.order.privacy import Customer, Erased, ErasurePlan, PersonalData
from restaurant_system.web.actors import administrator_of
from restaurant_system.web.api import Feature
from restaurant_system.web.guarded_router import GuardedRouter
from restaurant_system.web.json_body import read_body
from restaurant_system.web.openapi import PRIVACY_PROBLEMS, request_body

MAX_ORDERS = 500  # in one response, and in one request by their numbers
MAX_NAME_LENGTH = 200  # characters; a name may be typed in a longer form than it is stored


def _valid_name(name: str) -> str:
    if not normalized_name(name):
        raise invalid_value(ErrorText("must not be empty", "empty"))
    return name


def _valid_phone(phone: str) -> str:
    if not normalized_phone(phone):
        raise invalid_value(ErrorText("must have a digit", "no_digit"))
    return phone


def _valid_number(number: str) -> str:
    if not is_order_number(number):
        message = "is not an order number; use one such as ORD_20241216_001"
        raise invalid_value(ErrorText(message, "order_number_invalid"))
    return number


Number = Annotated[
    str,
    AfterValidator(_valid_number),
    Field(json_schema_extra={"pattern": f"^{ORDER_NUMBER.pattern}$"}),
]


class CustomerBody(StrictModel):
    """A customer by the whole name, by phone, by orders, or by several: an order must have all.

    The name may also be that of the person whose dish an item is, or the reference of an order.
    """

    customer_name: (
        Annotated[
            str,
            StringConstraints(min_length=1, max_length=MAX_NAME_LENGTH),
            AfterValidator(_valid_name),
        ]
        | None
    ) = None
    phone: (
        Annotated[
            str,
            StringConstraints(min_length=1, max_length=MAX_NAME_LENGTH),
            AfterValidator(_valid_phone),
        ]
        | None
    ) = Field(default=None, description="Only its digits count, without a leading + or 00")
    order_numbers: list[Number] = Field(default=[], max_length=MAX_ORDERS)

    @model_validator(mode="after")
    def _names_a_customer(self) -> Self:
        if self.customer_name is None and self.phone is None and not self.order_numbers:
            message = (
                "must name the customer by customer_name or phone, or orders by order_numbers, or"
                " several of these"
            )
            raise invalid_value(ErrorText(message, "customer_required"))
        return self

    def customer(self) -> Customer:
        """Return the customer, with each order once."""
        return Customer(self.customer_name, tuple(dict.fromkeys(self.order_numbers)), self.phone)


class ExportedLetter(BaseModel):
    """A dead letter about an order of the customer."""

    id: str
    first_seen: str
    reason: str
    body: str


class ExportResponse(BaseModel):
    """Everything that is stored about a customer; the orders have the columns of their tables."""

    exported_at: str
    orders: list[dict[str, Any]]
    dead_letters: list[ExportedLetter]


class ErasureResponse(BaseModel):
    """What was erased, and what was not.

    `erased` and `unfinished` are numbers of orders. An unfinished order keeps its data: complete or
    cancel it, and erase again. Unattributed dead letters contain no readable order or name, so that
    they may be about any customer.
    """

    erased: list[str]
    deleted_messages: int
    discarded_dead_letters: int
    unfinished: list[str]
    unattributed_dead_letters: int


class PrivacyHandler:
    """Exports and erases the personal data of one customer for managers."""

    def __init__(self, database: Database, broker: Broker, requests: DeadLetterRequests) -> None:
        self._database = database
        self._broker = broker
        self._requests = requests

    def feature(self) -> Feature:
        """Return the routes of personal data."""
        router = GuardedRouter(tags=["privacy"])
        for path, endpoint, summary in (
            ("export", self.export, "Everything that is stored about a customer"),
            ("erase", self.erase, "Erase a customer's name, phone, addresses and notes for good"),
        ):
            router.add_api_route(
                f"/privacy/{path}",
                endpoint,
                methods=["POST"],
                requires=Capability.ADMINISTER,
                summary=summary,
                operation_id=f"{path}_personal_data",
                responses=PRIVACY_PROBLEMS,
                openapi_extra=request_body(CustomerBody),
            )
        return Feature(router)

    async def export(self, request: Request) -> ExportResponse:
        """Return everything that is stored about the orders of a customer."""
        customer, personal_data = await self._read(request)
        exported = await self._requests.run_on_all(
            lambda: personal_data.export(customer, max_orders=MAX_ORDERS)
        )
        return ExportResponse.model_validate(exported)

    async def erase(self, request: Request) -> ErasureResponse:
        """Erase a customer; what an error or a crash leaves, the same request erases later."""
        customer, personal_data = await self._read(request)
        result = Erased()

        async def plan_and_erase() -> ErasurePlan:
            plan = await personal_data.plan(customer)
            await personal_data.erase(plan, result)
            return plan

        plan = await self._requests.run_on_all(plan_and_erase)
        return ErasureResponse(
            erased=result.orders,
            deleted_messages=result.messages,
            discarded_dead_letters=result.dead_letters.done,
            unfinished=[order.number for order in plan.unfinished],
            unattributed_dead_letters=plan.unattributed,
        )

    async def _read(self, request: Request) -> tuple[Customer, PersonalData]:
        """Return the customer that a request names, and the personal data for its caller."""
        body = await read_body(request, CustomerBody)
        personal_data = PersonalData(
            self._database,
            self._broker,
            clock=utc_now,
            by=administrator_of(request),
            request_id=request.scope["request_id"],
        )
        return body.customer(), personal_data
