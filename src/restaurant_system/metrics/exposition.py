"""Write all metrics in the format that Prometheus scrapes."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from prometheus_client import REGISTRY, CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from restaurant_system.cancellation import cancel
from restaurant_system.logger import get_logger
from restaurant_system.metrics.definitions import SystemFigure
from restaurant_system.metrics.histogram import count_pending
from restaurant_system.metrics.processes import (
    delete_gauges_of_ended_processes,
    shared_directory,
)

log = get_logger()

# The values of a figure by the values of its labels.
Figures: TypeAlias = Mapping[SystemFigure, Mapping[Sequence[str], float]]

LIFETIME = 2.0  # s for which figures of the system are not read again
WAIT = 0.5  # s that a scrape waits for them; afterwards the last ones are sent
MAX_AGE = 60.0  # s after which the last ones are left out
RENDERING_LIFETIME = 0.2  # s in which concurrent scrapes get the same text


class Exposition(NamedTuple):
    """The text of all metrics, and its media type."""

    text: bytes
    media_type: str


class Exposer:
    """Collects the metrics of this process and of those on the same port, and the system's figures.

    `read_figures` reads the latter. It is called for a scrape only, at most once at a time and
    every `LIFETIME` seconds, and a scrape does not wait for it for longer than `WAIT`. It leaves
    out what it cannot read, and must end.
    """

    def __init__(self, read_figures: Callable[[], Awaitable[Figures]]) -> None:
        self._read_figures = read_figures
        self._figures: Figures = {}
        self._read_at = -MAX_AGE
        self._reading: asyncio.Task[None] | None = None
        self._rendering = asyncio.Lock()
        self._rendered: dict[str, tuple[float, Exposition]] = {}

    async def expose(self, accept: str) -> Exposition:
        """Return all metrics in a format that a client accepts."""
        figures = await self._current_figures()
        encode, media_type = choose_encoder(accept)
        async with self._rendering:
            rendered_at, exposition = self._rendered.get(media_type, (-1.0, None))
            now = time.monotonic()
            if exposition is None or now - rendered_at > RENDERING_LIFETIME:
                count_pending()
                # In a thread, because it takes as long as several requests.
                text = await asyncio.to_thread(encode, _Collected(figures))
                exposition = Exposition(text, media_type)
                self._rendered[media_type] = now, exposition
        return exposition

    async def close(self) -> None:
        """Cancel the reading of figures."""
        if self._reading is not None:
            await cancel(self._reading)

    async def _current_figures(self) -> Figures:
        if self._reading is None and time.monotonic() - self._read_at >= LIFETIME:
            self._reading = asyncio.create_task(self._read())
        if self._reading is not None:
            await asyncio.wait({self._reading}, timeout=WAIT)
        return self._figures if time.monotonic() - self._read_at < MAX_AGE else {}

    async def _read(self) -> None:
        try:
            self._figures = await self._read_figures()
        except Exception:
            log.exception("metrics_failed", message="Figures for /metrics could not be read.")
            self._figures = {}
        finally:
            self._read_at = time.monotonic()
            self._reading = None


class _Collected(Collector):
    """All metrics, as `prometheus_client` collects them."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        yield from _process_metrics()
        for figure, values in self._figures.items():
            family = figure.family()
            for labels, value in values.items():
                family.add_metric(labels, value)
            yield family


def _process_metrics() -> Iterator[Metric]:
    """Yield the metrics of this process, or the sums over all processes of its port."""
    directory = shared_directory()
    if directory is None:
        yield from REGISTRY.collect()
    else:
        delete_gauges_of_ended_processes(directory)
        yield from MultiProcessCollector(CollectorRegistry(), str(directory)).collect()
