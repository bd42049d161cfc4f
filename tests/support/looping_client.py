"""Send requests one after the other on a connection until the server closes it."""

import contextlib
import http.client
import json
from dataclasses import dataclass, field
from uuid import uuid4

from tests.support.orders import make_order_body

CUT_OFF = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)


@dataclass
class LoopingClient:
    """A client that records its responses.

    `cut_off` are requests without a response on a connection that had carried one before. The first
    request on a connection is not recorded: the server may never have accepted the connection.
    """

    port: int
    numbers: dict[str, str] = field(default_factory=dict)  # by Idempotency-Key
    reads: int = 0
    cut_off: list[str] = field(default_factory=list)

    def order_until_closed(self) -> None:
        """Place orders until the server refuses connections or closes this one."""
        with self._connection() as connection:
            while self._answered(connection, "POST", "/orders", str(uuid4())):
                pass

    def read_until_closed(self, path: str) -> None:
        """Send the same GET until the server refuses connections or closes this one."""
        with self._connection() as connection:
            while self._answered(connection, "GET", path, key=None):
                self.reads += 1

    def _connection(self) -> contextlib.closing[http.client.HTTPConnection]:
        return contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30))

    def _answered(
        self, connection: http.client.HTTPConnection, method: str, path: str, key: str | None
    ) -> bool:
        """Send a request; return whether it got a response. An incomplete one is an error."""
        headers = {"Content-Type": "application/json"}
        if key is not None:
            headers["Idempotency-Key"] = key
        is_new = connection.sock is None
        try:
            if is_new:
                connection.connect()
        except ConnectionError:
            return False
        try:
            connection.request(method, path, make_order_body() if key else None, headers)
            answer = connection.getresponse()
        except CUT_OFF as error:
            if not is_new:
                self.cut_off.append(f"{method} {path}: {error!r}")
            return False
        body = json.load(answer)
        assert answer.status == (201 if key else 200), body
        if key is not None:
            self.numbers[key] = body["order_number"]
        return True
