"""Everything that this system can refuse or fail at.

RestaurantError
 ├── ConfigurationError      a setting is wrong                        exit 2
 ├── StartupError            a command cannot start, or go on          exit 1
 │    ├── Interrupted        a command was stopped before it was done
 │    ├── AlreadyRunning     another `up` has this data directory
 │    ├── WorkerNameTaken    a worker of this name is online
 │    ├── TooManyDeadLetters this process could not handle too many messages
 │    ├── DeadLetterNotFound   no dead letter, or more than one, has this id
 │    ├── DeadLettersInHand  somebody else has the dead letters in hand
 │    └── ConfirmationImpossible        a question, and no terminal to put it on
 ├── Unavailable             a part is away for now; try again later
 │    ├── DatabaseUnavailable
 │    │    ├── DatabaseTlsFailed  the line to it cannot be encrypted as it is to be
 │    │    └── DatabaseRefuses    it answers, but does not do what it should
 │    │         └── DatabaseReadOnly  it does not take writes
 │    ├── BrokerUnavailable
 │    │    ├── BrokerRefuses       it answers, but does not do what it should
 │    │    └── QueueTableUnavailable  the broker is the one in PostgreSQL
 │    └── Overloaded         more requests at once than allowed
 ├── OrderNotFound
 ├── IllegalMove             the order's status does not allow it
 │    └── TicketChanged            somebody else was faster
 ├── TooManyStations         as many stations are open as are allowed
 ├── IdempotencyKeyReused               an idempotency key came with another body
 └── MessageRejected         a message that can never succeed

The text of each is one sentence that a person can act on.
"""


class RestaurantError(Exception):
    """The base of every error that this system raises on purpose."""


class ConfigurationError(RestaurantError):
    """A setting is wrong or unknown; the text names it with its path."""


class StartupError(RestaurantError):
    """A command cannot start or go on; the text says what to do about it."""


class Interrupted(StartupError):
    """SIGINT or SIGTERM stopped a command before it was done, or a service before it started."""


class AlreadyRunning(StartupError):
    """Another process runs ``up`` on the same data directory."""


class WorkerNameTaken(StartupError):
    """A worker of this name is online."""


class TooManyDeadLetters(StartupError):
    """More messages than are allowed in a while could not be handled by this process."""


class DeadLetterNotFound(StartupError):
    """An id names no dead letter, or is the beginning of several."""


class DeadLettersInHand(StartupError):
    """Somebody else looks through the dead letters, or sends them back, just now."""

    def __init__(self) -> None:
        super().__init__("Somebody else is at the dead letters just now; try again in a moment.")


class ConfirmationImpossible(StartupError):
    """A command must ask before it acts, and there is no terminal to ask on."""


class Unavailable(RestaurantError):
    """A part is away for now; the same call may succeed later.

    `action` is the action of its log lines.
    """

    action = "db_connection_failed"


class DatabaseUnavailable(Unavailable):
    """PostgreSQL is unreachable, or refuses; a statement under way may have taken effect."""


class DatabaseTlsFailed(DatabaseUnavailable):
    """The line to PostgreSQL cannot be encrypted as it is to be; waiting does not mend that."""


class DatabaseRefuses(DatabaseUnavailable):
    """PostgreSQL answers, but refuses for reasons of its own: its disk is full, for example.

    `reason` names the kind of refusal alone, for everyone; the text adds the server's own words.
    """

    def __init__(self, reason: str, answer: str) -> None:
        super().__init__(f"{reason}: {answer}")
        self.reason = reason


class DatabaseReadOnly(DatabaseRefuses):
    """PostgreSQL does not take writes on this connection; another one may be able to write."""


class BrokerUnavailable(Unavailable):
    """The broker does not answer. Whether a message under way was taken is unknown."""

    action = "rabbitmq_connection_failed"


class BrokerRefuses(BrokerUnavailable):
    """The broker answers, but refuses: a queue exists with other arguments, for example.

    `reason` says what it refuses, for everyone; the text adds what to do about it.
    """

    def __init__(self, reason: str, cure: str) -> None:
        super().__init__(f"{reason}; {cure}.")
        self.reason = reason


class QueueTableUnavailable(BrokerUnavailable):
    """The broker in PostgreSQL does not answer: it is the database that is unavailable."""

    action = "db_connection_failed"


class Overloaded(Unavailable):
    """More requests are under way than this process takes on at once."""


class OrderNotFound(RestaurantError):
    """No order has this number."""

    def __init__(self, order_number: str) -> None:
        super().__init__(f"There is no order {order_number}.")
        self.order_number = order_number


class IllegalMove(RestaurantError):
    """The order stands in a status from which the move is not allowed."""

    def __init__(self, order_number: str, current: str, wanted: str) -> None:
        super().__init__(f"Order {order_number} is {current}, so it cannot become {wanted}.")
        self.order_number = order_number
        self.current = current
        self.wanted = wanted


class TicketChanged(IllegalMove):
    """A ticket is not any more as it was seen by whoever tapped on it."""

    def __init__(self, order_number: str, current: str, wanted: str, cook: str | None) -> None:
        super().__init__(order_number, current, wanted)
        self.cook = cook

    def __str__(self) -> str:
        at = f" at {self.cook}" if self.cook else ""
        return f"Somebody was faster: order {self.order_number} is {self.current}{at}."


class TooManyStations(RestaurantError):
    """As many stations are open as are allowed, and none of them gives its place to another."""

    def __init__(self, most: int) -> None:
        super().__init__(
            f"As many stations are open as kitchen_display.stations allows ({most}); close the"
            " screens of one, or raise that number."
        )


class IdempotencyKeyReused(RestaurantError):
    """An idempotency key was used before, with another body, or for an order that is put away."""


class MessageRejected(RestaurantError):
    """A message can never succeed: not JSON, breaks the schema, or names no order."""
