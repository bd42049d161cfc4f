import asyncio
import contextlib
import pickle
import socket

import pytest

from restaurant_system.app.processes import SharedPort
from restaurant_system.web import api, server
from restaurant_system.web.api import Feature
from restaurant_system.web.guarded_router import GuardedRouter
from restaurant_system.web.http_protocol import USER_TIMEOUT, set_user_timeout
from tests.support.raw_connection import RawConnection
from tests.support.responses import assert_problem
from tests.support.services import serve_site


async def test_invalid_http_gets_a_problem_with_a_request_id() -> None:
    async with serve_site(api.build("Test", [Feature(GuardedRouter())])) as address:
        connection = await RawConnection.to(address)
        await connection.write(b"two soups, please\r\n\r\n")
        response = await connection.response()
        assert await connection.is_closed()
        connection.close()

    assert_problem(response, 400)
    assert response.headers["Connection"] == "close"


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux has this option")
def test_user_timeout_is_set_on_tcp_sockets() -> None:
    """Without the timeout, an unreachable tablet would keep its station for 15 minutes."""
    with socket.socket() as tcp:
        set_user_timeout(asyncio.Transport({"socket": tcp}))

        assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == USER_TIMEOUT


def test_user_timeout_is_not_set_on_other_sockets() -> None:
    """A proxy on this machine may connect by a Unix socket."""
    one, other = socket.socketpair()
    with one, other:
        set_user_timeout(asyncio.Transport({"socket": one}))
    set_user_timeout(asyncio.Transport())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_listening_sockets_disable_nagles_algorithm(host: str) -> None:
    """That of one process, and those of several; accepted connections inherit it."""
    with server.listen(host, 0) as alone, contextlib.closing(SharedPort(host, 0)) as port:
        (shared := pickle.loads(pickle.dumps(port))).listen()  # noqa: S301 - its own
        for listener in (alone, shared):
            with (
                socket.create_connection(listener.getsockname()[:2]),
                listener.accept()[0] as accepted,
            ):
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        shared.close()
