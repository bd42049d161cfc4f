"""Run Debian's Prometheus with the project's own configuration, and query it."""

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.support.prerequisites import prometheus
from tests.support.processes import free_port
from tests.support.waiting import wait_until

FILES = Path(__file__).parents[2] / "deploy" / "prometheus"
SCRAPE_INTERVAL = "300ms"


class Prometheus:
    """A running Prometheus."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series that an expression results in, each with its labels and value."""
        answer = self._client.get("/api/v1/query", params={"query": expression})
        content = answer.json()
        assert content["status"] == "success", f"{expression}: {content['error']}"
        result: list[dict[str, Any]] = content["data"]["result"]
        return result

    def value(self, expression: str) -> float | None:
        """Return the value of an expression with one result; `None` without one."""
        found = self.query(expression)
        return float(found[0]["value"][1]) if found else None

    def wait_for(self, expression: str, value: float) -> None:
        """Wait until an expression has a value."""
        wait_until(
            lambda: self.value(expression) == value,
            seconds=20,
            doing=f"for {expression} to be {value:g}",
        )

    def is_ready(self) -> bool:
        """Return whether Prometheus answers queries."""
        try:
            return self._client.get("/-/ready").is_success
        except httpx.TransportError:
            return False


@contextlib.contextmanager
def running_prometheus(targets: Mapping[str, int]) -> Iterator[Prometheus]:
    """Run Prometheus on a free loopback port; it scrapes these ports, given by service."""
    program, port = prometheus(), free_port()
    assert program is not None, "run tests/support/prerequisites.py"
    folder = Path(tempfile.mkdtemp(prefix="restaurant-prometheus-"))
    (folder / "prometheus.yml").write_text(yaml.safe_dump(_configuration(targets)), "utf-8")
    command = [
        *(program, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder}"),
        *(f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"),
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603 - our own command
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", verify=False) as client:  # noqa: S501 - no TLS
            server = Prometheus(client)
            wait_until(server.is_ready, seconds=30, doing="for Prometheus to be ready")
            yield server
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _configuration(targets: Mapping[str, int]) -> dict[str, Any]:
    """Return the example configuration with these targets and short intervals."""
    configuration: dict[str, Any] = yaml.safe_load((FILES / "prometheus.yml").read_text("utf-8"))
    configuration["global"] = {
        "scrape_interval": SCRAPE_INTERVAL,
        "scrape_timeout": SCRAPE_INTERVAL,
        "evaluation_interval": SCRAPE_INTERVAL,
    }
    configuration["rule_files"] = [str(FILES / name) for name in configuration["rule_files"]]
    (job,) = configuration["scrape_configs"]
    documented = {each["labels"]["service"] for each in job["static_configs"]}
    assert targets.keys() <= documented
    job["static_configs"] = [
        {"targets": [f"127.0.0.1:{port}"], "labels": {"service": service}}
        for service, port in targets.items()
    ]
    return configuration
