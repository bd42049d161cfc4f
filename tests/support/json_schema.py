"""Validate JSON against a schema."""

from collections.abc import Mapping
from typing import Any


def faults(document: object, schema: Mapping[str, Any]) -> list[str]:
    """Return what a schema refuses in a document."""
    # Takes more than a second, in each process that collects the tests.
    import jsonschema  # noqa: PLC0415

    return [
        fault.message for fault in jsonschema.Draft202012Validator(schema).iter_errors(document)
    ]
