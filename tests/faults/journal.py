"""Record what happened in a fault run, one JSON object a line.

Every part of the harness writes the journal; the checker reads it, and nothing else of the harness.
"""

import json
import time
from pathlib import Path
from typing import TextIO


class Journal:
    """An open journal; each entry has an event, its time (seconds since 1970) and its details."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: TextIO = path.open("w", encoding="utf-8")

    def write(self, event: str, **details: object) -> None:
        """Write an entry to the journal."""
        entry = {"event": event, "at": time.time(), **details}
        self._file.write(json.dumps(entry) + "\n")

    def close(self) -> None:
        """Flush the buffered entries, and close the journal's file."""
        self._file.close()
