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
    """What became of a command line."""

    code: int
    stdout: str
    stderr: str


class CommandLine:
    """Where a person types."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Outcome:
        """Type ``restaurant-system ARGUMENTS``."""
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
    """Type on a wide terminal, where no command gets further than to a dead port."""
    for variable in os.environ:
        if variable.startswith("RESTAURANT_"):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("RESTAURANT_DATABASE__PORT", "1")
    monkeypatch.setenv("RESTAURANT_STARTUP_TIMEOUT", "0.1")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    with logs.restored():
        yield CommandLine(monkeypatch, capsys)


def options(shown: str) -> dict[str, str]:
    """Read the options out of a help text, each with what is said about it."""
    rows = (line.strip("│ *") for line in shown.splitlines())
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
    ],
)
def test_commands(run: CommandLine, command: str) -> None:
    """Help shows every command with a sentence, and each command has help of its own."""
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
def test_options(run: CommandLine, command: str, defaults: dict[str, str]) -> None:
    """The help of a command shows each of its options with its default."""
    shown = options(run(command, "--help").stdout)

    assert {name for name, default in defaults.items() if default not in shown[name]} == set()
    assert "config.yaml" in shown["--config"]


def test_version_option_prints_the_version(run: CommandLine) -> None:
    """`--version` prints the program's name and version, and exits with 0."""
    assert run("--version") == Outcome(0, f"restaurant-system {__version__}\n", "")


def test_no_command(run: CommandLine) -> None:
    """Without a command, help is shown."""
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
def test_mode(run: CommandLine, arguments: list[str]) -> None:
    """`--mode=COMMAND` and `--mode COMMAND` mean the command, wherever they stand."""
    assert run(*arguments) == run("kitchen-worker", "--help")


def test_mode_with_a_command_of_its_own(run: CommandLine) -> None:
    """What follows `--mode=dead-letters` is what is to be done with them."""
    assert run("--mode=dead-letters", "show", "--help") == run("dead-letters", "show", "--help")


def test_mode_keeps_the_other_options(run: CommandLine) -> None:
    """The options around `--mode` are the command's."""
    outcome = run("--worker-name", "mario", "--mode=kitchen-worker", "--order-types", "sushi")

    assert outcome.stderr.startswith("restaurant-system: 'sushi' is no order type")


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
    ],
)
def test_wrong_usage(run: CommandLine, arguments: list[str]) -> None:
    """Wrong usage ends with 2, and says so on stderr alone."""
    outcome = run(*arguments)

    assert outcome.code == 2
    assert outcome.stdout == ""
    assert outcome.stderr != ""
    assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize(
    ("content", "said"),
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
def test_wrong_configuration(run: CommandLine, command: list[str], content: str, said: str) -> None:
    """A wrong configuration ends every command with 2 and one line that names what is wrong."""
    Path("settings.yaml").write_text(content, encoding="utf-8")

    outcome = run(*command, "--config", "settings.yaml")

    assert outcome.code == 2
    assert outcome.stdout == ""
    assert outcome.stderr.startswith("restaurant-system: ")
    assert outcome.stderr.count("\n") == 1
    assert said in outcome.stderr


def test_missing_configuration(run: CommandLine) -> None:
    """A configuration that is named and not there ends with 2, by its name."""
    outcome = run("migrate", "--config", "absent.yaml")

    assert outcome.code == 2
    assert "absent.yaml" in outcome.stderr


@pytest.mark.parametrize(
    ("variable", "value"),
    [("RESTAURANT_KITCHEN__PREFECH", "3"), ("RESTAURANT_KITCHEN", "busy")],
)
def test_wrong_environment(
    run: CommandLine, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    """A wrong variable ends with 2 and one line."""
    monkeypatch.setenv(variable, value)

    outcome = run("migrate")

    assert outcome.code == 2
    assert outcome.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
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
def test_wrong_workers(run: CommandLine, arguments: list[str], said: str) -> None:
    """A worker without a name or with unknown order types ends with 2 and one line."""
    outcome = run(*arguments)

    assert outcome.code == 2
    assert outcome.stderr.count("\n") == 1
    assert said in outcome.stderr


def test_known_types_are_named(run: CommandLine) -> None:
    """Who asks for an unknown order type is told the known ones."""
    outcome = run("kitchen-worker", "--worker-name", "mario", "--order-types", "sushi")

    assert "dine_in, takeout, delivery" in outcome.stderr


ODD = "\x1b[2J\x9b\u202e\u2066\udcff\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["migrate", "--config", ODD],
        ["kitchen-worker", "--worker-name", ODD],
        ["kitchen-worker", "--worker-name", "mario", "--order-types", ODD],
        ["kitchen-worker", "--worker-name", "mario", "--prefetch", ODD],
        ["up", "--data-dir", f"/dev/null/{ODD}"],
        ["up", f"--{ODD}"],
        [ODD],
        ["dead-letters", "requeue", ODD, "--log-format", ODD],
    ],
)
def test_control_characters_of_an_argument_reach_no_terminal(
    run: CommandLine, arguments: list[str]
) -> None:
    """Paths, names and options are quoted in one line, escaped."""
    outcome = run(*arguments)

    assert outcome.code != 0
    (line,) = outcome.stderr.splitlines()
    assert line.isprintable()


def test_failure_before_the_settings_are_read_shows_no_local_variable(
    run: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file's text is among them, and the error may quote it."""
    Path("settings.yaml").write_text("database: {password: s3cret}", encoding="utf-8")
    monkeypatch.setattr(yaml, "safe_load", _fail)
    structlog.reset_defaults()

    outcome = run("migrate", "--config", "settings.yaml")

    assert outcome.code == 1
    assert "Failed unexpectedly (RuntimeError)" in outcome.stderr
    assert "s3cret" not in outcome.stdout + outcome.stderr


def _fail(text: str) -> None:
    raise RuntimeError(text)
