"""What a platform is, and what its payloads mean: an order, a cancellation, or nothing to do."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError

from restaurant_system.integrations.draft import Draft
from restaurant_system.integrations.fitting import fit
from restaurant_system.integrations.payload import (
    Fault,
    FieldPath,
    Json,
    Node,
    Sourced,
    plain_values,
    source_of,
)
from restaurant_system.integrations.signatures import Signature
from restaurant_system.models.currency import Currency
from restaurant_system.models.external_order import ExternalOrder
from restaurant_system.models.order import NewOrder
from restaurant_system.validation_messages import message_of

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class OrderDraft:
    """The fields of an order besides its channel, whose leaves may be `Sourced`."""

    fields: Draft


@dataclass(frozen=True, slots=True)
class CancellationDraft:
    """The id of the order that the platform cancels."""

    external_id: Sourced


@dataclass(frozen=True, slots=True)
class Nothing:
    """A payload after which nothing is to be done, and why."""

    reason: str


class ReadOrder(NamedTuple):
    """An order of a platform, and the path in its payload of each value by that in the order."""

    order: NewOrder
    sources: Mapping[FieldPath, str]


Meaning: TypeAlias = OrderDraft | CancellationDraft | Nothing
Read: TypeAlias = Callable[[Node, Currency], Meaning]


@dataclass(frozen=True, slots=True)
class Platform:
    """An ordering platform: its name, how it signs, and how its payload is read.

    The name is the channel of its orders.
    """

    name: str
    signature: Signature
    read: Read


class PayloadInvalid(Exception):
    """A payload that cannot become an order; all its faults, with their paths in the payload."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(f"{len(faults)} faults")
        self.faults = faults


class OrderInvalid(PayloadInvalid):
    """An order that cannot be stored; its id at the platform, `None` if that is at fault, too."""

    def __init__(self, faults: list[Fault], external_id: Sourced) -> None:
        super().__init__(faults)
        is_at_fault = any(each.path == external_id.source for each in faults)
        self.external_id: str | None = None if is_at_fault else external_id.value


def interpret(
    platform: Platform, payload: Json, currency: Currency
) -> ReadOrder | ExternalOrder | Nothing:
    """Return what a payload means: an order, or one that is cancelled; raises `PayloadInvalid`.

    An order is made to fit our limits (see `fitting`); one that cannot is `OrderInvalid`.
    """
    root = Node(payload)
    if not isinstance(payload, dict):
        root.add_fault("must be an object")
        raise PayloadInvalid(root.faults)
    match platform.read(root, currency):
        case OrderDraft(fields):
            draft = {**fit(fields, currency), "channel": platform.name}
            try:
                return ReadOrder(*_validated(NewOrder, draft, root.faults, currency))
            except PayloadInvalid as refusal:
                raise OrderInvalid(refusal.faults, fields["external_id"]) from None
        case CancellationDraft(external_id):
            identity: Draft = {"channel": platform.name, "external_id": external_id}
            return _validated(ExternalOrder, identity, root.faults, currency)[0]
        case Nothing() as nothing:
            if root.faults:
                raise PayloadInvalid(root.faults)
            return nothing


def _validated(
    model: type[M], draft: Draft, faults: list[Fault], currency: Currency
) -> tuple[M, Mapping[FieldPath, str]]:
    """Return a draft as a model, and its sources; raises `PayloadInvalid`, also for `faults`."""
    values, sources = plain_values(draft)
    try:
        valid = model.model_validate(values, context=currency)
    except ValidationError as error:
        known = {each.path for each in faults}
        found = [each for each in _faults_in(error, sources) if each.path not in known]
        raise PayloadInvalid(faults + found) from None
    if faults:
        raise PayloadInvalid(faults)
    return valid, sources


def _faults_in(error: ValidationError, sources: Mapping[FieldPath, str]) -> list[Fault]:
    """Return the faults of an order, each with the path in the payload from which it comes.

    A list with invalid entries is not reported as too short, too: pydantic counts the valid ones.
    """
    errors = error.errors(include_url=False, include_input=False)
    paths = [tuple(each["loc"]) for each in errors]
    return [
        Fault(source_of(path, sources), message_of(each))
        for each, path in zip(errors, paths, strict=True)
        if each["type"] != "too_short" or not any(_is_inside(other, path) for other in paths)
    ]


def _is_inside(path: FieldPath, outer: FieldPath) -> bool:
    return len(path) > len(outer) and path[: len(outer)] == outer
