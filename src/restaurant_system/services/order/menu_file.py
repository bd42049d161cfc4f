"""Read the menu from a YAML file, again whenever the file has changed."""

import asyncio
import re
import stat
from collections.abc import Awaitable, Callable, Iterable, Iterator
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeAlias

import yaml
from pydantic import ValidationError

from restaurant_system.errors import ConfigurationError
from restaurant_system.logger import get_logger
from restaurant_system.models.currency import NO_CURRENCY, Currency
from restaurant_system.models.menu import Menu
from restaurant_system.services.order.service import NAME
from restaurant_system.web.validation_errors import BODY, field_errors

log = get_logger(NAME)

MenuSource: TypeAlias = Callable[[], Awaitable[Menu]]  # returns the current menu
Version: TypeAlias = tuple[int, ...] | None  # of a file; None if there is no file

SAMPLE = "sample_menu.yaml"
PRICE = re.compile(rb"(price: [0-9]+)\.([0-9]{2})\b")  # in the sample
MAX_SIZE = 256 * 1024  # bytes; a menu of thousands of items is smaller

CONSTANTS = {"true": True, "false": False, "null": None, "~": None, "": None}
NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII)


class MenuFile:
    """The menu in a file; after an invalid change the last valid menu stays in use.

    Raises `ConfigurationError` if the file is invalid at the start.
    """

    def __init__(self, path: Path, currency: Currency = NO_CURRENCY) -> None:
        self._path = path
        self._currency = currency
        self._version = _version(path)
        self._menu = read_menu(path, currency)
        self._fault: str | None = None
        self._lock = asyncio.Lock()
        self._warn_if_empty()

    async def current_menu(self) -> Menu:
        """Return the menu; read its file first if it has changed."""
        async with self._lock:
            version = _version(self._path)
            if version != self._version:
                await self._reload(version)
        return self._menu

    async def _reload(self, version: Version) -> None:
        try:
            self._menu = await asyncio.to_thread(read_menu, self._path, self._currency)
        except _UnreadableError as error:
            self._reject(str(error))
            return  # keep the old version, so that the next call tries again
        except ConfigurationError as error:
            self._reject(str(error))
        else:
            self._fault = None
            log.info("menu_read", message=f"The menu was read again from {self._path}.")
            self._warn_if_empty()
        self._version = version

    def _warn_if_empty(self) -> None:
        if not self._menu.sections:
            message = (
                f"The menu {self._path} has no sections: nothing on it can be sold out, and no"
                " order is compared with it."
            )
            log.warning("menu_empty", message=message)

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


def sample_menu(currency: Currency = NO_CURRENCY) -> Menu:
    """Return the menu for a restaurant that has not configured one.

    In a currency without decimals, its prices are a hundred times as high.
    """
    content = (files(__package__) / SAMPLE).read_bytes()
    return _menu(SAMPLE, content if currency.decimals else PRICE.sub(rb"\1\2", content), currency)


def read_menu(path: Path, currency: Currency = NO_CURRENCY) -> Menu:
    """Read a menu; raise `ConfigurationError`, which names the file and every invalid field."""
    try:
        content = _read_bytes(path)
    except OSError as error:
        raise _UnreadableError(f"Cannot read the menu {path}: {error.strerror}.") from None
    return _menu(str(path), content, currency)


def _read_bytes(path: Path) -> bytes:
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for a writer
        raise ConfigurationError(f"The menu {path} is not a regular file.")
    with path.open("rb") as file:
        content = file.read(MAX_SIZE + 1)
    if len(content) > MAX_SIZE:
        raise ConfigurationError(f"The menu {path} is larger than {MAX_SIZE // 1024} KiB.")
    return content


def _menu(name: str, content: bytes, currency: Currency) -> Menu:
    try:
        node, value = _parse(content)
    except yaml.YAMLError as error:
        raise ConfigurationError(
            f"The menu {name} is not valid YAML: {_describe(error)}."
        ) from None
    try:
        return Menu.model_validate(value, context=currency)
    except ValidationError as error:
        faults = "; ".join(_sentences(error, node))
        raise ConfigurationError(f"The menu {name} breaks a rule: {faults}.") from None


def _parse(content: bytes) -> tuple[yaml.Node | None, Any]:
    """Return the YAML of a menu as nodes and as a value; raise `YAMLError` if it is invalid."""
    try:
        loader = _ExactLoader(content.decode())
        node = loader.get_single_node()
        return node, None if node is None else loader.construct_document(node)
    except (ValueError, OverflowError, RecursionError) as error:  # no text, or nested too deeply
        raise yaml.YAMLError(str(error)) from None


def _sentences(error: ValidationError, node: yaml.Node | None) -> Iterator[str]:
    """Yield each fault with its line and the path of its field."""
    found = error.errors(include_url=False)
    lines = {field_errors([each])[0].field: _line(node, each["loc"]) for each in found}
    for fault in field_errors(found):
        sentence = fault.message if fault.field == BODY else f"{fault.field} {fault.message}"
        line = lines.get(fault.field)
        yield sentence if line is None else f"line {line}: {sentence}"


def _line(node: yaml.Node | None, path: Iterable[str | int]) -> int | None:
    """Return the line, from 1, of the value at a path, or of what should contain it."""
    if node is None:
        return None
    line = node.start_mark.line
    for part in path:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line
        elif isinstance(node, yaml.MappingNode):
            found = next((each for each in node.value if each[0].value == part), None)
            if found is None:
                break
            line, node = found[0].start_mark.line, found[1]
        else:
            break
    return line + 1


def _describe(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        place = error.problem_mark
        return f"line {place.line + 1}, column {place.column + 1}: {error.problem}"
    return " ".join(str(error).split())


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


def _convert(text: str) -> str | int | Decimal | bool | None:
    if number := NUMBER.fullmatch(text):
        return Decimal(text) if number[1] else int(text)
    return CONSTANTS.get(text, text)
