"""The roads in front of FastAPI: which addresses are theirs, and how they say goodbye."""

import asyncio

import httpx
import pytest
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from restaurant_system.shutdown import Shutdown
from restaurant_system.web import api, door, server
from restaurant_system.web.api import Feature
from tests.support.services import a_client


class Tavern:
    """Serves what is asked for, once the kitchen is open."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def serve(self, request: Request) -> Response:
        """Answer with what stands in the address."""
        self.asked.set()
        await self.open.wait()
        return PlainTextResponse(f"hot {request.path_params}")

    async def cold(self) -> str:
        """Answer as FastAPI."""
        return "cold"

    def feature(self) -> Feature:
        """Return a hot road with a parameter, one without, and what is behind them."""
        router = APIRouter()
        router.add_api_route("/soups", self.cold, methods=["GET"])
        router.add_api_route("/soups/{name}/{part}/price", self.cold, methods=["GET"])
        hot = [
            Route("/soups/{name}/price", self.serve, methods=["GET"]),
            Route("/soups", self.serve, methods=["POST"]),
        ]
        return Feature(router, hot=hot)


@pytest.mark.parametrize(
    ("method", "address", "answer"),
    [
        ("GET", "/soups/borscht/price", "hot {'name': 'borscht'}"),
        ("GET", "/soups/pea%20soup/price?in=euro", "hot {'name': 'pea soup'}"),
        ("GET", "/soups/price/price", "hot {'name': 'price'}"),
        ("POST", "/soups", "hot {}"),
        ("GET", "/soups", '"cold"'),
        ("GET", "/soups/a/b/price", '"cold"'),
    ],
)
async def test_whose_an_address_is(method: str, address: str, answer: str) -> None:
    """A hot road takes its own method and addresses; FastAPI has all the others."""
    async with a_client(Tavern().feature()) as client:
        assert (await client.request(method, address)).text == answer


@pytest.mark.parametrize(
    ("method", "address", "status"),
    [
        ("GET", "/soups/price", 404),
        ("GET", "/soups//price", 404),
        ("GET", "/soups/borscht/price/list", 404),
        ("GET", "/tsoups/borscht/price", 404),
        ("PUT", "/soups", 405),
    ],
)
async def test_addresses_that_are_nobodys(method: str, address: str, status: int) -> None:
    """What only looks like a hot road's is answered as a problem."""
    async with a_client(Tavern().feature()) as client:
        answer = await client.request(method, address)

    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_goodbye() -> None:
    """Who is answered after the wish to stop is told that it was the last time."""
    tavern, shutdown = Tavern(), Shutdown()
    listening = door.bind("127.0.0.1", 0)
    host, port = listening.getsockname()
    serving = asyncio.create_task(
        server.serve(api.build("Tavern", [tavern.feature()]), listening, shutdown)
    )
    async with httpx.AsyncClient(base_url=f"http://{host}:{port}") as client:
        before = await client.post("/soups")
        tavern.open.clear()
        tavern.asked.clear()
        under_way = asyncio.create_task(client.post("/soups"))
        await tavern.asked.wait()

        shutdown.ask()
        tavern.open.set()
        after = await under_way
    await serving

    assert "Connection" not in before.headers
    assert after.headers.get_list("Connection") == ["close"]
