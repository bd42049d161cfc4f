"""Read the menu from a YAML file, again whenever the file has changed."""

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

MenuSource: TypeAlias = Callable[[], Awaitable[Menu]]  # returns the current menu
Version: TypeAlias = tuple[int, ...] | None  # of a file; None if there is no file

SAMPLE = "sample_menu.yaml"
MAX_SIZE = 256 * 1024  # bytes; a menu of thousands of items is smaller

CONSTANTS = {"true": True, "false": False, "null": None, "~": None, "": None}
NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII)


class MenuFile:
    """The menu in a file; after an invalid change the last valid menu stays in use.

    Raises `ConfigurationError` if the file is invalid at the start.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version = _version(path)
        self._menu = read_menu(path)
        self._fault: str | None = None
        self._lock = asyncio.Lock()

    async def current_menu(self) -> Menu:
        """Return the menu; read its file first if it has changed."""
        async with self._lock:
            version = _version(self._path)
            if version != self._version:
                await self._reload(version)
        return self._menu

    async def _reload(self, version: Version) -> None:
        try:
            self._menu = await asyncio.to_thread(read_menu, self._path)
        except _UnreadableError as error:
            self._reject(str(error))
            return  # keep the old version, so that the next call tries again
        except ConfigurationError as error:
            self._reject(str(error))
        else:
            self._fault = None
            log.info("menu_read", message=f"The menu was read again from {self._path}.")
        self._version = version

    def _reject(self, fault: str) -> None:
        if fault != self._fault:
            self._fault = fault
            log.error("menu_rejected", message=f"{fault} The last valid menu stays in use.")


class _UnreadableError(ConfigurationError):
    """The menu file could not be read now; it is read again even if it does not change."""


def static_menu(menu: Menu) -> MenuSource:
    """Return a menu source that always returns `menu`."""

    async def now() -> Menu:
        return menu

    return now


def sample_menu() -> Menu:
    """Return the menu for a restaurant that has not configured one."""
    return _menu(SAMPLE, (files(__package__) / SAMPLE).read_bytes())


def read_menu(path: Path) -> Menu:
    """Read a menu; raise `ConfigurationError`, which names the file and every invalid field."""
    try:
        content = _read_bytes(path)
    except OSError as error:
        raise _UnreadableError(f"Cannot read the menu {path}: {error.strerror}.") from None
    return _menu(str(path), content)


def _read_bytes(path: Path) -> bytes:
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for a writer
        raise ConfigurationError(f"The menu {path} is not a regular file.")
    with path.open("rb") as file:
        content = file.read(MAX_SIZE + 1)
    if len(content) > MAX_SIZE:
        raise ConfigurationError(f"The menu {path} is larger than {MAX_SIZE // 1024} KiB.")
    return content


def _menu(name: str, content: bytes) -> Menu:
    try:
        return Menu.model_validate(_parse(content))
    except yaml.YAMLError as error:
        raise ConfigurationError(
            f"The menu {name} is not valid YAML: {_describe(error)}."
        ) from None
    except ValidationError as error:
        faults = "; ".join(map(_sentence, field_errors(error.errors(include_url=False))))
        raise ConfigurationError(f"The menu {name} breaks a rule: {faults}.") from None


def _parse(content: bytes) -> Any:  # noqa: ANN401 - any YAML
    """Parse the YAML of a menu; raise `YAMLError` if it is invalid."""
    try:
        return yaml.load(content.decode(), _ExactLoader)  # noqa: S506 - builds plain values only
    except (ValueError, OverflowError, RecursionError) as error:  # no text, or nested too deeply
        raise yaml.YAMLError(str(error)) from None


def _describe(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        place = error.problem_mark
        return f"line {place.line + 1}, column {place.column + 1}: {error.problem}"
    return " ".join(str(error).split())


def _sentence(fault: FieldError) -> str:
    return fault.message if fault.field == BODY else f"{fault.field} {fault.message}"


def _version(path: Path) -> Version:
    """Return a version of a file, from its time, size and inode, without reading it.

    The change time is used because the modification time can be set back, as when a file is
    restored.
    """
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_ctime_ns, state.st_size, state.st_ino


class _ExactLoader(yaml.BaseLoader):
    """Loads numbers, booleans and null in the syntax of JSON; everything else is text.

    Prices are exact decimals. (YAML 1.1 would load floats, 8 for 010, 750 for 12:30, and a boolean
    for the item "No".) Duplicate keys are refused, and so are aliases, with which a short file can
    expand without limit.
    """

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:  # noqa: ANN401 - as in PyYAML
        event = self.peek_event()  # type: ignore[no-untyped-call] # PyYAML has no types
        if event.anchor is not None:
            raise _yaml_error("anchors and aliases (& and *) are not allowed", event.start_mark)
        return super().compose_node(parent, index)

    def construct_scalar(self, node: yaml.ScalarNode) -> Any:  # noqa: ANN401 - one of four
        text = super().construct_scalar(node)
        is_quoted = node.style is not None
        return text if is_quoted else _convert(str(text))

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - as in PyYAML
        mapping = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _yaml_error("a key must be a name", key.start_mark)
            name = str(key.value)
            if name in mapping:
                raise _yaml_error(f"{name!r} occurs twice", key.start_mark)
            mapping[name] = self.construct_object(value, deep)
        return mapping


def _yaml_error(problem: str, place: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=place)


def _convert(text: str) -> str | Decimal | bool | None:
    if NUMBER.fullmatch(text):
        return Decimal(text)
    return CONSTANTS.get(text, text)
