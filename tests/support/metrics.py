"""Read metrics of the test's process, and of processes that expose them."""

import re
from collections.abc import Callable

from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from restaurant_system.metrics.histogram import count_pending

NAME = re.compile(r"\b(?:restaurant|process|python)_\w+")


def value(name: str, **labels: str) -> float:
    """Return the value of a series of this process; 0 if there is none."""
    count_pending()
    return REGISTRY.get_sample_value(name, labels) or 0.0


def increase(name: str, **labels: str) -> Callable[[], float]:
    """Return a function that returns the increase of a series since now."""
    before = value(name, **labels)
    return lambda: value(name, **labels) - before


def exposed(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return the value of each series in an exposition, by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value_in(text: str, name: str, **labels: str) -> float | None:
    """Return the value of a series in an exposition; `None` if it is not there."""
    return exposed(text).get((name, frozenset(labels.items())))


def names_in(text: str) -> set[str]:
    """Return the names of all series in an exposition."""
    return {name for name, _ in exposed(text)}
