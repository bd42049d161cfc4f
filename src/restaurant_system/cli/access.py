"""The commands `users` and `api-keys`: `add`, `list`, `disable` and `reset` of each."""

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from restaurant_system.cli.options import Config, LogFormat
from restaurant_system.cli.running import complete, load
from restaurant_system.errors import ConfigurationError

if TYPE_CHECKING:
    from restaurant_system.models.access import Capability, Role
    from restaurant_system.services.access.administration import ApiKeys, Users
    from restaurant_system.shutdown import Shutdown

T = TypeVar("T")

users_cli = typer.Typer(
    help="Add, list, disable and reset the people who may sign in.", no_args_is_help=True
)
keys_cli = typer.Typer(
    help="Add, list, disable and reset the keys of programs.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name, in upper or lower case.")]
RoleName = Annotated[
    str,
    typer.Option("--role", metavar="ROLE", help="What the person may do: kitchen, staff, manager."),
]
Scopes = Annotated[
    list[str],
    typer.Option(
        "--scope",
        metavar="SCOPE",
        help="What the program may do; repeatable: place_orders, tickets, read_orders,"
        " move_orders, metrics, administer.",
    ),
]
Generate = Annotated[
    bool, typer.Option("--generate", help="Generate the password or the PIN, and print it.")
]
NewPin = Annotated[
    bool, typer.Option("--pin", help="Set the PIN for enrolled devices, not the password.")
]


@users_cli.command("add")
def add_user(
    name: Name,
    *,
    role: RoleName,
    generate: Generate = False,
    config: Config = None,
    log_format: LogFormat = None,
) -> None:
    """Add a user; the password is read from the terminal, or from standard input."""
    chosen, name = _parse_role(role), _parse_name(name)
    password = read_new_password(generate=generate)
    stored = _administer_users(
        lambda users: users.add(name, chosen, password),
        config,
        log_format,
        if_stopped="Interrupted; `users list` shows whether the user was added.",
    )
    print(f"Added {stored}, who signs in at /sign-in.")
    _print_generated(password, "password", generate=generate)


@users_cli.command("list")
def list_users(*, config: Config = None, log_format: LogFormat = None) -> None:
    """List the users."""
    found = _administer_users(lambda users: users.list(), config, log_format)
    from restaurant_system.cli import access_output

    access_output.print_users(found)


@users_cli.command("disable")
def disable_user(name: Name, *, config: Config = None, log_format: LogFormat = None) -> None:
    """Disable a user, and end the user's sessions."""
    stored = _administer_users(
        lambda users: users.disable(name),
        config,
        log_format,
        if_stopped="Interrupted; run the command again.",
    )
    print(f"Disabled {stored}; within seconds no service accepts the user's sessions.")


@users_cli.command("reset")
def reset_user(
    name: Name,
    *,
    pin: NewPin = False,
    generate: Generate = False,
    config: Config = None,
    log_format: LogFormat = None,
) -> None:
    """Give a user a new password and no PIN; end sessions, a lock-out, and that it is disabled.

    With --pin, give the user a new PIN instead, and change nothing else.
    """
    secret = read_new_pin(generate=generate) if pin else read_new_password(generate=generate)
    stored = _administer_users(
        lambda users: users.set_pin(name, secret) if pin else users.reset(name, secret),
        config,
        log_format,
        if_stopped="Interrupted; run the command again.",
    )
    kind = "PIN" if pin else "password"
    print(f"{stored} has a new {kind}.")
    _print_generated(secret, kind, generate=generate)


@keys_cli.command("add")
def add_key(
    name: Name, *, scope: Scopes, config: Config = None, log_format: LogFormat = None
) -> None:
    """Add an API key, and print it once."""
    scopes, name = list(dict.fromkeys(map(_parse_scope, scope))), _parse_name(name)
    key = _administer_keys(
        lambda keys: keys.add(name, scopes),
        config,
        log_format,
        if_stopped="Interrupted; `api-keys list` shows whether the key was added. If so, reset it.",
    )
    _print_key(key)


@keys_cli.command("list")
def list_keys(*, config: Config = None, log_format: LogFormat = None) -> None:
    """List the API keys by name; the keys themselves are not stored."""
    found = _administer_keys(lambda keys: keys.list(), config, log_format)
    from restaurant_system.cli import access_output

    access_output.print_keys(found)


@keys_cli.command("disable")
def disable_key(name: Name, *, config: Config = None, log_format: LogFormat = None) -> None:
    """Disable an API key."""
    stored = _administer_keys(
        lambda keys: keys.disable(name),
        config,
        log_format,
        if_stopped="Interrupted; run the command again.",
    )
    print(f"Disabled {stored}; within seconds no service accepts the key.")


@keys_cli.command("reset")
def reset_key(name: Name, *, config: Config = None, log_format: LogFormat = None) -> None:
    """Replace an API key, print the new one once, and enable it."""
    key = _administer_keys(
        lambda keys: keys.reset(name),
        config,
        log_format,
        if_stopped="Interrupted; run the command again.",
    )
    _print_key(key)


def _administer_users(
    work: "Callable[[Users], Awaitable[T]]",
    config: Path | None,
    log_format: str | None,
    *,
    if_stopped: str = "Interrupted before the users were read; run the command again.",
) -> T:
    settings = load("users", config, {"log.format": log_format}, logs_to=sys.stderr)
    from restaurant_system.app.access import user_administration

    async def run(shutdown: "Shutdown") -> T:
        async with user_administration(settings, shutdown) as users:
            return await work(users)

    return complete(run, if_stopped=if_stopped)


def _administer_keys(
    work: "Callable[[ApiKeys], Awaitable[T]]",
    config: Path | None,
    log_format: str | None,
    *,
    if_stopped: str = "Interrupted before the keys were read; run the command again.",
) -> T:
    settings = load("api-keys", config, {"log.format": log_format}, logs_to=sys.stderr)
    from restaurant_system.app.access import key_administration

    async def run(shutdown: "Shutdown") -> T:
        async with key_administration(settings, shutdown) as keys:
            return await work(keys)

    return complete(run, if_stopped=if_stopped)


def read_new_password(*, generate: bool) -> str:
    """Return a valid new password: generated, typed twice, or the first line of standard input."""
    from restaurant_system.models.access import new_password
    from restaurant_system.services.access.administration import check_password

    return new_password() if generate else check_password(_read_secret("password"))


def read_new_pin(*, generate: bool) -> str:
    """Return a valid new PIN: likewise."""
    from restaurant_system.models.access import new_pin
    from restaurant_system.services.access.administration import check_pin

    return new_pin() if generate else check_pin(_read_secret("PIN"))


def _read_secret(kind: str) -> str:
    if sys.stdin is not None and sys.stdin.isatty():
        return _typed_secret(kind)
    line = "" if sys.stdin is None else sys.stdin.readline()
    if not line:
        raise ConfigurationError(
            f"There is no terminal to ask for a {kind}; send it to standard input, or use"
            " --generate."
        )
    return line.removesuffix("\n").removesuffix("\r")


def _typed_secret(kind: str) -> str:
    secret: str = typer.prompt(f"New {kind}", hide_input=True, err=True)
    if typer.prompt("The same again", hide_input=True, err=True) != secret:
        raise ConfigurationError(f"The two {kind}s differ; nothing was changed. Try again.")
    return secret


def _parse_name(name: str) -> str:
    from restaurant_system.services.access.administration import check_name

    return check_name(name)


def _parse_role(name: str) -> "Role":
    from restaurant_system.models.access import Role

    try:
        return Role(name)
    except ValueError:
        raise ConfigurationError(f"{name!r} is not a role; use {', '.join(Role)}.") from None


def _parse_scope(name: str) -> "Capability":
    from restaurant_system.models.access import SCOPES, Capability

    if name not in SCOPES:
        raise ConfigurationError(f"{name!r} is not a scope; use {', '.join(SCOPES)}.")
    return Capability(name)


def _print_generated(secret: str, kind: str, *, generate: bool) -> None:
    if generate:
        print(f"{kind[0].upper()}{kind[1:]}, shown once: {secret}")


def _print_key(key: str) -> None:
    """Print the key alone on stdout, so that a script can read it."""
    print("The key is shown once; send it as `Authorization: Bearer KEY`.", file=sys.stderr)
    print(key)
