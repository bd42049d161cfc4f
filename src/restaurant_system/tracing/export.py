"""Send spans to a collector by OTLP over HTTP, from a thread.

Spans wait in a bounded queue (`OTEL_BSP_MAX_QUEUE_SIZE`, 2048); while it is full, the oldest ones
are dropped. So a collector that is away neither delays nor fails anything.
"""

import logging
import threading
import uuid
from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler, TraceIdRatioBased

from restaurant_system import __version__
from restaurant_system.config import TelemetrySettings
from restaurant_system.logger import get_logger

log = get_logger()

NAMESPACE = "restaurant-system"
TRACES_PATH = "/v1/traces"
FLUSH_TIMEOUT = 2.0  # s in which a stopping process sends its last spans


class SpanExport:
    """Exports the spans of one process, from its construction until `stop`.

    What the settings leave open is read from the variables `OTEL_*`, by the SDK.
    """

    def __init__(self, settings: TelemetrySettings, service: str) -> None:
        # The exporter logs each attempt; `_ReportingExporter` logs what matters.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        endpoint = settings.endpoint
        self._exporter = _ReportingExporter(
            OTLPSpanExporter(None if endpoint is None else endpoint.rstrip("/") + TRACES_PATH)
        )
        self.provider = TracerProvider(
            _sampler(settings.sample_ratio), _resource(settings, service), shutdown_on_exit=False
        )
        self.provider.add_span_processor(BatchSpanProcessor(self._exporter))

    def stop(self) -> None:
        """Send the last spans within `FLUSH_TIMEOUT`, unless the collector is away."""
        if self._exporter.is_failing:
            return
        # A daemon thread, because the exporter may wait for longer.
        flushing = threading.Thread(target=self.provider.shutdown, daemon=True)
        flushing.start()
        flushing.join(FLUSH_TIMEOUT)


def _sampler(ratio: float | None) -> Sampler | None:
    """Return a sampler for this share of the traces that begin here; `None`: OTEL_TRACES_SAMPLER.

    A trace that began elsewhere is recorded if it is recorded there.
    """
    return None if ratio is None else ParentBased(TraceIdRatioBased(ratio))


def _resource(settings: TelemetrySettings, service: str) -> Resource:
    """Describe this process; settings have priority over variables, and these over defaults."""
    return Resource.create(
        {
            "service.name": service,
            "service.namespace": NAMESPACE,
            "service.version": __version__,
            "service.instance.id": str(uuid.uuid4()),
            **OTELResourceDetector().detect().attributes,
            **settings.attributes,
        }
    )


class _ReportingExporter(SpanExporter):
    """Logs when the collector stops accepting spans, and when it accepts them again."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.is_failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans to the collector."""
        result = self._exporter.export(spans)
        has_failed = result is not SpanExportResult.SUCCESS
        if has_failed and not self.is_failing:
            log.warning(
                "telemetry_export_failed",
                message="The collector does not accept spans; they are dropped until it does."
                " Check telemetry.endpoint.",
            )
        elif self.is_failing and not has_failed:
            log.info("telemetry_export_resumed", message="The collector accepts spans again.")
        self.is_failing = has_failed
        return result

    def shutdown(self) -> None:
        """End the exporter."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Return whether nothing is left to send."""
        return self._exporter.force_flush(timeout_millis)
