"""The files for Compose, Kubernetes and systemd fit the product, and give it few rights."""

import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from restaurant_system.cli.services import cli
from restaurant_system.config import KitchenSettings, Settings, load
from tests.support.certificates import CertificateAuthority

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
SYSTEMD = ROOT / "deploy" / "systemd"
PROMETHEUS = ROOT / "deploy" / "prometheus"
SYSTEMD_ANALYZE = shutil.which("systemd-analyze")
PROGRAM = "/opt/restaurant-system/bin/restaurant-system"
SERVERS = {"postgres", "rabbitmq"}  # of Compose; their images are not ours
HTTP_PORTS = {"order-service": 3000, "kitchen-display": 3001, "tracking-service": 3002}
CONSUMERS = ("kitchen-worker", "notification-subscriber")
METRICS_PORT = 9100  # of these
PROBES = {"startup": "/health/live", "liveness": "/health/live", "readiness": "/health/ready"}
LONGEST_COOKING = max(KitchenSettings().cooking_seconds.model_dump().values())
ADMISSIBLE_EXPOSURE = "20"  # of 100, as systemd rates it: 2.0 of 10

Manifest = dict[str, Any]


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove this machine's settings: its variables and its config.yaml."""
    for variable in os.environ:
        if variable.upper().startswith("RESTAURANT_"):
            monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def compose() -> Manifest:
    """Return compose.yaml as Docker Compose reads it."""
    finished = subprocess.run(  # noqa: S603 - a pinned tool
        [
            *(Path(sys.executable).parent / "docker-compose", "--project-directory", ROOT),
            *("--env-file", ROOT / ".env.example", "config", "--format", "json"),
        ],
        capture_output=True,
        check=True,
    )
    services: Manifest = json.loads(finished.stdout)["services"]
    return services


def _ours(compose: Manifest) -> Manifest:
    return {name: service for name, service in compose.items() if name not in SERVERS}


def _manifests() -> Iterator[Manifest]:
    for path in sorted(KUBERNETES.glob("*.yaml")):
        yield from yaml.safe_load_all(path.read_text())


def _kind(kind: str) -> Manifest:
    return {each["metadata"]["name"]: each for each in _manifests() if each["kind"] == kind}


def _pods() -> Manifest:
    """Return the specifications of all pods by the names of what creates them."""
    controllers = _kind("Deployment") | _kind("StatefulSet") | _kind("Job")
    return {name: each["spec"]["template"]["spec"] for name, each in controllers.items()}


def _units() -> dict[str, configparser.ConfigParser]:
    units = {}
    for path in sorted(SYSTEMD.glob("*.service")):
        units[path.name] = configparser.ConfigParser(interpolation=None, strict=False)
        units[path.name].read_string(path.read_text())
    return units


def _parse(arguments: list[str]) -> str:
    """Parse the arguments of the program as it does; return the name of the command."""
    program = typer.main.get_command(cli)
    assert isinstance(program, typer.core.TyperGroup)
    context = program.make_context("restaurant-system", list(arguments))
    name, command, rest = program.resolve_command(context, list(arguments))
    assert name is not None
    assert command is not None
    command.make_context(name, rest, parent=context)
    return name


def _load(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return load(Path("config.yaml") if Path("config.yaml").exists() else None)


def test_compose_starts_every_service_after_the_migration(compose: Manifest) -> None:
    commands = {_parse(service["command"]) for service in _ours(compose).values()}

    assert commands == {"migrate", "kitchen-worker", "notification-subscriber", *HTTP_PORTS}
    for name, service in _ours(compose).items():
        if name != "migrate":
            waits_for = {each: how["condition"] for each, how in service["depends_on"].items()}
            assert waits_for["migrate"] == "service_completed_successfully"
            assert waits_for["rabbitmq"] == "service_healthy"


def test_settings_of_compose_are_valid(compose: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _load(monkeypatch, compose["order-service"]["environment"])

    assert settings.database is not None
    assert settings.rabbitmq is not None
    assert compose["postgres"]["environment"]["POSTGRES_DB"] == settings.database.database
    assert settings.database.host in compose
    assert settings.rabbitmq.host in compose
    assert len(settings.signing.keys) == 1


def test_prometheus_of_compose_scrapes_every_service(
    compose: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = yaml.safe_load((PROMETHEUS / "prometheus-compose.yml").read_text())["scrape_configs"]
    targets = {
        each["labels"]["service"]: target
        for each in job["static_configs"]
        for target in each["targets"]
    }

    assert targets.keys() == _ours(compose).keys() - {"migrate"}
    for name, target in targets.items():
        settings = _load(monkeypatch, compose[name]["environment"])
        assert target == f"{name}:{HTTP_PORTS.get(name, settings.metrics.port)}"
        assert name in settings.security.allowed_hosts
        # What is published may be passed on by a proxy; the ports of the others are not.
        assert settings.metrics.public == (name not in HTTP_PORTS)


def test_compose_publishes_http_services_on_loopback_only(compose: Manifest) -> None:
    published = {
        name: [(port["host_ip"], port["target"]) for port in service["ports"]]
        for name, service in compose.items()
        if "ports" in service
    }

    assert published == {name: [("127.0.0.1", port)] for name, port in HTTP_PORTS.items()}
    for name, port in HTTP_PORTS.items():
        assert compose[name]["environment"]["HEALTH_PORT"] == str(port)


def test_compose_checks_the_health_of_every_service(compose: Manifest) -> None:
    for name in CONSUMERS:
        variables = compose[name]["environment"]
        assert variables["RESTAURANT_METRICS__PORT"] == str(METRICS_PORT)
        assert variables["HEALTH_PORT"] == str(METRICS_PORT)
    unchecked = {name for name, each in _ours(compose).items() if "healthcheck" in each}
    assert unchecked == {"migrate"}


def test_containers_of_compose_have_few_rights(compose: Manifest) -> None:
    for name, service in _ours(compose).items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert "cap_add" not in service, name
    for name, service in compose.items():
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("privileged"), name


def test_settings_of_the_manifests_are_valid(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = CertificateAuthority(tmp_path).certificate
    text = _kind("ConfigMap")["restaurant"]["data"]["config.yaml"]
    Path("config.yaml").write_text(text.replace("/etc/restaurant-system/ca.pem", str(authority)))

    settings = _load(monkeypatch, _kind("Secret")["restaurant"]["stringData"])

    assert settings.database is not None
    assert settings.rabbitmq is not None
    assert len(settings.signing.keys) == 1
    assert settings.metrics.port == METRICS_PORT
    assert settings.metrics.host == "0.0.0.0"  # noqa: S104 - the kubelet connects to the pod


def test_prometheus_discovers_the_port_of_every_pod_with_metrics() -> None:
    configuration = yaml.safe_load((PROMETHEUS / "prometheus-kubernetes.yml").read_text())
    (job,) = configuration["scrape_configs"]
    (kept,) = [rule["regex"] for rule in job["relabel_configs"] if rule.get("action") == "keep"]
    ports = {
        name: [port["name"] for port in pod["containers"][0].get("ports", ())]
        for name, pod in _pods().items()
    }

    assert job["kubernetes_sd_configs"][0]["namespaces"]["names"] == [*_kind("Namespace")]
    assert ports.pop("migrate") == []
    for name, (port,) in ports.items():
        assert re.fullmatch(kept, port), name


def test_manifests_start_every_service() -> None:
    commands = {_parse(pod["containers"][0]["args"]) for pod in _pods().values()}

    assert commands == {"migrate", "kitchen-worker", "notification-subscriber", *HTTP_PORTS}
    listed = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]
    assert set(listed) == {each.name for each in KUBERNETES.glob("*.yaml")} - {
        "kustomization.yaml",
        "secret.example.yaml",
    }


def test_pods_have_few_rights() -> None:
    for name, pod in _pods().items():
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name


def test_only_readiness_of_a_pod_depends_on_the_database() -> None:
    services = [(name, "http", port) for name, port in HTTP_PORTS.items()]
    consumers = [(name, "metrics", METRICS_PORT) for name in CONSUMERS]
    for name, port_name, port in (*services, *consumers):
        (container,) = _pods()[name]["containers"]
        probes = {each: container[f"{each}Probe"]["httpGet"] for each in PROBES}
        assert probes == {each: {"path": PROBES[each], "port": port_name} for each in PROBES}
        assert container["ports"] == [{"name": port_name, "containerPort": port}]


def test_what_has_several_pods_has_a_disruption_budget() -> None:
    controllers = _kind("Deployment") | _kind("StatefulSet")
    several = {name for name, each in controllers.items() if each["spec"]["replicas"] > 1}

    assert several == _kind("PodDisruptionBudget").keys()
    for name, budget in _kind("PodDisruptionBudget").items():
        labels = controllers[name]["spec"]["template"]["metadata"]["labels"]
        assert budget["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_a_cook_may_finish_its_order_everywhere(compose: Manifest) -> None:
    grace = [
        int(compose["kitchen-worker"]["stop_grace_period"].removesuffix("s")),
        _pods()["kitchen-worker"]["terminationGracePeriodSeconds"],
        int(_units()["restaurant-kitchen-worker@.service"]["Service"]["TimeoutStopSec"][:-1]),
    ]

    assert min(grace) >= LONGEST_COOKING + 10


def test_units_start_every_service() -> None:
    commands = [shlex.split(unit["Service"]["ExecStart"]) for unit in _units().values()]

    assert {program for program, *_ in commands} == {PROGRAM}
    assert {_parse(arguments) for _, *arguments in commands} == {
        *("up", "migrate", "kitchen-worker", "notification-subscriber", *HTTP_PORTS)
    }


def test_services_wait_for_the_migration_and_it_alone_is_not_restarted() -> None:
    units = _units()
    migration = units.pop("restaurant-migrate.service")["Service"]

    assert (migration["Type"], "Restart" in migration) == ("oneshot", False)
    for name, unit in units.items():
        assert (unit["Service"]["Type"], unit["Service"]["Restart"]) == ("exec", "on-failure"), name
        if name != "restaurant-up.service":
            assert unit["Unit"]["After"] == "restaurant-migrate.service"


def test_drop_in_overrides_nothing_that_a_unit_sets() -> None:
    (drop_in,) = (SYSTEMD / "restaurant-.service.d").iterdir()
    lines = drop_in.read_text().splitlines()
    shared = {line.partition("=")[0].lower() for line in lines if line[:1].isalpha()}
    added = {"wants", "after"}  # lists, to which the drop-in adds

    assert shared >= {"user", "systemcallfilter"}
    for name, unit in _units().items():
        assert not shared & {*unit["Unit"], *unit["Service"]} - added, name


def test_systemd_watches_workers_and_subscribers() -> None:
    for name in ("restaurant-kitchen-worker@", "restaurant-notification-subscriber"):
        unit = _units()[f"{name}.service"]["Service"]
        assert (unit["WatchdogSec"], unit["NotifyAccess"]) == ("60s", "main")


@pytest.fixture
def installed_units(tmp_path: Path) -> list[str]:
    """Return the paths of all units, in a folder of their own and with a program that exists."""
    shutil.copytree(SYSTEMD, tmp_path / "units")
    for unit in (tmp_path / "units").glob("*.service"):
        unit.write_text(unit.read_text().replace(PROGRAM, sys.executable))
    units = (each for each in (tmp_path / "units").iterdir() if each.name.startswith("restaurant"))
    return sorted(str(each) for each in units if each.is_file())


@pytest.mark.skipif(SYSTEMD_ANALYZE is None, reason="systemd is not installed")
def test_systemd_accepts_the_units_and_rates_their_rights_as_few(
    installed_units: list[str],
) -> None:
    verified = _systemd_analyze("verify", "--man=no", *installed_units)

    assert (verified.returncode, verified.stderr) == (0, "")
    for unit in installed_units:
        if unit.endswith(".service") and "@" not in unit:
            options = ("--offline=true", f"--threshold={ADMISSIBLE_EXPOSURE}", "--no-pager")
            rated = _systemd_analyze("security", *options, unit)
            assert rated.returncode == 0, rated.stdout


def _systemd_analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [SYSTEMD_ANALYZE or "", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ours
