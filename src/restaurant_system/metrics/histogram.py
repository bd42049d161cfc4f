"""Histograms that count their observations together.

In the files that several processes share, counting one observation takes as long as parsing a short
request.
"""

from bisect import bisect_left
from collections import Counter
from typing import Any, Final

from prometheus_client import Histogram

BUFFER_SIZE: Final = 256  # observations that are kept before they are counted together

_with_pending: "list[BufferedHistogram]" = []


class BufferedHistogram(Histogram):
    """A `Histogram` that counts up to `BUFFER_SIZE` observations with one update of each bucket.

    Call it in the event loop's thread only, and `count_pending` before its counts are read.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - passed through
        self._pending: list[float] = []
        super().__init__(*arguments, **options)

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:  # noqa: ARG002 - none is used
        """Observe an amount."""
        if not self._pending:
            _with_pending.append(self)
        self._pending.append(amount)
        if len(self._pending) >= BUFFER_SIZE:
            self._count()
            _with_pending.remove(self)

    def _count(self) -> None:
        bounds = self._upper_bounds
        self._sum.inc(sum(self._pending))
        for bucket, count in Counter(bisect_left(bounds, each) for each in self._pending).items():
            self._buckets[bucket].inc(count)
        self._pending.clear()


def count_pending() -> None:
    """Count all observations that were made so far."""
    while _with_pending:
        _with_pending.pop()._count()  # noqa: SLF001 - of the same module
