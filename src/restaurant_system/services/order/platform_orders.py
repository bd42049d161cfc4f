"""Place and cancel orders that ordering platforms send."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from restaurant_system.errors import (
    ErasedOrderRepeated,
    ExternalIdTaken,
    IllegalMove,
    OrderCancelledBefore,
    SignatureRefused,
)
from restaurant_system.integrations.payload import Json, order_path, source_of
from restaurant_system.integrations.platform import (
    Nothing,
    OrderInvalid,
    PayloadInvalid,
    Platform,
    ReadOrder,
    interpret,
)
from restaurant_system.integrations.signatures import SignatureInvalid, verify
from restaurant_system.logger import get_logger
from restaurant_system.metrics import definitions as metrics
from restaurant_system.models.clock import Clock
from restaurant_system.models.currency import Currency
from restaurant_system.models.external_order import ExternalOrder
from restaurant_system.models.order import Move
from restaurant_system.services.order.service import NAME, OrderService, PlacedOrder
from restaurant_system.web.headers import Headers
from restaurant_system.web.json_body import read_any_json
from restaurant_system.web.problem import Refusal
from restaurant_system.web.validation_errors import FieldError

log = get_logger(NAME)


@dataclass(frozen=True, slots=True)
class CancelledOrder:
    """An order that its platform has cancelled; its number is `None` if it has not arrived."""

    order_number: str | None


class ConnectedPlatform:
    """A platform that is configured: it signs with one of its secrets, and its orders are taken."""

    def __init__(
        self,
        platform: Platform,
        secrets: Sequence[str],
        service: OrderService,
        *,
        currency: Currency,
        clock: Clock,
    ) -> None:
        self._platform = platform
        self._secrets = secrets
        self._service = service
        self._currency = currency
        self._clock = clock
        # Created here, so that its rate starts from 0.
        self._refused_orders = metrics.platform_orders_refused_total.labels(platform.name)

    @property
    def signature_header(self) -> str:
        """The name of the header field with the signature, in lower case."""
        return self._platform.signature.header

    def signature_in(self, values: Sequence[str]) -> str:
        """Return the signature in the values of its header; raises `SignatureRefused`."""
        if len(values) != 1:
            raise self._refused(f"The message must have one {self.signature_header}.")
        return values[0]

    def verify(self, signature: str, body: bytes) -> None:
        """Verify that the platform has sent a body; raises `SignatureRefused`."""
        try:
            verify(self._platform.signature, signature, body, self._secrets, now=self._clock())
        except SignatureInvalid as refusal:
            raise self._refused(str(refusal)) from None

    def parse(self, headers: Headers, body: bytes) -> Json:
        """Return the payload in a body that was verified; raises `Refusal`.

        A body that cannot be read is counted as an order, because it may be one.
        """
        try:
            return read_any_json(headers, body)
        except Refusal as refusal:
            reasons = [
                f"{each.field if each.is_known else 'a key'} {each.message}"
                for each in refusal.errors
            ]
            self._refused_orders.inc()
            self._log_refusal(", ".join(reasons) or refusal.detail)
            raise

    def _refused(self, reason: str) -> SignatureRefused:
        self._log_refusal(reason)
        return SignatureRefused(reason)

    def _log_refusal(self, reason: object) -> None:
        name = self._platform.name
        message = f"A message of {name} was refused: {reason}"
        log.warning("platform_message_refused", message=message, platform=name)

    def _report(self, external_id: str | None, fields: Sequence[str]) -> None:
        """Log and count an order that does not reach the kitchen, so that a person looks at it."""
        name = self._platform.name
        self._refused_orders.inc()
        log.warning(
            "integration_order_refused",
            message=f"An order of {name} was refused; its customer may have paid.",
            platform=name,
            external_id=external_id,
            fields=fields,
        )

    async def receive(
        self, payload: Json, *, request_id: str
    ) -> PlacedOrder | CancelledOrder | Nothing:
        """Place or cancel the order of a payload, which was verified.

        A payload that is sent again gets the result of the first one. Raises `PayloadInvalid`, and
        as `OrderService.place` and `cancel_external`.
        """
        name = self._platform.name
        try:
            match interpret(self._platform, payload, self._currency):
                case ReadOrder() as read:
                    return await self._place(read, request_id)
                case ExternalOrder() as order:
                    return await self._cancel(order, request_id)
                case Nothing() as nothing:
                    message = f"A message of {name} changes nothing: {nothing.reason}"
                    log.info("platform_message_ignored", message=message, platform=name)
                    return nothing
        except OrderInvalid as refusal:
            self._report(refusal.external_id, sorted({each.path for each in refusal.faults}))
            raise
        except PayloadInvalid as refusal:
            message = f"A message of {name} was refused: the platform must change its contents."
            fields = sorted({each.path for each in refusal.faults})
            log.warning("validation_failed", message=message, platform=name, fields=fields)
            raise
        except (ErasedOrderRepeated, ExternalIdTaken, OrderCancelledBefore, IllegalMove) as refusal:
            self._log_refusal(refusal)
            raise

    async def _place(self, read: ReadOrder, request_id: str) -> PlacedOrder:
        """Place an order; a refusal by the menu names the fields of the payload."""
        try:
            return await self._service.place(
                read.order, request_id=request_id, key=None, ignore_payment=True
            )
        except Refusal as refusal:
            errors = [
                FieldError(source_of(order_path(each.field), read.sources), each.message)
                for each in refusal.errors
            ]
            self._report(read.order.external_id, sorted({each.field for each in errors}))
            raise Refusal(refusal.status, refusal.detail, errors) from None

    async def _cancel(self, order: ExternalOrder, request_id: str) -> CancelledOrder:
        move = Move(changed_by=self._platform.name)
        number = await self._service.cancel_external(order, move, request_id=request_id)
        return CancelledOrder(number)


ConnectedPlatforms = Mapping[str, ConnectedPlatform]
