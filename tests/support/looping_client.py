"""Guests who never pause, each on a line of its own, and who remember every answer."""

import contextlib
import http.client
import json
from dataclasses import dataclass, field
from uuid import uuid4

from tests.support.orders import make_order_body

CUT_OFF = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)


@dataclass
class LoopingClient:
    """What one guest has seen: the answers, and requests that were cut off without one."""

    port: int
    numbers: dict[str, str] = field(default_factory=dict)  # by Idempotency-Key
    reads: int = 0
    cut_off: list[str] = field(default_factory=list)

    def order_until_closed(self) -> None:
        """Order, one after the other, until nobody takes orders any more."""
        with self._line() as line:
            while self._answered(line, "POST", "/orders", str(uuid4())):
                pass

    def read_until_closed(self, path: str) -> None:
        """Ask the same again and again, until nobody answers any more."""
        with self._line() as line:
            while self._answered(line, "GET", path, key=None):
                self.reads += 1

    def _line(self) -> contextlib.closing[http.client.HTTPConnection]:
        return contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30))

    def _answered(
        self, line: http.client.HTTPConnection, method: str, path: str, key: str | None
    ) -> bool:
        """Ask; return whether there was an answer, whole. One that breaks off is an error."""
        headers = {"Content-Type": "application/json"}
        if key is not None:
            headers["Idempotency-Key"] = key
        try:
            if line.sock is None:
                line.connect()
        except ConnectionError:
            return False
        try:
            line.request(method, path, make_order_body() if key else None, headers)
            answer = line.getresponse()
        except CUT_OFF as error:
            self.cut_off.append(f"{method} {path}: {error!r}")
            return False
        body = json.load(answer)
        assert answer.status == (201 if key else 200), body
        if key is not None:
            self.numbers[key] = body["order_number"]
        return True
