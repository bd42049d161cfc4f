"""Find the platforms: every module of this package that defines `PLATFORM`."""

import functools
import importlib
import pkgutil
from collections.abc import Mapping

from restaurant_system import integrations
from restaurant_system.integrations.platform import Platform


@functools.cache
def platforms() -> Mapping[str, Platform]:
    """Return all platforms by name."""
    names = [each.name for each in pkgutil.iter_modules(integrations.__path__)]
    modules = [importlib.import_module(f"{integrations.__name__}.{name}") for name in names]
    found = [getattr(module, "PLATFORM", None) for module in modules]
    return {each.name: each for each in found if isinstance(each, Platform)}
