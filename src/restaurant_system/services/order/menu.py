"""The menu: a file in YAML, which is read again whenever it has changed."""

import re
from collections.abc import Callable
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
from restaurant_system.web.faults import BODY, Fault, faults_of

log = get_logger(NAME)

Offer: TypeAlias = Callable[[], Menu]  # what is on the menu now
Version: TypeAlias = tuple[int, ...] | None  # of a file; None when there is none

SAMPLE = "sample_menu.yaml"

CONSTANTS = {"true": True, "false": False, "null": None, "~": None, "": None}
NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII)


class MenuFile:
    """The menu as its file has it; a change that is faulty leaves the last good one in place.

    Raises `ConfigurationError` when the file is faulty to begin with.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version = _version(path)
        self._menu = read(path)
        self._fault: str | None = None

    def now(self) -> Menu:
        """Return the menu; if the file has changed, after a look into it."""
        version = _version(self._path)
        if version != self._version:
            self._version = version
            self._read_again()
        return self._menu

    def _read_again(self) -> None:
        try:
            self._menu = read(self._path)
        except ConfigurationError as error:
            self._reject(str(error))
        else:
            self._fault = None
            log.info("menu_read", message=f"The menu was read again from {self._path}.")

    def _reject(self, fault: str) -> None:
        if fault != self._fault:
            self._fault = fault
            log.error("menu_rejected", message=f"{fault} The last good menu stays in place.")


def sample() -> Menu:
    """Return the menu of a restaurant that has none of its own yet."""
    return _menu(SAMPLE, (files(__package__) / SAMPLE).read_bytes())


def read(path: Path) -> Menu:
    """Read a menu; raises `ConfigurationError`, which names the file and each place at fault."""
    try:
        written = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"Cannot read the menu {path}: {error.strerror}.") from None
    return _menu(str(path), written)


def _menu(name: str, written: bytes) -> Menu:
    try:
        return Menu.model_validate(_content(written))
    except yaml.YAMLError as error:
        sentence = " ".join(str(error).split())
        raise ConfigurationError(f"The menu {name} is not valid YAML: {sentence}.") from None
    except ValidationError as error:
        faults = "; ".join(map(_sentence, faults_of(error.errors(include_url=False))))
        raise ConfigurationError(f"The menu {name} breaks a rule: {faults}.") from None


def _content(written: bytes) -> Any:  # noqa: ANN401 - whatever the YAML says
    """Read YAML; raises `YAMLError` for all that is none."""
    try:
        return yaml.load(written.decode(), _ExactLoader)  # noqa: S506 - builds plain values only
    except (ValueError, OverflowError, RecursionError) as error:  # no text, or far too deep
        raise yaml.YAMLError(str(error)) from None


def _sentence(fault: Fault) -> str:
    return fault.message if fault.field == BODY else f"{fault.field} {fault.message}"


def _version(path: Path) -> Version:
    """Tell one state of a file from another, without reading it."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size, state.st_ino


class _ExactLoader(yaml.BaseLoader):
    """YAML with numbers, booleans and null as JSON has them; all else is text.

    A price is a decimal, exact as written. (YAML 1.1 would make floats of them, 8 of 010, 750 of
    12:30, and a boolean of the item "No".) A key that is stated twice is refused.
    """

    def construct_scalar(self, node: yaml.ScalarNode) -> Any:  # noqa: ANN401 - one of four
        text = super().construct_scalar(node)
        is_quoted = node.style is not None
        return text if is_quoted else _meant(str(text))

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - theirs
        mapping = {}
        for key, value in node.value:
            name = str(key.value)
            if name in mapping:
                raise yaml.constructor.ConstructorError(
                    problem=f"{name!r} is stated twice", problem_mark=key.start_mark
                )
            mapping[name] = self.construct_object(value, deep)
        return mapping


def _meant(text: str) -> str | Decimal | bool | None:
    if NUMBER.fullmatch(text):
        return Decimal(text)
    return CONSTANTS.get(text, text)
