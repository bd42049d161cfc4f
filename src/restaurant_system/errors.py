"""The errors that this system raises on purpose.

RestaurantError
 ├── ConfigurationError             a setting is invalid                          exit 2
 ├── StartupError                   a command cannot start, or cannot continue    exit 1
 │    ├── Interrupted               a signal stopped a command before it was done
 │    ├── AlreadyRunning            another `up` uses this data directory
 │    ├── WorkerNameTaken           a worker of this name is online
 │    ├── TooManyDeadLetters        this process has dead-lettered too many messages
 │    ├── DeadLetterNotFound        no dead letter, or more than one, has this id
 │    ├── DeadLettersLocked         another process has the dead letters locked
 │    ├── ConfirmationImpossible    a question without a terminal to ask it on
 │    ├── Unguarded                 a service with access control and without users
 │    ├── NameTaken                 a user, an API key or a device has this name
 │    ├── NameUnknown               no user, API key or device has this name
 │    └── LastManager               the last manager is to be disabled
 ├── Unavailable                    a server is unavailable; try again later
 │    ├── DatabaseUnavailable
 │    │    ├── DatabaseTlsFailed    no connection with the configured encryption
 │    │    └── DatabaseRefuses      the server answers, but refuses
 │    │         ├── DatabaseReadOnly    it does not take writes
 │    │         └── PoolerUnsuitable    a pooler before it loses what a session needs
 │    ├── BrokerUnavailable
 │    │    ├── BrokerRefuses        the broker answers, but refuses
 │    │    └── QueueTableUnavailable    the broker is the one in PostgreSQL
 │    └── Overloaded                more concurrent requests than allowed
 ├── NotSignedIn                    the caller is unknown, and not everybody may do this
 │    ├── SignInFailed              a wrong name or password
 │    ├── PinWrong                  a wrong PIN
 │    ├── DeviceNotEnrolled         a PIN on a device that is not enrolled
 │    └── SignatureRefused          a message of a platform without its signature
 ├── NotAllowed                     the caller may not do this
 │    └── PinRefused                too many wrong PINs; sign in with the password
 ├── TooManyAttempts                too many wrong passwords or PINs; try again later
 ├── OrderNotFound
 ├── ItemNotFound                   a tap is on an item that the order does not have
 ├── NoTrackingLink                 the order has no tracking link, or not any more
 ├── ErasureRefused                 the database refuses to erase an order's personal data
 ├── OrderOfAnotherCustomer         an order has another customer's name
 ├── TooManyOrders                  a customer has more orders than one response takes
 ├── IllegalMove                    the order's status does not allow the move
 │    ├── ReadyOrderKept            a ready order is cancelled by people only, with a reason
 │    ├── NotReady                  only an order that is ready can be handed over or sent back
 │    ├── HandedOverAlready         an order that was handed over is to be changed otherwise
 │    ├── OrderChanged              the order has changed since it was shown
 │    ├── TooLateToUndo             the order has changed since what is to be undone
 │    ├── NotReleasable             the order is neither scheduled nor held
 │    ├── NotReleased               a tap is on an order that is scheduled or held
 │    ├── NotOfStation              a tap is on an order of a type that the station does not take
 │    └── TicketChanged             the ticket has changed since it was shown
 ├── TooManyStations                as many stations are open as allowed
 ├── IdempotencyKeyReused           a key was used before with another body
 ├── ExternalIdTaken                a channel's order id was used before with another body
 ├── ErasedOrderRepeated            a channel's order id was used for an order that was erased
 ├── OrderCancelledBefore           the order was cancelled before it arrived
 └── MessageRejected                a message that can never be processed

The text of each is a sentence that says what to do.
"""

import re
from typing import ClassVar

CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


class RestaurantError(Exception):
    """The base class of all errors that this system raises on purpose.

    `code` is the name of the class as a response has it (`OrderNotFound`: order_not_found);
    `params` are the values in the text that a page fills into its own.
    """

    code: ClassVar[str] = "restaurant_error"

    def __init_subclass__(cls) -> None:
        """Set the code of each class."""
        super().__init_subclass__()
        cls.code = CAPITAL.sub("_", cls.__name__).lower()

    def __init__(self, *args: object, **params: str | int) -> None:
        super().__init__(*args)
        self.params = params


class ConfigurationError(RestaurantError):
    """A setting is invalid or unknown; the text names it with its path."""


class StartupError(RestaurantError):
    """A command cannot start, or cannot continue; the text says what to do."""


class Interrupted(StartupError):
    """SIGINT or SIGTERM stopped a command before it was done, or a service before it started."""


class MigrationRefused(StartupError):
    """A migration cannot be applied to what the administrator has in the database."""

    def __init__(self, migration: str, reason: str) -> None:
        super().__init__(
            f"The database cannot be brought up to date by {migration}: {reason}."
            " The release before still works with it."
        )


class AlreadyRunning(StartupError):
    """Another process runs ``up`` on the same data directory."""


class WorkerNameTaken(StartupError):
    """A worker of this name is online."""


class TooManyDeadLetters(StartupError):
    """This process has dead-lettered more messages than the configured limit allows."""


class DeadLetterNotFound(StartupError):
    """No dead letter has this id, or several have an id that begins with it."""


class DeadLettersLocked(StartupError):
    """Another process reads, requeues or discards dead letters at the moment."""

    def __init__(self) -> None:
        super().__init__("Another command or request uses the dead letters; try again after it.")


class ConfirmationImpossible(StartupError):
    """A command needs confirmation, and there is no terminal to ask on."""


class Unguarded(StartupError):
    """A service that controls access has neither a user nor an API key that is enabled."""

    def __init__(self) -> None:
        super().__init__(
            "Other machines can reach this service, directly or by a proxy, and no user is enabled:"
            " add one with `restaurant-system users add NAME --role manager`, or enable an old one"
            " with `users reset NAME`, or set security.open to true if something in front of it"
            " controls access."
        )


class NameTaken(StartupError):
    """A user, an API key or a device has this name already."""


class NameUnknown(StartupError):
    """No user, API key or device has this name or id."""


class LastManager(StartupError):
    """The only manager who can sign in is to be disabled."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} is the last manager, and is not disabled: add another manager first.",
            name=name,
        )


class Unavailable(RestaurantError):
    """The database or the broker is unavailable; the same call may succeed later.

    `action` is the action under which it is logged.
    """

    action = "db_connection_failed"


class DatabaseUnavailable(Unavailable):
    """PostgreSQL is unreachable, or refuses; a statement in progress may have taken effect."""


class DatabaseTlsFailed(DatabaseUnavailable):
    """TLS to PostgreSQL fails as it is configured; trying again does not help."""


class DatabaseRefuses(DatabaseUnavailable):
    """PostgreSQL answers, but refuses, for example because its disk is full.

    `reason` names the kind of refusal and may be published; the text adds the server's message.
    """

    def __init__(self, reason: str, answer: str) -> None:
        super().__init__(f"{reason}: {answer}")
        self.reason = reason


class DatabaseReadOnly(DatabaseRefuses):
    """This connection to PostgreSQL cannot write; another connection may be able to."""


class PoolerUnsuitable(DatabaseRefuses):
    """A pooler before PostgreSQL loses what a session needs; trying again does not help."""

    def __init__(self, reason: str, cure: str) -> None:
        super().__init__(reason, cure)
        self.args = (f"{reason}; {cure}",)


class BrokerUnavailable(Unavailable):
    """The broker does not answer; it may have taken a message that was being published."""

    action = "rabbitmq_connection_failed"


class BrokerRefuses(BrokerUnavailable):
    """The broker answers, but refuses, for example because a queue has other arguments.

    `reason` says what it refuses and may be published; the text adds `cure`, what to do.
    """

    def __init__(self, reason: str, cure: str) -> None:
        super().__init__(f"{reason}; {cure}.")
        self.reason = reason
        self.cure = cure


class QueueTableUnavailable(BrokerUnavailable):
    """The broker in PostgreSQL is unavailable because the database is."""

    action = "db_connection_failed"


class Overloaded(Unavailable):
    """This process already serves as many concurrent requests as allowed."""


class NotSignedIn(RestaurantError):
    """The caller is unknown, or its session or API key is not valid any more."""

    def __init__(
        self,
        text: str = "Sign in at /sign-in, or send an API key as `Authorization: Bearer KEY`.",
    ) -> None:
        super().__init__(text)


class SignInFailed(NotSignedIn):
    """There is no such user, or the password is wrong; the text does not say which."""

    def __init__(self) -> None:
        super().__init__("The name or the password is wrong; try again, or ask a manager.")


class PinWrong(NotSignedIn):
    """There is no such user, or the PIN is wrong; the text does not say which."""

    def __init__(self) -> None:
        super().__init__("The name or the PIN is wrong; try again, or sign in with the password.")


class DeviceNotEnrolled(NotSignedIn):
    """A PIN was sent from a device that is not enrolled, or not any more."""

    def __init__(self) -> None:
        super().__init__(
            "This device is not enrolled, so that a PIN is not accepted; sign in with the password."
        )


class SignatureRefused(NotSignedIn):
    """A message of an ordering platform has no signature, or a wrong or an old one."""


class NotAllowed(RestaurantError):
    """The caller is known, and may not do this."""


class PinRefused(NotAllowed):
    """There were too many wrong PINs for this person."""

    def __init__(self) -> None:
        super().__init__(
            "There were too many wrong PINs. Sign in once with the password, or ask a manager for a"
            " new PIN."
        )


class TooManyAttempts(RestaurantError):
    """Too many wrong passwords or PINs were sent; `seconds` until the next try."""

    def __init__(self, seconds: int, secrets: str = "passwords") -> None:
        super().__init__(f"Too many wrong {secrets}; try again in {seconds} s.", seconds=seconds)
        self.seconds = seconds


class OrderNotFound(RestaurantError):
    """No order has this number."""

    def __init__(self, order_number: str) -> None:
        super().__init__(f"There is no order {order_number}.", order_number=order_number)
        self.order_number = order_number


class NoTrackingLink(RestaurantError):
    """An order has no tracking link: it is older than these, or its personal data was erased."""

    def __init__(self, order_number: str) -> None:
        super().__init__(
            f"Order {order_number} has no tracking link (any more): its customer can follow it by"
            " its number.",
            order_number=order_number,
        )


class ErasureRefused(RestaurantError):
    """A constraint or trigger of the operator's own refuses to erase personal data."""

    def __init__(self, refusal: str) -> None:
        super().__init__(
            f"PostgreSQL refuses to erase personal data ({refusal}); change the constraint or"
            " trigger that refuses it, then erase again."
        )


class OrderOfAnotherCustomer(RestaurantError):
    """An order does not have the name or the phone that it was selected with."""

    def __init__(self, order_number: str) -> None:
        super().__init__(
            f"Order {order_number} does not have this name or phone, or is erased already; nothing"
            " was changed. Check the number, or leave out the name and the phone.",
            order_number=order_number,
        )


class TooManyOrders(RestaurantError):
    """A customer has more orders than are exported in one response."""

    def __init__(self, count: int, most: int) -> None:
        super().__init__(
            f"There are {count} orders in this name, more than the {most} that a response takes;"
            " name some by their numbers, or use `restaurant-system privacy export`.",
            count=count,
            most=most,
        )


class IllegalMove(RestaurantError):
    """The status of the order does not allow this move."""

    def __init__(self, order_number: str, current: str, wanted: str, **params: str) -> None:
        super().__init__(
            f"Order {order_number} is {current}, so it cannot become {wanted}.",
            order_number=order_number,
            current_status=current,
            **params,
        )
        self.order_number = order_number
        self.current = current
        self.wanted = wanted


class ReadyOrderKept(IllegalMove):
    """An order that is ready is to be cancelled by a program, or without a reason."""

    def __str__(self) -> str:
        return (
            f"Order {self.order_number} is {self.current}: only a person can cancel it now, and"
            " says why. Send `reason`, and, with an API key, in `changed_by` who cancels it."
        )


class NotReady(IllegalMove):
    """An order that is not ready is to be handed over, marked as not fetched or sent back."""

    def __str__(self) -> str:
        return (
            f"Order {self.order_number} is {self.current}: only an order that is ready can be"
            f" {self.wanted}."
        )


class HandedOverAlready(IllegalMove):
    """An order that was handed over is to be changed in another way than by undoing that."""

    def __init__(self, order_number: str, wanted: str = "marked as not fetched") -> None:
        super().__init__(order_number, "ready", wanted)

    def __str__(self) -> str:
        return f"Order {self.order_number} was handed over: undo that first, while it is possible."


class OrderChanged(IllegalMove):
    """A ready order has changed since it was shown to the person who acts on it."""

    def __init__(self, order_number: str, current: str) -> None:
        super().__init__(order_number, current, "changed so")

    def __str__(self) -> str:
        return (
            f"Order {self.order_number} is {self.current}, but has changed since it was shown: look"
            " at it, and do it again."
        )


class TooLateToUndo(IllegalMove):
    """An act is to be undone after the time for that, or after the order has changed."""

    def __init__(self, order_number: str, current: str) -> None:
        super().__init__(order_number, current, "as it was")

    def __str__(self) -> str:
        return (
            f"Order {self.order_number} is {self.current} now, so that this cannot be undone any"
            " more."
        )


class NotReleasable(IllegalMove):
    """An order is neither scheduled nor held, so that there is nothing to release."""

    def __init__(self, order_number: str, current: str) -> None:
        super().__init__(order_number, current, "released")

    def __str__(self) -> str:
        if self.current == "received":
            return f"Order {self.order_number} is released already: it waits for a cook."
        return f"Order {self.order_number} is {self.current}, so it cannot be released."


class NotReleased(IllegalMove):
    """A scheduled or a held order is to be started or rushed by a tap before it is released."""

    def __init__(self, order_number: str, current: str, wanted: str, *, is_scheduled: bool) -> None:
        super().__init__(order_number, current, wanted)
        self._state = "scheduled for later" if is_scheduled else "held since an earlier day"

    def __str__(self) -> str:
        return (
            f"Order {self.order_number} is {self._state}: release it first, on the dashboard;"
            " then it comes to the stations."
        )


class NotOfStation(IllegalMove):
    """A station is to rush a waiting order of a type that it does not take."""

    def __init__(self, order_number: str, current: str, wanted: str, station: str) -> None:
        super().__init__(order_number, current, wanted, station=station)
        self._station = station

    def __str__(self) -> str:
        return (
            f"Station {self._station} does not take orders of the type of {self.order_number}:"
            " rush it at a station that does."
        )


class ItemNotFound(RestaurantError):
    """A tap is on the position of an item that the order does not have."""

    def __init__(self, order_number: str, item: int) -> None:
        super().__init__(
            f"Order {order_number} has no item {item}; the first item of an order is item 0.",
            order_number=order_number,
            item=item,
        )


class TicketChanged(IllegalMove):
    """A ticket has changed since it was shown to the person who tapped on it."""

    def __init__(self, order_number: str, current: str, wanted: str, cook: str | None) -> None:
        super().__init__(order_number, current, wanted)
        self.cook = cook

    def __str__(self) -> str:
        at = f" at {self.cook}" if self.cook else ""
        return f"The ticket has changed: order {self.order_number} is now {self.current}{at}."


class TooManyStations(RestaurantError):
    """The maximum number of stations is open, and each of them has a screen or a started ticket.

    `setting` is the one that limits them, in all or for each client.
    """

    def __init__(self, setting: str, most: int) -> None:
        super().__init__(
            f"As many stations are open as kitchen_display.{setting} allows ({most}); close the"
            " screens of one, or raise that number.",
            most=most,
        )


class IdempotencyKeyReused(RestaurantError):
    """An idempotency key was used with another body, or for an order that has been deleted."""


class ExternalIdTaken(RestaurantError):
    """A channel's order id was used for an order with another body."""

    def __init__(self, order_number: str) -> None:
        super().__init__(
            f"This external_id is taken by order {order_number}, which is different; nothing was"
            " changed. To change that order, cancel it and send a new one with an id of its own.",
            order_number=order_number,
        )


class ErasedOrderRepeated(RestaurantError):
    """A channel's order id was used for an order whose personal data has been erased."""

    def __init__(self, order_number: str) -> None:
        super().__init__(
            f"This external_id was used for order {order_number}, whose data has been erased, so"
            " that a repetition cannot be distinguished from another order; nothing was stored."
            " Send a new order with an id of its own.",
            order_number=order_number,
        )


class OrderCancelledBefore(RestaurantError):
    """An order was cancelled, by its key or its channel's id, before it arrived."""

    def __init__(self) -> None:
        super().__init__(
            "This order was cancelled before it arrived, and will not be cooked. If it is wanted"
            " after all, send it as a new order, with a new id or Idempotency-Key."
        )


class MessageRejected(RestaurantError):
    """A message can never be processed: it is invalid, or its order does not exist."""


def primary_error(error: BaseException) -> BaseException:
    """Return the error to report: of a group the first `RestaurantError`, else the group itself."""
    known = error.subgroup(RestaurantError) if isinstance(error, BaseExceptionGroup) else None
    if known is None:
        return error
    first: BaseException = known
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first
