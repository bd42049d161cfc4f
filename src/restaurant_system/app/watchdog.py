"""Report to systemd's watchdog that the event loop of this process runs (`sd_notify`)."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Mapping

ALIVE = b"WATCHDOG=1"
REPORTS_PER_TIMEOUT = 3


async def report_alive(variables: Mapping[str, str] = os.environ) -> None:
    """Report at a third of `WatchdogSec=` until cancelled; return at once if that is not set.

    systemd restarts a process that does not report. Whether a server is available makes no
    difference, because a restart would not cure that.
    """
    address = variables.get("NOTIFY_SOCKET", "")
    timeout = int(variables.get("WATCHDOG_USEC", "0")) / 1_000_000
    if not (address and timeout) or variables.get("WATCHDOG_PID") not in {None, str(os.getpid())}:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]  # an abstract address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
        notify.settimeout(0)
        while True:
            with contextlib.suppress(OSError):  # full, or systemd restarts; the next one may arrive
                notify.sendto(ALIVE, address)
            await asyncio.sleep(timeout / REPORTS_PER_TIMEOUT)
