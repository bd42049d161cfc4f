"""Measure by how many seconds a replica is behind its primary."""

from collections import deque
from dataclasses import dataclass

MAX_SAMPLES = 2_400  # twenty minutes, if the primary writes all the time


@dataclass(slots=True)
class _Sample:
    at: float
    position: int


class PrimaryPositions:
    """The positions in the write-ahead log that the primary had reached, with their times.

    A replica that has replayed up to one of them has all that was committed by its time. Neither
    the clock of the replica nor the time of the last transaction that it has replayed is used: the
    latter grows while the primary is idle. `at` is in seconds of a monotonic clock.
    """

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque(maxlen=MAX_SAMPLES)

    def add(self, at: float, position: int) -> None:
        """Add the current position.

        If it is lower than the last one, another server has become the primary: earlier positions
        say nothing about its log.
        """
        samples = self._samples
        if samples and position < samples[-1].position:
            samples.clear()
        if len(samples) > 1 and samples[-1].position == samples[-2].position == position:
            samples[-1].at = at  # of an idle time, the beginning and the end are enough
        else:
            samples.append(_Sample(at, position))

    def is_below(self, position: int, since: float) -> bool:
        """Return whether the primary, when last measured after `since`, was below a position."""
        last = self._samples[-1] if self._samples else None
        return last is not None and last.at > since and last.position < position

    def lag(self, replayed: int) -> float | None:
        """Return the lag in seconds, as of the last sample, of a replica that has replayed so far.

        Between two samples it is interpolated. Returns `None` if it is larger than the time since
        the first sample.
        """
        following: _Sample | None = None
        for sample in reversed(self._samples):
            if sample.position <= replayed:
                if following is None:
                    return 0.0
                share = (replayed - sample.position) / (following.position - sample.position)
                reached_at = sample.at + share * (following.at - sample.at)
                return self._samples[-1].at - reached_at
            following = sample
        return None
