"""The menu: a file in YAML, which is read again whenever it has changed."""

import asyncio
import re
import stat
from collections.abc import Awaitable, Callable
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeAlias

import yaml
from pydantic import ValidationError

from restaurant_system.errors import ConfigurationError
from restaurant_system.logger import get_logger
from restaurant_system.models.menu import Menu
from restaurant_system.services.order.service import NAME
from restaurant_system.web.validation_errors import BODY, FieldError, field_errors

log = get_logger(NAME)

MenuSource: TypeAlias = Callable[[], Awaitable[Menu]]  # what is on the menu now
Version: TypeAlias = tuple[int, ...] | None  # of a file; None when there is none

SAMPLE = "sample_menu.yaml"
LARGEST = 256 * 1024  # bytes; a menu of thousands of items is smaller

CONSTANTS = {"true": True, "false": False, "null": None, "~": None, "": None}
NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII)


class MenuFile:
    """The menu as its file has it; a change that is faulty leaves the last good one in place.

    Raises `ConfigurationError` when the file is faulty to begin with.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version = _version(path)
        self._menu = read_menu(path)
        self._fault: str | None = None
        self._lock = asyncio.Lock()

    async def now(self) -> Menu:
        """Return the menu; if the file has changed, after a look into it."""
        async with self._lock:
            version = _version(self._path)
            if version != self._version:
                await self._take(version)
        return self._menu

    async def _take(self, version: Version) -> None:
        try:
            self._menu = await asyncio.to_thread(read_menu, self._path)
        except _UnreadableError as error:
            self._reject(str(error))
            return  # without this version, so that the next look tries again
        except ConfigurationError as error:
            self._reject(str(error))
        else:
            self._fault = None
            log.info("menu_read", message=f"The menu was read again from {self._path}.")
        self._version = version

    def _reject(self, fault: str) -> None:
        if fault != self._fault:
            self._fault = fault
            log.error("menu_rejected", message=f"{fault} The last good menu stays in place.")


class _UnreadableError(ConfigurationError):
    """A file could not be read; that may end without a change to it."""


def static_menu(menu: Menu) -> MenuSource:
    """Return a menu source that always returns `menu`."""

    async def now() -> Menu:
        return menu

    return now


def sample_menu() -> Menu:
    """Return the menu of a restaurant that has none of its own yet."""
    return _menu(SAMPLE, (files(__package__) / SAMPLE).read_bytes())


def read_menu(path: Path) -> Menu:
    """Read a menu; raises `ConfigurationError`, which names the file and each place at fault."""
    try:
        written = _written(path)
    except OSError as error:
        raise _UnreadableError(f"Cannot read the menu {path}: {error.strerror}.") from None
    return _menu(str(path), written)


def _written(path: Path) -> bytes:
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for who writes into it
        raise ConfigurationError(f"The menu {path} is not a regular file.")
    with path.open("rb") as file:
        written = file.read(LARGEST + 1)
    if len(written) > LARGEST:
        raise ConfigurationError(f"The menu {path} is larger than {LARGEST // 1024} KiB.")
    return written


def _menu(name: str, written: bytes) -> Menu:
    try:
        return Menu.model_validate(_content(written))
    except yaml.YAMLError as error:
        raise ConfigurationError(f"The menu {name} is not valid YAML: {_plainly(error)}.") from None
    except ValidationError as error:
        faults = "; ".join(map(_sentence, field_errors(error.errors(include_url=False))))
        raise ConfigurationError(f"The menu {name} breaks a rule: {faults}.") from None


def _content(written: bytes) -> Any:  # noqa: ANN401 - whatever the YAML says
    """Read YAML; raises `YAMLError` for all that is none."""
    try:
        return yaml.load(written.decode(), _ExactLoader)  # noqa: S506 - builds plain values only
    except (ValueError, OverflowError, RecursionError) as error:  # no text, or far too deep
        raise yaml.YAMLError(str(error)) from None


def _plainly(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        place = error.problem_mark
        return f"line {place.line + 1}, column {place.column + 1}: {error.problem}"
    return " ".join(str(error).split())


def _sentence(fault: FieldError) -> str:
    return fault.message if fault.field == BODY else f"{fault.field} {fault.message}"


def _version(path: Path) -> Version:
    """Tell one state of a file from another, without reading it.

    Unlike the time of modification, that of a change cannot be set back, as a restored file's is.
    """
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_ctime_ns, state.st_size, state.st_ino


class _ExactLoader(yaml.BaseLoader):
    """YAML with numbers, booleans and null as JSON has them; all else is text.

    A price is a decimal, exact as written. (YAML 1.1 would make floats of them, 8 of 010, 750 of
    12:30, and a boolean of the item "No".) A key that is stated twice is refused, and so are
    aliases, with which a short file means an endless one.
    """

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:  # noqa: ANN401 - theirs
        event = self.peek_event()  # type: ignore[no-untyped-call] # theirs
        if event.anchor is not None:
            raise _fault("anchors and aliases (& and *) are not allowed", event.start_mark)
        return super().compose_node(parent, index)

    def construct_scalar(self, node: yaml.ScalarNode) -> Any:  # noqa: ANN401 - one of four
        text = super().construct_scalar(node)
        is_quoted = node.style is not None
        return text if is_quoted else _meant(str(text))

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - theirs
        mapping = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _fault("a key must be a name", key.start_mark)
            name = str(key.value)
            if name in mapping:
                raise _fault(f"{name!r} is stated twice", key.start_mark)
            mapping[name] = self.construct_object(value, deep)
        return mapping


def _fault(problem: str, place: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=place)


def _meant(text: str) -> str | Decimal | bool | None:
    if NUMBER.fullmatch(text):
        return Decimal(text)
    return CONSTANTS.get(text, text)
