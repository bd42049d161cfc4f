"""The image, built by the steps of the Dockerfile: installed from locks, run by another user."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from restaurant_system import __version__
from tests.acceptance.conftest import embedded_data
from tests.support import image
from tests.support.deployments import JSON, QUICK_SETTINGS
from tests.support.image import Image
from tests.support.orders import make_order_body
from tests.support.processes import Processes, free_port, processes
from tests.support.waiting import wait_until

SOURCE = image.ROOT / "src" / "restaurant_system"


@pytest.fixture(scope="module")
def built_image() -> Iterator[Image]:
    """Build the image once."""
    with image.built() as built:
        yield built


@pytest.fixture
def containers(built_image: Image) -> Iterator[Processes]:
    """Start commands of the image as its user."""
    with processes(QUICK_SETTINGS, built_image.start) as started:
        yield started


@pytest.fixture
def volume() -> Iterator[Path]:
    """Return a data directory that belongs to the image's user."""
    with embedded_data() as folder:
        owner = image.user()
        if owner:
            os.chown(folder, owner["user"], owner["group"])
        yield folder


def test_image_contains_every_file_of_the_package(built_image: Image) -> None:
    """Pages, texts, migrations and the sample menu are found by the installed package."""
    (installed,) = built_image.folder.glob("lib/python3*/site-packages/restaurant_system")

    def files(folder: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }

    assert files(installed) == files(SOURCE)


def test_what_the_image_is_built_from_is_sent_to_the_builder() -> None:
    """.dockerignore excludes everything that it does not name."""
    first, *named = [
        line for line in (image.ROOT / ".dockerignore").read_text().splitlines() if line[:1] != "#"
    ]
    copied = [
        name
        for keyword, arguments in image.instructions(0)
        if keyword == "COPY"
        for name in arguments.split()[:-1]
    ]

    assert first == "*"
    assert {f"!{name}" for name in copied} == set(named) - {"**/__pycache__"}


def test_image_contains_no_build_tools(built_image: Image) -> None:
    found = {each.name for each in (built_image.folder / "bin").iterdir()}

    assert "restaurant-system" in found
    assert not found & {"pip", "hatchling", "uv"}


def test_image_prints_its_version(built_image: Image) -> None:
    finished = built_image.run("restaurant-system", "--version")

    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout == f"restaurant-system {__version__}\n"


def test_order_is_cooked_by_up_as_the_image_runs_it(containers: Processes, volume: Path) -> None:
    up = containers.start(
        *("up", "--port", "0", "--cooking-time-scale", "0.05"), RESTAURANT_DATA_DIR=str(volume)
    )
    wait_until(lambda: "Press Ctrl-C" in up.stdout, seconds=60, doing="for the restaurant to start")
    found = re.search(r"running at (http://\S+)", up.stdout)
    assert found is not None

    order = httpx.post(f"{found[1]}/orders", content=make_order_body(), headers=JSON)
    number = order.json()["order_number"]

    def status() -> str:
        text: str = httpx.get(f"{found[1]}/orders/{number}/status").json()["current_status"]
        return text

    wait_until(lambda: status() == "ready", seconds=30, doing="for the order to be ready")
    assert httpx.get(f"{found[1]}/").text.startswith("<!doctype html>")
    assert up.stop() == 0


def test_health_check_of_the_image_follows_the_service(
    built_image: Image, containers: Processes, dsn: str
) -> None:
    port = str(free_port())

    def is_healthy() -> bool:
        return built_image.run(*image.health_check(), HEALTH_PORT=port).returncode == 0

    assert not is_healthy()
    service = containers.start("order-service", "--port", port, RESTAURANT_DATABASE__URL=dsn)
    wait_until(is_healthy, seconds=30, doing="for the service to be healthy")

    service.signal(signal.SIGTERM)

    assert service.wait() == 0
    assert not is_healthy()
