"""What happened in an evening, as seen from outside: one JSON object a line.

Every part of the harness writes it; the checker reads it, and nothing else of the harness.
"""

import json
import time
from pathlib import Path
from typing import TextIO


class Journal:
    """An open journal. Each entry has an event, the moment (seconds since 1970), and its facts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: TextIO = path.open("w", encoding="utf-8")

    def write(self, event: str, **facts: object) -> None:
        """Add an entry."""
        entry = {"event": event, "at": time.time(), **facts}
        self._file.write(json.dumps(entry) + "\n")

    def close(self) -> None:
        """Close it; only then is it whole on the disk."""
        self._file.close()
