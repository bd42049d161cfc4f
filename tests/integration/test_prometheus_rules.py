"""The rules of Prometheus are valid, and their unit tests pass."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support.prometheus_server import FILES

RULES = ("recording_rules.yml", "alert_rules.yml")
TESTS = "rules_test.yml"
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


def promtool(*arguments: str) -> str:
    """Run promtool; fail with its output if it finds an error."""
    program = shutil.which("promtool")
    assert program is not None, "run tests/support/prerequisites.py"
    finished = subprocess.run(  # noqa: S603 - our own command
        [program, *arguments],
        env={**os.environ, "GOGC": "400"},  # a third of its time is garbage collection
        capture_output=True,
        text=True,
        check=False,
        cwd=FILES,
    )
    output = finished.stdout + finished.stderr
    assert finished.returncode == 0, output
    return output


def rules(key: str) -> set[str]:
    """Return the names of all rules of a kind, `alert` or `record`."""
    return {
        rule[key]
        for name in RULES
        for group in yaml.safe_load((FILES / name).read_text("utf-8"))["groups"]
        for rule in group["rules"]
        if key in rule
    }


def test_configuration_and_rules_are_valid() -> None:
    promtool("check", "config", "prometheus.yml")
    promtool("check", "config", "--syntax-only", "prometheus-compose.yml")  # its key is a secret
    promtool("check", "rules", *RULES)


def test_unit_tests_of_the_rules_pass() -> None:
    assert "SUCCESS" in promtool("test", "rules", TESTS)


@pytest.mark.parametrize("alert", sorted(rules("alert")))
def test_alert_is_tested_both_ways_and_documented(alert: str) -> None:
    tests = yaml.safe_load((FILES / TESTS).read_text("utf-8"))["tests"]
    fires = {
        bool(case["exp_alerts"])
        for test in tests
        for case in test.get("alert_rule_test", ())
        if case["alertname"] == alert
    }

    assert fires == {True, False}
    assert f"`{alert}`" in OPERATIONS.read_text("utf-8")


def test_every_recorded_figure_is_tested() -> None:
    tests = yaml.safe_load((FILES / TESTS).read_text("utf-8"))["tests"]
    text = str([test.get("promql_expr_test") for test in tests])

    windows = ("30m", "1h", "6h")  # of the service level: the same expression as for 5m
    untested = {name for name in rules("record") if name not in text}
    assert untested <= {f"restaurant:orders_failed:ratio_rate{window}" for window in windows} | {
        "restaurant:event_loop_lag_seconds:p99_rate5m"  # by its alert
    }
