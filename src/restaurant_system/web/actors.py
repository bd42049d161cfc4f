"""Find out which person or program does something, so that it can be recorded."""

from starlette.requests import Request

from restaurant_system.models.access import Caller
from restaurant_system.models.audit import Actor
from restaurant_system.web.access_checks import CLIENT
from restaurant_system.web.access_control import caller_of


def actor(caller: Caller, client: str | None) -> Actor | None:
    """Return a signed-in person; `None` for a program, or without access control."""
    return None if caller.role is None else Actor(caller.name, caller.role, client)


def administrator_of(request: Request) -> Actor:
    """Return the person or program that administers; without a name if access is not controlled."""
    caller = caller_of(request)
    return Actor(caller.name, caller.role, request.scope[CLIENT])


def actor_of(request: Request) -> Actor | None:
    """Return the signed-in person who sends a request; `None` if it is not a person."""
    return actor(caller_of(request), request.scope[CLIENT])
