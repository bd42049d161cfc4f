"""Where settings come from: `config.yaml`, overridden by the environment, overridden by options."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsError,
)

from restaurant_system.config.settings import ENV_PREFIX, Settings
from restaurant_system.errors import ConfigurationError

DEFAULT_FILE = Path("config.yaml")
# What a YAML error quotes: the file's own text, but for the colon that it misses.
QUOTED = re.compile(r"""(?!':')["'].*["']""", re.DOTALL)
# What PyYAML lets through when a value does not have the form that its tag or its look promises.
UNREADABLE = (ArithmeticError, AttributeError, LookupError, ValueError)
UNQUOTED = "…"
KEY = re.compile(r"\w{1,60}", re.ASCII)


def load(file: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read the configuration.

    `file` must exist when it is named; without one, `config.yaml` is read if it is there.
    `overrides` are options by dotted path (``kitchen.prefetch``), `None` for an option that was
    not given; they win over everything. Raises `ConfigurationError`.
    """
    _refuse_unknown_variables()
    content = _read(file)

    class FromEverywhere(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            *_: PydanticBaseSettingsSource,
            **__: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, InitSettingsSource(settings_cls, content)

    try:
        return FromEverywhere(**_nested(overrides or {}))
    except ValidationError as error:
        raise ConfigurationError(_sentence(error)) from None
    except SettingsError as error:  # a variable that must hold JSON, as a list or a section does
        raise ConfigurationError(f"The environment: {error}, which must be JSON.") from None


def _read(file: Path | None) -> dict[str, Any]:
    path = file or DEFAULT_FILE
    if file is None and not path.exists():
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"Cannot read {path}: {error.strerror}.") from None
    except (yaml.YAMLError, RecursionError, *UNREADABLE) as error:
        raise ConfigurationError(
            f"{path} is not valid YAML: {_yaml_fault(error)}; put values with special characters"
            " into single quotes."
        ) from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigurationError(
            f"{path} must hold settings by name, as in the sample config.yaml."
        )
    return content


def _yaml_fault(error: Exception) -> str:
    """Say where and how YAML is wrong, without the file's text: it may be a password."""
    match error:
        case yaml.MarkedYAMLError(problem=str(problem), problem_mark=yaml.Mark() as place):
            where = f"line {place.line + 1}, column {place.column + 1}"
            return f"{where}: {QUOTED.sub(UNQUOTED, problem)}"
        case yaml.reader.ReaderError():
            return f"character {error.position + 1} is a control character"
        case UnicodeDecodeError():
            return f"byte {error.start + 1} is not UTF-8"
        case RecursionError():
            return "it is nested too deeply"
        case _:
            return "a value looks like a number or a date, and is none"


def _nested(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Turn ``{"kitchen.prefetch": 3}`` into ``{"kitchen": {"prefetch": 3}}``, without `None`s."""
    nested: dict[str, Any] = {}
    for path, value in overrides.items():
        if value is None:
            continue
        *sections, name = path.split(".")
        place = nested
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
    return nested


def _refuse_unknown_variables() -> None:
    """Name a variable whose first level is no setting; the levels below are checked as keys."""
    for variable in os.environ:
        if variable.upper().startswith(ENV_PREFIX):
            name = variable[len(ENV_PREFIX) :].lower().split("__")[0]
            if name not in Settings.model_fields:
                raise ConfigurationError(f"{variable}: there is no setting {name!r}.")


def _sentence(error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_input=False)
    return "; ".join(f"{'.'.join(map(_key, fault['loc']))}: {_reason(fault)}" for fault in faults)


def _reason(fault: ErrorDetails) -> str:
    if fault["type"] != "extra_forbidden":
        return fault["msg"]
    is_quoted = _key(fault["loc"][-1]) != UNQUOTED
    return "there is no such setting" + ("" if is_quoted else "; put a space after each colon")


def _key(part: str | int) -> str:
    """Return a part of a path, unless it may hold a value (``password:s3cret``)."""
    return str(part) if KEY.fullmatch(str(part)) else UNQUOTED
