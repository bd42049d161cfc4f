import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog
import yaml

from restaurant_system import __version__, cli
from tests.support import logs

ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Outcome:
    """Exit code and output of a command."""

    code: int
    stdout: str
    stderr: str


class CommandLine:
    """Runs commands in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Outcome:
        """Run ``restaurant-system ARGUMENTS``."""
        self._monkeypatch.setattr(sys, "argv", ["restaurant-system", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = self._capsys.readouterr()
        code = end.value.code
        assert isinstance(code, int)
        return Outcome(code, ANSI.sub("", captured.out), ANSI.sub("", captured.err))


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[CommandLine]:
    """Run commands on a wide terminal, with a database that is unreachable."""
    for variable in os.environ:
        if variable.startswith("RESTAURANT_"):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("RESTAURANT_DATABASE__PORT", "1")
    monkeypatch.setenv("RESTAURANT_STARTUP_TIMEOUT", "0.1")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    with logs.restored():
        yield CommandLine(monkeypatch, capsys)


def options_in(help_text: str) -> dict[str, str]:
    """Return the options in a help text, each with its description."""
    rows = (line.strip("│ *") for line in help_text.splitlines())
    return {row.split()[0]: row for row in rows if row.startswith("--")}


@pytest.mark.parametrize(
    "command",
    [
        "up",
        "order-service",
        "kitchen-worker",
        "kitchen-display",
        "tracking-service",
        "notification-subscriber",
        "migrate",
        "dead-letters",
        "doctor",
        "users",
        "api-keys",
    ],
)
def test_help_lists_every_command(run: CommandLine, command: str) -> None:
    shown = run("--help")
    helped = run(command, "--help")

    assert shown.code == helped.code == 0
    assert re.search(rf"^│ {command} +[A-Z].+\.", shown.stdout, re.MULTILINE)
    assert f"restaurant-system {command} " in helped.stdout


@pytest.mark.parametrize(
    ("command", "defaults"),
    [
        (
            "up",
            {
                "--port": "3000",
                "--host": "127.0.0.1",
                "--data-dir": "~/.local/share/restaurant-system",
                "--worker": "NAME[:TYPE,TYPE]",
                "--no-worker": "people",
                "--cooking-time-scale": "1.0",
            },
        ),
        ("order-service", {"--port": "3000", "--max-concurrent": "50", "--processes": "1"}),
        (
            "kitchen-worker",
            {
                "--worker-name": "[required]",
                "--order-types": "all",
                "--heartbeat-interval": "30",
                "--prefetch": "1",
                "--cooking-time-scale": "1.0",
            },
        ),
        ("kitchen-display", {"--port": "3001", "--capacity": "12"}),
        ("tracking-service", {"--port": "3002", "--processes": "1"}),
        ("notification-subscriber", {"--name": "none"}),
        ("migrate", {"--check": "exit 1"}),
    ],
)
def test_help_shows_each_option_with_its_default(
    run: CommandLine, command: str, defaults: dict[str, str]
) -> None:
    shown = options_in(run(command, "--help").stdout)

    assert {name for name, default in defaults.items() if default not in shown[name]} == set()
    assert "config.yaml" in shown["--config"]


def test_version_option_prints_the_version(run: CommandLine) -> None:
    """`--version` prints the program's name and version, and exits with 0."""
    assert run("--version") == Outcome(0, f"restaurant-system {__version__}\n", "")


def test_help_is_shown_without_a_command(run: CommandLine) -> None:
    assert "kitchen-worker" in run().stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["--mode=kitchen-worker", "--help"],
        ["--mode", "kitchen-worker", "--help"],
        ["--help", "--mode=kitchen-worker"],
        ["--help", "--mode", "kitchen-worker"],
    ],
)
def test_mode_option_selects_the_command(run: CommandLine, arguments: list[str]) -> None:
    assert run(*arguments) == run("kitchen-worker", "--help")


def test_mode_option_may_be_followed_by_a_subcommand(run: CommandLine) -> None:
    assert run("--mode=dead-letters", "show", "--help") == run("dead-letters", "show", "--help")


def test_options_around_mode_belong_to_the_command(run: CommandLine) -> None:
    outcome = run("--worker-name", "mario", "--mode=kitchen-worker", "--order-types", "sushi")

    assert outcome.stderr.startswith("restaurant-system: 'sushi' is not an order type")


@pytest.mark.parametrize(
    "arguments",
    [
        ["brunch"],
        ["--mode=brunch"],
        ["--mode"],
        ["--loud"],
        ["migrate", "--loud"],
        ["order-service", "--port", "many"],
        ["order-service", "--port", "65536"],
        ["order-service", "--max-concurrent", "0"],
        ["kitchen-worker"],
        ["kitchen-worker", "--worker-name", "mario", "--prefetch", "0"],
        ["up", "--cooking-time-scale", "-1"],
        ["tracking-service", "3002"],
        ["dead-letters", "burn"],
        ["dead-letters", "show"],
        ["dead-letters", "discard"],
        ["users", "add", "Anna"],
        ["users", "add", "Anna", "--role", "chef", "--generate"],
        ["users", "add", "", "--role", "staff", "--generate"],
        ["users", "disable"],
        ["api-keys", "add", "Till"],
        ["api-keys", "add", "Till", "--scope", "everything"],
        ["api-keys", "add", "Till", "--scope", "read_status"],
    ],
)
def test_wrong_usage_exits_with_2(run: CommandLine, arguments: list[str]) -> None:
    outcome = run(*arguments)

    assert outcome.code == 2
    assert outcome.stdout == ""
    assert outcome.stderr != ""
    assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("--port", "many", "Invalid value for '--port': it must be a whole number."),
        ("--port", "65536", "Invalid value for '--port': it must be at most 65535."),
        ("--log-format", "xml", "log.format: must be 'auto', 'json' or 'console'"),
    ],
)
def test_invalid_option_value_is_explained(
    run: CommandLine, option: str, value: str, sentence: str
) -> None:
    assert sentence in run("order-service", option, value).stderr


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("kichen: {prefetch: 3}", "kichen"),
        ("kitchen: {prefech: 3}", "kitchen.prefech"),
        ("kitchen: {prefetch: many}", "kitchen.prefetch"),
        ("kitchen: [", "settings.yaml"),
    ],
)
@pytest.mark.parametrize(
    "command",
    [
        ["up"],
        ["order-service"],
        ["kitchen-worker", "--worker-name", "mario"],
        ["kitchen-display"],
        ["tracking-service"],
        ["notification-subscriber"],
        ["migrate"],
        ["migrate", "--check"],
        ["dead-letters", "list"],
        ["dead-letters", "show", "1"],
        ["dead-letters", "requeue", "1"],
        ["dead-letters", "discard", "--all", "--yes"],
    ],
)
def test_wrong_configuration_exits_with_2_and_names_the_error(
    run: CommandLine, command: list[str], content: str, expected: str
) -> None:
    Path("settings.yaml").write_text(content, encoding="utf-8")

    outcome = run(*command, "--config", "settings.yaml")

    assert outcome.code == 2
    assert outcome.stdout == ""
    assert outcome.stderr.startswith("restaurant-system: ")
    assert outcome.stderr.count("\n") == 1
    assert expected in outcome.stderr


def test_missing_configuration_file_exits_with_2(run: CommandLine) -> None:
    outcome = run("migrate", "--config", "absent.yaml")

    assert outcome.code == 2
    assert "absent.yaml" in outcome.stderr


@pytest.mark.parametrize(
    ("variable", "value"),
    [("RESTAURANT_KITCHEN__PREFECH", "3"), ("RESTAURANT_KITCHEN", "busy")],
)
def test_wrong_variable_exits_with_2_and_one_line(
    run: CommandLine, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)

    outcome = run("migrate")

    assert outcome.code == 2
    assert outcome.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["kitchen-worker", "--worker-name", ""], "name"),
        (["kitchen-worker", "--worker-name", "m" * 101], "name"),
        (["kitchen-worker", "--worker-name", "ma\nrio"], "name"),
        (["kitchen-worker", "--worker-name", "ma\x9brio"], "name"),
        (["kitchen-worker", "--worker-name", "ma\u202erio"], "name"),
        (["kitchen-worker", "--worker-name", "ma\udcffrio"], "name"),
        (["up", "--worker", "ma\u2066rio:takeout"], "name"),
        (["notification-subscriber", "--name", "ti\x1b[2Jll"], "name"),
        (["kitchen-worker", "--worker-name", "mario", "--order-types", "sushi"], "'sushi'"),
        (["kitchen-worker", "--worker-name", "mario", "--order-types", "takeout,"], "''"),
        (["kitchen-worker", "--worker-name", "mario", "--heartbeat-interval", "0"], "heartbeat"),
        (["up", "--worker", ":takeout"], "name"),
        (["up", "--worker", "mario:sushi"], "'sushi'"),
        (["up", "--worker", "mario", "--no-worker"], "--no-worker"),
        (["up", "--worker", "mario", "--worker", "luigi:takeout,sushi"], "'sushi'"),
        (["migrate", "--log-format", "xml"], "log.format"),
    ],
)
def test_invalid_name_or_order_type_exits_with_2(
    run: CommandLine, arguments: list[str], expected: str
) -> None:
    outcome = run(*arguments)

    assert outcome.code == 2
    assert outcome.stderr.count("\n") == 1
    assert expected in outcome.stderr


def test_unknown_order_type_error_lists_the_known_ones(run: CommandLine) -> None:
    outcome = run("kitchen-worker", "--worker-name", "mario", "--order-types", "sushi")

    assert "dine_in, takeout, delivery" in outcome.stderr


CONTROL_CHARACTERS = "\x1b[2J\x9b\u202e\u2066\udcff\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["migrate", "--config", CONTROL_CHARACTERS],
        ["kitchen-worker", "--worker-name", CONTROL_CHARACTERS],
        ["kitchen-worker", "--worker-name", "mario", "--order-types", CONTROL_CHARACTERS],
        ["kitchen-worker", "--worker-name", "mario", "--prefetch", CONTROL_CHARACTERS],
        ["up", "--data-dir", f"/dev/null/{CONTROL_CHARACTERS}"],
        ["up", f"--{CONTROL_CHARACTERS}"],
        [CONTROL_CHARACTERS],
        ["dead-letters", "requeue", CONTROL_CHARACTERS, "--log-format", CONTROL_CHARACTERS],
    ],
)
def test_control_characters_of_an_argument_are_escaped(
    run: CommandLine, arguments: list[str]
) -> None:
    outcome = run(*arguments)

    assert outcome.code != 0
    (line,) = outcome.stderr.splitlines()
    assert line.isprintable()


def test_failure_while_loading_settings_prints_no_local_variable(
    run: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text of the configuration file, a local variable, may contain passwords."""
    Path("settings.yaml").write_text("database: {password: s3cret}", encoding="utf-8")
    monkeypatch.setattr(yaml, "safe_load", _fail)
    structlog.reset_defaults()

    outcome = run("migrate", "--config", "settings.yaml")

    assert outcome.code == 1
    assert "Failed unexpectedly (RuntimeError)" in outcome.stderr
    assert "s3cret" not in outcome.stdout + outcome.stderr


def _fail(text: str) -> None:
    raise RuntimeError(text)
