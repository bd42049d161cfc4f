"""Trace a service, if that is configured."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from restaurant_system import tracing
from restaurant_system.config import Settings
from restaurant_system.errors import ConfigurationError

RABBITMQ, POSTGRESQL = "rabbitmq", "postgresql"  # as OpenTelemetry names them


@contextlib.asynccontextmanager
async def traced(settings: Settings, service: str) -> AsyncIterator[None]:
    """Trace requests and messages for the duration of the block, unless telemetry is disabled.

    At its end the last spans are sent. Raises `ConfigurationError` for an invalid variable
    `OTEL_*`.
    """
    if not settings.telemetry.enabled:
        yield
        return
    # OpenTelemetry is an extra, and is not loaded while it is not used.
    from restaurant_system.tracing.export import SpanExport  # noqa: PLC0415
    from restaurant_system.tracing.spans import OpenTelemetryTracer  # noqa: PLC0415

    try:
        export = SpanExport(settings.telemetry, service)
    except ValueError as error:  # the settings have been validated, but no variable
        raise ConfigurationError(f"A variable OTEL_* is invalid: {error}") from None
    system = POSTGRESQL if settings.rabbitmq is None else RABBITMQ
    try:
        with tracing.using(OpenTelemetryTracer(export.provider, system)):
            yield
    finally:
        await asyncio.to_thread(export.stop)
