"""Exit codes and errors of commands, and starts on an empty database."""

import signal
from pathlib import Path

import pytest

from tests.support import deployments
from tests.support.deployments import QUICK_SETTINGS, error_message
from tests.support.processes import Launch, Processes, execute, fork, processes
from tests.support.waiting import wait_until

UNREACHABLE = "postgresql://postgres@127.0.0.1:1/name"  # a port without a listener

WRONG = {
    "a missing option": (["kitchen-worker"], {}, "--worker-name"),
    "a value out of range": (
        ["order-service"],
        {"RESTAURANT_DELIVERY__MAX_ATTEMPTS": "0"},
        "delivery.max_attempts",
    ),
    "not a list": (
        ["order-service"],
        {"RESTAURANT_DELIVERY__RETRY_DELAYS": "soon"},
        "delivery",
    ),
    "an unknown key": (["order-service"], {"RESTAURANT_KITCHEN__CHEFS": "3"}, "kitchen.chefs"),
    "a missing file": (["order-service", "--config", "menu.yaml"], {}, "menu.yaml"),
    "a missing menu": (["up"], {"RESTAURANT_ORDER_SERVICE__MENU": "lunch.yaml"}, "lunch.yaml"),
}


@pytest.mark.parametrize(("command", "variables", "named"), WRONG.values(), ids=WRONG.keys())
def test_wrong_usage_exits_with_2(
    commands: Processes, command: list[str], variables: dict[str, str], named: str
) -> None:
    """The error names the wrong option or value, without a traceback."""
    process = commands.start(*command, **variables)

    assert process.wait() == 2
    assert named in process.stderr
    assert "Traceback" not in process.stderr


@pytest.mark.parametrize(
    "command",
    [["order-service", "--port", "0"], ["kitchen-worker", "--worker-name", "anna"], ["migrate"]],
    ids=lambda command: command[0],
)
def test_unreachable_database_exits_with_1_after_the_startup_timeout(
    commands: Processes, command: list[str]
) -> None:
    """One line on stderr says what to do about the unreachable database."""
    process = commands.start(
        *command, RESTAURANT_DATABASE__URL=UNREACHABLE, RESTAURANT_STARTUP_TIMEOUT="1"
    )

    assert process.wait() == 1
    assert error_message(process).count("\n") == 1
    assert "Check that PostgreSQL runs" in error_message(process)


def test_sigterm_while_waiting_for_the_database_exits_with_0() -> None:
    with processes(QUICK_SETTINGS, execute) as commands:
        process = commands.start(
            "order-service", "--port", "0", RESTAURANT_DATABASE__URL=UNREACHABLE
        )
        process.wait_for("db_connection_failed")

        assert process.stop() == 0


@pytest.mark.parametrize("interrupt", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("command", "launch"),
    [
        ("migrate", execute),  # as a shell does, which takes longer
        ("migrate --check", fork),
        ("dead-letters list", fork),
        ("dead-letters requeue --all --yes", fork),
    ],
)
def test_interrupted_command_exits_with_1(
    command: str, launch: Launch, interrupt: signal.Signals
) -> None:
    """One line on stderr says that the command was interrupted; stdout is empty."""
    with processes(QUICK_SETTINGS, launch) as commands:
        process = commands.start(*command.split(), RESTAURANT_DATABASE__URL=UNREACHABLE)
        wait_until(
            lambda: process.stderr != "", seconds=30, doing="for the first attempt to connect"
        )

        process.signal(interrupt)

        assert process.wait() == 1
        assert process.stdout == ""
        assert error_message(process).startswith("restaurant-system: Interrupted before")
        assert error_message(process).count("\n") == 1


@pytest.mark.parametrize(
    "command", [["order-service", "--port", "0"], ["migrate"], ["migrate", "--check"]], ids=" ".join
)
def test_database_that_is_not_utf_8_exits_with_1(
    commands: Processes, latin_1_dsn: str, command: list[str]
) -> None:
    """One line on stderr has the command that creates a UTF-8 database."""
    process = commands.start(*command, RESTAURANT_DATABASE__URL=latin_1_dsn)

    assert process.wait() == 1
    assert error_message(process).count("\n") == 1
    assert "ENCODING 'UTF8'" in error_message(process)


@pytest.mark.parametrize(
    "wrong", [("postgres@", "nobody@"), ("/test_", "/nobody_")], ids=["no user", "no database"]
)
def test_database_that_refuses_the_connection_exits_with_1(
    commands: Processes, empty_dsn: str, wrong: tuple[str, str]
) -> None:
    """One line on stderr has PostgreSQL's reason, without a traceback."""
    refused = empty_dsn.replace(*wrong)

    process = commands.start(
        "migrate", RESTAURANT_DATABASE__URL=refused, RESTAURANT_STARTUP_TIMEOUT="1"
    )

    assert process.wait() == 1
    assert error_message(process).count("\n") == 1
    assert "nobody" in error_message(process)


def test_mode_option_runs_the_command(empty_dsn: str) -> None:
    with deployments.running(empty_dsn) as deployment:
        cook = deployment.start("--mode=kitchen-worker", "--worker-name", "x")

        cook.wait_for("worker_registered", worker_name="x")

        assert cook.stop() == 0


def test_migrate_check_lists_pending_migrations_until_migrate_has_run(empty_dsn: str) -> None:
    with deployments.running(empty_dsn) as deployment:
        before = deployment.start("migrate", "--check")
        assert before.wait() == 1
        assert "001_create_orders.sql" in before.stdout
        assert not deployment.query("SELECT FROM pg_tables WHERE schemaname = 'public'")

        assert deployment.start("migrate").wait() == 0

        after = deployment.start("migrate", "--check")
        assert after.wait() == 0
        assert after.stdout == "The schema is up to date.\n"


def test_services_started_together_migrate_an_empty_database_once(
    empty_dsn: str, optional_amqp_url: str | None
) -> None:
    with deployments.running(empty_dsn, optional_amqp_url) as deployment:
        deployment.start_order_service()
        deployment.start_tracking_service()
        deployment.start_worker("anna")
        display = deployment.start_subscriber("display")
        deployment.wait_until_ready()

        number = deployment.place_order()
        deployment.wait_for_status(number, "ready")
        wait_until(lambda: display.stdout.count("\n") == 2, seconds=30, doing="for two updates")


def test_separate_services_share_the_embedded_database(data_dir: Path) -> None:
    with processes({"RESTAURANT_DATA_DIR": str(data_dir)}) as started:
        anna = started.start("kitchen-worker", "--worker-name", "anna")
        display = started.start("notification-subscriber")
        anna.wait_for("worker_registered")
        display.wait_for("service_started")

        assert anna.stop() == 0
        assert display.stop() == 0

    assert not (data_dir / "postgres" / "postmaster.pid").exists()
