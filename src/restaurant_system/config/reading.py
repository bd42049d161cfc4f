"""Where settings come from: `config.yaml`, overridden by the environment, overridden by options."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsError,
)

from restaurant_system.config.settings import ENV_PREFIX, Settings
from restaurant_system.errors import ConfigurationError

DEFAULT_FILE = Path("config.yaml")


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
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{path} is not valid YAML: {' '.join(str(error).split())}."
        ) from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigurationError(
            f"{path} must hold settings by name, as in the sample config.yaml."
        )
    return content


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
    return "; ".join(
        f"{'.'.join(str(part) for part in fault['loc'])}: "
        + ("there is no such setting" if fault["type"] == "extra_forbidden" else fault["msg"])
        for fault in faults
    )
