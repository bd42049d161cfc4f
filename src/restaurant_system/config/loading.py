"""Load settings: `config.yaml`, overridden by environment variables, overridden by options."""

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
from restaurant_system.validation_messages import message_of

DEFAULT_FILE = Path("config.yaml")
# What a YAML error quotes is text of the file, except a missing colon.
QUOTED = re.compile(r"""(?!':')["'].*["']""", re.DOTALL)
# Errors that PyYAML raises for a value that does not match its tag or looks like a date.
VALUE_ERRORS = (ArithmeticError, AttributeError, LookupError, ValueError)
ELLIPSIS = "…"
QUOTED_NAME = re.compile(r'"(\w+)"')
KEY = re.compile(r"\w{1,60}", re.ASCII)


def load(file: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Load the settings from a file, environment variables and options.

    A given `file` must exist; by default `config.yaml` is read if it exists. `overrides` maps
    dotted paths (``kitchen.prefetch``) to values; `None` overrides nothing. Raises
    `ConfigurationError`.
    """
    _refuse_unknown_variables()
    content = _read(file)

    class LoadedSettings(Settings):
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
        loaded = LoadedSettings(**_nested(overrides or {}))
    except ValidationError as error:
        raise ConfigurationError(_describe(error)) from None
    except SettingsError as error:  # the value of a list or of a section is JSON
        raise ConfigurationError(_describe_json_error(error)) from None
    return Settings.model_construct(**dict(loaded))  # of a class that can be pickled


def _read(file: Path | None) -> dict[str, Any]:
    path = file or DEFAULT_FILE
    if file is None and not path.exists():
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"Cannot read {path}: {error.strerror}.") from None
    except (yaml.YAMLError, RecursionError, *VALUE_ERRORS) as error:
        raise ConfigurationError(
            f"{path} is not valid YAML: {_yaml_error(error)}; put values with special characters"
            " into single quotes."
        ) from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigurationError(
            f"{path} must hold settings by name, as in the sample config.yaml."
        )
    return content


def _yaml_error(error: Exception) -> str:
    """Describe a YAML error without the text of the file, which may be a password."""
    match error:
        case yaml.MarkedYAMLError(problem=str(problem), problem_mark=yaml.Mark() as mark):
            position = f"line {mark.line + 1}, column {mark.column + 1}"
            return f"{position}: {QUOTED.sub(ELLIPSIS, problem)}"
        case yaml.reader.ReaderError():
            return f"character {error.position + 1} is a control character"
        case UnicodeDecodeError():
            return f"byte {error.start + 1} is not UTF-8"
        case RecursionError():
            return "it is nested too deeply"
        case _:
            return "a value looks like a number or a date, but is not one"


def _nested(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Turn ``{"kitchen.prefetch": 3}`` into ``{"kitchen": {"prefetch": 3}}``, without `None`s."""
    nested: dict[str, Any] = {}
    for path, value in overrides.items():
        if value is None:
            continue
        *sections, name = path.split(".")
        inner = nested
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[name] = value
    return nested


def _refuse_unknown_variables() -> None:
    """Refuse a variable whose first level is not a setting; `Settings` checks the other levels."""
    for variable in os.environ:
        if variable.upper().startswith(ENV_PREFIX):
            name = variable[len(ENV_PREFIX) :].lower().split("__")[0]
            if name not in Settings.model_fields:
                raise ConfigurationError(f"{variable}: there is no setting {name!r}.")


def _describe_json_error(error: SettingsError) -> str:
    match = QUOTED_NAME.search(str(error))
    section = match[1] if match else "environment"
    variable = f"{ENV_PREFIX}{section.upper()}"
    return f"{section}: {variable}, or a variable that begins with {variable}__, is not valid JSON"


def _describe(error: ValidationError) -> str:
    """Return all errors in one line, each with the path of its setting and without its value."""
    errors = error.errors(include_url=False, include_input=False)
    return "; ".join(f"{'.'.join(map(_key, each['loc']))}: {_reason(each)}" for each in errors)


def _reason(error: ErrorDetails) -> str:
    match error["type"]:
        case "extra_forbidden":
            is_shown = _key(error["loc"][-1]) != ELLIPSIS
            return "there is no such setting" + (
                "" if is_shown else "; put a space after each colon"
            )
        case "model_type":
            return "must be a section with settings of its own"
        case _:
            return message_of(error)


def _key(part: str | int) -> str:
    """Return a part of a path, unless it may contain a value (``password:s3cret``)."""
    return str(part) if KEY.fullmatch(str(part)) else ELLIPSIS
