"""Users and API keys by the commands, and services that other machines can reach."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support import deployments
from tests.support.deployments import JSON, Deployment, error_message
from tests.support.orders import make_order_body
from tests.support.processes import Process, Processes, free_port
from tests.support.waiting import wait_until

EVERYWHERE = "0.0.0.0"  # noqa: S104 - what is tested
ON_THE_NETWORK = {
    "RESTAURANT_ORDER_SERVICE__HOST": EVERYWHERE,
    "RESTAURANT_TRACKING_SERVICE__HOST": EVERYWHERE,
    "RESTAURANT_KITCHEN_DISPLAY__HOST": EVERYWHERE,
}


@pytest.fixture
def network(dsn: str) -> Iterator[Deployment]:
    """Return a deployment whose services listen on all addresses."""
    with deployments.running(dsn, None, **ON_THE_NETWORK) as deployment:
        yield deployment


def run(network: Deployment, *command: str) -> tuple[int, str]:
    """Run a command to its end; return its exit code, and what it printed for people."""
    process = network.start(*command)
    code = process.wait()
    return code, process.stdout + error_message(process)


def test_service_on_the_network_refuses_to_start_without_users(network: Deployment) -> None:
    commands = ("order-service", "tracking-service", "kitchen-display")
    processes = [network.start(each, "--port", str(free_port())) for each in commands]

    for process in processes:
        assert process.wait() == 1
        (line,) = error_message(process).splitlines()
        assert "users add NAME --role manager" in line
        assert "security.open" in line


def test_open_service_on_the_network_starts_without_users(network: Deployment) -> None:
    network.start_order_service(RESTAURANT_SECURITY__OPEN="true")
    network.wait_until_ready()

    assert network.place_order()


def test_disabled_key_and_removed_device_are_refused_by_all_processes_within_seconds(
    network: Deployment,
) -> None:
    code, key = run(network, "api-keys", "add", "Till", *("--scope", "place_orders"))
    assert code == 0
    key = key.splitlines()[-1] if key.splitlines()[-1].startswith("rsk_") else key.splitlines()[0]
    headers = {"Authorization": f"Bearer {key}"}
    network.start_order_service("--processes", "2")
    network.start_tracking_service()
    network.wait_until_ready()

    def place() -> int:
        with httpx.Client(base_url=network.orders.base_url, verify=False) as client:  # noqa: S501 - no TLS
            content, sent = make_order_body(), JSON | headers
            return client.post("/orders", content=content, headers=sent).status_code

    def list_orders() -> int:
        return network.tracking.get("/orders", headers=headers).status_code

    assert network.post_order(make_order_body()).status_code == 401
    assert {place() for _ in range(8)} == {201}
    assert list_orders() == 403

    assert run(network, "api-keys", "disable", "till")[0] == 0

    wait_until(
        lambda: {place() for _ in range(8)} == {401} and list_orders() == 401,
        seconds=5,
        doing="for all processes to refuse a disabled key",
    )

    password = generated(network, "users", "add", "Mia", "--role", "manager")
    pin = generated(network, "users", "reset", "mia", "--pin")
    body = {"name": "Mia", "password": password}
    manager = cookie_of(network.orders.post("/session", json=body))
    device = cookie_of(network.orders.post("/devices", json={"name": "Counter"}, headers=manager))
    body = {"name": "Mia", "pin": pin}
    headers = cookie_of(network.orders.post("/device/session", json=body, headers=device))
    assert ({place() for _ in range(8)}, list_orders()) == ({201}, 200)
    assert network.tracking.get("/devices", headers=headers).status_code == 403

    body = {"name": "Mia", "password": password}
    manager = cookie_of(network.orders.post("/session", json=body))
    (listed,) = network.orders.get("/devices", headers=manager).json()["devices"]
    network.orders.delete(f"/devices/{listed['id']}", headers=manager).raise_for_status()

    wait_until(
        lambda: {place() for _ in range(8)} == {401} and list_orders() == 401,
        seconds=5,
        doing="for all processes to refuse the session of a removed device",
    )


def generated(network: Deployment, *command: str) -> str:
    """Run a command that generates a password or a PIN; return it."""
    code, output = run(network, *command, "--generate")
    assert code == 0
    return output.splitlines()[1].partition(", shown once: ")[2]


def cookie_of(response: httpx.Response) -> dict[str, str]:
    """Return the header with the first cookie that a response sets."""
    return {"Cookie": response.headers["Set-Cookie"].partition(";")[0]}


def test_users_and_keys_are_listed_and_refused_in_one_line(network: Deployment) -> None:
    code, added = run(network, "users", "add", "Anna", "--role", "staff", "--generate")
    assert (code, added.splitlines()[0]) == (0, "Added Anna, who signs in at /sign-in.")
    password = added.splitlines()[1].removeprefix("Password, shown once: ")
    assert re.fullmatch(r"([a-z2-9]{4}-){3}[a-z2-9]{4}", password)

    code, given = run(network, "users", "reset", "ANNA", "--pin", "--generate")
    assert code == 0
    assert re.fullmatch(r"Anna has a new PIN\.\nPIN, shown once: [0-9]{6}\n", given)
    assert run(network, "users", "list") == (0, "Anna\tstaff\tenabled\tyes\n")
    code, taken = run(network, "users", "add", "ANNA", "--role", "staff", "--generate")
    assert (code, taken.count("\n")) == (1, 1)
    assert "already" in taken
    assert run(network, "users", "disable", "anna")[0] == 0
    assert "disabled since" in run(network, "users", "list")[1]
    assert run(network, "users", "reset", "anna", "--generate")[0] == 0
    assert run(network, "users", "list") == (0, "Anna\tstaff\tenabled\tno\n")
    assert run(network, "api-keys", "list") == (0, "No API keys.\n")
    code, unknown = run(network, "api-keys", "reset", "Till")
    assert (code, unknown.count("\n")) == (1, 1)
    assert "no API key Till" in unknown


def test_up_on_the_network_prints_how_its_first_manager_signs_in(
    commands: Processes, dsn: str, data_dir: Path
) -> None:
    """Once: after the next start the manager has the same password, which is not shown again."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    variables = {"RESTAURANT_DATABASE__URL": dsn, "RESTAURANT_DATA_DIR": str(data_dir)}

    def start() -> tuple[Process, str]:
        options = ("--host", EVERYWHERE, "--port", str(port), "--no-worker")
        process = commands.start("up", *options, **variables)
        wait_until(lambda: "Ctrl-C" in process.stdout, seconds=60, doing="for the first screen")
        return process, process.stdout

    process, first = start()
    found = re.search(r"Password +(\S+)", first)
    assert found
    session = httpx.post(
        f"{address}/session",
        json={"name": "manager", "password": found[1]},
        verify=False,  # noqa: S501 - no TLS
    )
    assert session.json()["role"] == "manager"
    assert "curl" not in first
    process.stop()

    _, again = start()
    assert "Password " not in again
    assert "/sign-in" in again
    assert "users list" in again
