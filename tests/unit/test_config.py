import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from restaurant_system.config import load
from restaurant_system.errors import ConfigurationError


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Leave out whatever this machine has set."""
    for variable in os.environ:
        if variable.upper().startswith("RESTAURANT_"):
            monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)


def written(content: str) -> Path:
    """Write a configuration file."""
    file = Path("settings.yaml")
    file.write_text(content, encoding="utf-8")
    return file


def fault(content: str = "", overrides: Mapping[str, Any] | None = None) -> str:
    """Return what is said about a configuration that is refused."""
    with pytest.raises(ConfigurationError) as refusal:
        load(written(content), overrides)
    return str(refusal.value)


def test_file_environment_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file overrides the defaults, the environment the file, and an option both."""
    file = written("kitchen: {heartbeat_interval: 2, prefetch: 2, cooking_time_scale: 2}")
    monkeypatch.setenv("RESTAURANT_KITCHEN__PREFETCH", "3")
    monkeypatch.setenv("RESTAURANT_KITCHEN__COOKING_TIME_SCALE", "3")

    kitchen = load(file, {"kitchen.cooking_time_scale": 4.0}).kitchen

    assert kitchen.cooking_seconds.dine_in == 8
    assert kitchen.heartbeat_interval == 2
    assert kitchen.prefetch == 3
    assert kitchen.cooking_time_scale == 4


def test_options_not_given() -> None:
    """An option that was not given overrides nothing."""
    file = written("order_service: {port: 3100}")

    assert load(file, {"order_service.port": None}).order_service.port == 3100


def test_no_file() -> None:
    """Without a file everything has its default, and nothing external is needed."""
    settings = load()

    assert settings.database is None
    assert settings.rabbitmq is None
    assert settings.order_service.port == 3000
    assert settings.order_service.max_concurrent == 50
    assert settings.tracking_service.port == 3002
    assert settings.kitchen.heartbeat_interval == 30
    assert settings.kitchen.prefetch == 1
    assert settings.delivery.max_attempts == 5
    assert settings.idempotency_hours == 24


def test_the_file_that_lies_there() -> None:
    """Without a named file, config.yaml is read if it is there."""
    Path("config.yaml").write_text("kitchen: {prefetch: 7}", encoding="utf-8")

    assert load().kitchen.prefetch == 7


def test_a_named_file_that_is_missing() -> None:
    """A file that is named must be there."""
    with pytest.raises(ConfigurationError, match=r"absent\.yaml"):
        load(Path("absent.yaml"))


@pytest.mark.parametrize("content", ["", "# nothing yet", "database:\nrabbitmq:\n"])
def test_an_empty_file(content: str) -> None:
    """A file with nothing in it, or with empty sections, changes nothing."""
    assert load(written(content)).model_dump() == load().model_dump()


@pytest.mark.parametrize("content", ["kitchen: [", "a: b: c", "\tx: 1", "- kitchen", "42"])
def test_no_settings_at_all(content: str) -> None:
    """A file that is not YAML, or not settings by name, is refused by its name, in one line."""
    said = fault(content)

    assert said.startswith("settings.yaml ")
    assert "\n" not in said


def test_a_file_that_is_no_text() -> None:
    """A file that is not text is refused by its name."""
    Path("settings.yaml").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(ConfigurationError, match=r"settings\.yaml"):
        load(Path("settings.yaml"))


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("kichen", "kichen: {prefetch: 3}"),
        ("kitchen.prefech", "kitchen: {prefech: 3}"),
        ("kitchen.cooking_seconds.brunch", "kitchen: {cooking_seconds: {brunch: 3}}"),
        ("database.hots", "database: {hots: db}"),
        ("database.replica.hots", "database: {replica: {hots: db}}"),
        ("rabbitmq.tls.cert", "rabbitmq: {tls: {cert: x}}"),
    ],
)
def test_unknown_keys(path: str, content: str) -> None:
    """An unknown key is refused by its path."""
    assert fault(content) == f"{path}: there is no such setting"


@pytest.mark.parametrize(
    ("variable", "path"),
    [
        ("RESTAURANT_KICHEN__PREFETCH", "RESTAURANT_KICHEN__PREFETCH"),
        ("RESTAURANT_PORT", "RESTAURANT_PORT"),
        ("RESTAURANT_KITCHEN__PREFECH", "kitchen.prefech"),
        ("RESTAURANT_DATABASE__REPLICA__HOTS", "database.replica.hots"),
    ],
)
def test_unknown_variables(monkeypatch: pytest.MonkeyPatch, variable: str, path: str) -> None:
    """An unknown variable is refused by its name or by the path that it stands for."""
    monkeypatch.setenv(variable, "3")

    assert fault().startswith(f"{path}: there is no ")


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("kitchen", "kitchen: 5"),
        ("kitchen.prefetch", "kitchen: {prefetch: many}"),
        ("kitchen.prefetch", "kitchen: {prefetch: 0}"),
        ("kitchen.cooking_time_scale", "kitchen: {cooking_time_scale: -1}"),
        ("kitchen.cooking_time_scale", "kitchen: {cooking_time_scale: .nan}"),
        ("kitchen.cooking_time_scale", "kitchen: {cooking_time_scale: .inf}"),
        ("kitchen.cooking_seconds.takeout", "kitchen: {cooking_seconds: {takeout: .inf}}"),
        ("kitchen.heartbeat_interval", "kitchen: {heartbeat_interval: 0}"),
        ("kitchen.heartbeat_interval", "kitchen: {heartbeat_interval: .inf}"),
        ("idempotency_hours", "idempotency_hours: .inf"),
        ("outbox.sweep_after", "outbox: {sweep_after: .inf}"),
        ("order_service.port", "order_service: {port: 65536}"),
        ("order_service.max_concurrent", "order_service: {max_concurrent: 0}"),
        ("delivery.retry_delays", "delivery: {retry_delays: []}"),
        ("delivery.retry_delays.1", "delivery: {retry_delays: [1, soon]}"),
        ("database.password", "database: {password: [a]}"),
        ("database.sslmode", "database: {sslmode: maybe}"),
        ("signing.keys", "signing: {keys: a-secret-of-24-characters}"),
        ("signing.keys.0", "signing: {keys: [fifteen-signs-x]}"),
        ("signing.keys.1", "signing: {keys: [a-secret-of-24-characters, '']}"),
        ("signing.keys", "signing: {keys: [0123456789abcdef, 123456789abcdef0, 23456789abcdef01]}"),
        ("log.level", "log: {level: LOUD}"),
        ("business_timezone", "business_timezone: Mars/Olympus_Mons"),
        ("business_timezone", "business_timezone: ../etc/passwd"),
        ("business_timezone", 'business_timezone: ""'),
    ],
)
def test_wrong_values(path: str, content: str) -> None:
    """A value that nothing could run with is refused at the start, by its path."""
    assert fault(content).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("variable", "value", "path"),
    [
        ("RESTAURANT_KITCHEN__PREFETCH", "many", "kitchen.prefetch"),
        ("RESTAURANT_LOG__LEVEL", "", "log.level"),
        ("RESTAURANT_KITCHEN", "busy", "kitchen"),
        ("RESTAURANT_DELIVERY__RETRY_DELAYS", "1,5,15", "delivery"),
    ],
)
def test_wrong_variables(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, path: str
) -> None:
    """A variable that cannot be read is refused by the path that it stands for."""
    monkeypatch.setenv(variable, value)

    assert path in fault()


def test_every_fault_at_once() -> None:
    """Every wrong setting is named, in one line."""
    said = fault("kichen: 1\nkitchen: {prefetch: 0}\nlog: {level: LOUD}")

    assert "\n" not in said
    assert all(path in said for path in ("kichen: ", "kitchen.prefetch: ", "log.level: "))


def test_secrets_are_not_told() -> None:
    """A password shows neither when the settings are printed nor when one of them is wrong."""
    settings = load(written("database: {password: s3cret, url: 'postgresql://u:s3cret@h/d'}"))

    assert "s3cret" not in repr(settings)
    assert "s3cret" not in fault("database: {password: [s3cret]}")


@pytest.mark.parametrize(
    "value",
    [
        "@s3cret",
        "`s3cret",
        "%s3cret",
        "*s3cret",
        "!s3cret",
        "!s3'cret",
        "!s3!cret x",
        "!<s3 cret>",
        "|s3cret",
        ">s3cret",
        "&s3 &cret x",
        '"s3cret',
        "'s3cret",
        """'s3'cret'""",
        '"\\s3cret"',
        '"\\xs3cret"',
        "[s3cret",
        "{s3cret",
        "]s3cret",
        "s3: cret",
        "s3\ncret",
        "s3\x07cret",
        "!!binary s3cretä",
        "!!int s3cret",
        "!!float s3cret",
        "!!timestamp s3cret",
        "!!bool s3cret",
        "!!int ''",
        "[" * 9000,
        "2020-13-45 s3cret: x",
        "2020-13-45",
    ],
)
def test_broken_yaml_is_placed_without_quoting_the_password(value: str) -> None:
    """The file is named, and where it is wrong, on one line."""
    said = fault(f"database:\n  password: {value}\n  host: db\n")

    assert said.startswith("settings.yaml is not valid YAML: ")
    assert "\n" not in said
    assert not any(part in said for part in ("s3", "cret", "13-45", "\x07"))


def test_broken_yaml_is_named_by_line_column_and_fault() -> None:
    """A person finds the place at once."""
    said = fault("database:\n  password: @s3cret\n")

    assert said == (
        "settings.yaml is not valid YAML: line 2, column 13: found character … that cannot start"
        " any token; put values with special characters into single quotes."
    )


@pytest.mark.parametrize("content", ["{password:s3cret, host: x}", "{'s3cret pass': x}"])
def test_key_that_may_hold_a_password_is_not_quoted(content: str) -> None:
    """A space is missing, or the password stands in the key's place."""
    said = fault(f"database: {content}")

    assert "database.…: there is no such setting; put a space after each colon" in said
    assert "s3cret" not in said


@pytest.mark.parametrize("value", ["{'password': 's3cret'", '{"password": s3cret}', "s3cret"])
def test_broken_json_in_a_variable_is_not_quoted(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """The setting is named by its path."""
    monkeypatch.setenv("RESTAURANT_DATABASE", value)

    said = fault()

    assert "database" in said
    assert "s3cret" not in said


@pytest.mark.parametrize(
    "content",
    [
        "signing: {keys: [s3cret]}",
        "signing: {keys: s3cret-s3cret-s3cret}",
        "signing: {key: s3cret-s3cret-s3cret}",
        "signing: {keys: [s3cret-s3cret-s3cret, s3cret-s3cret-s3cret, s3cret-s3cret-s3cret]}",
    ],
)
def test_keys_are_not_told(content: str) -> None:
    """A key shows neither when it is wrong nor, when it is right, with the settings."""
    assert "s3cret" not in fault(content)
    assert "s3cret" not in repr(load(written("signing: {keys: [s3cret-s3cret-s3cret]}")))


def test_keys_in_a_wrong_variable_are_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is written into the environment without its brackets is not shown either."""
    monkeypatch.setenv("RESTAURANT_SIGNING__KEYS", "s3cret-s3cret-s3cret")

    assert "s3cret" not in fault()


@pytest.mark.parametrize("section", ["database", "rabbitmq"])
@pytest.mark.parametrize(
    "url",
    [
        "not a url",
        "http://anna:s3cret@host:5432/name",
        "{scheme}://anna:s3%cr#et@host:5432/name",
        "{scheme}://anna:s3cr/et@host:5432/name",
        "{scheme}://anna:1/s3cret@host:5432/name",
        "{scheme}://anna:1?s3cret@host:5432/name",
        "{scheme}://anna:1?a=s3cret@host:5432/name",
        "{scheme}://anna:s3[cret@host:5432/name",
        "{scheme}://anna:s3]cret@host:5432/name",
        "{scheme}://anna:s3℀cret@host:5432/name",
        "{scheme}://anna:s3cret@host:99999/name",
        "{scheme}://anna:s3cret@host:port/name",
    ],
)
def test_what_is_no_url_is_refused_without_being_quoted(section: str, url: str) -> None:
    """It is named by its path, and nothing of the password is shown."""
    scheme = {"database": "postgresql", "rabbitmq": "amqp"}[section]

    said = fault(f"{section}: {{url: '{url.format(scheme=scheme)}'}}")

    assert said.startswith(f"{section}.url: ")
    assert "must look like" in said
    assert "s3" not in said.replace("%23", "")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://anna:p%23w@one:5432,two:5433/name?target_session_attrs=read-write",
        "postgres://[::1]:5432/name",
        "postgresql:///name?host=/run/postgresql",
    ],
)
def test_every_way_to_write_a_url(url: str) -> None:
    """Several hosts, an address of IPv6, a socket: what PostgreSQL takes is taken."""
    database = load(written(f"database: {{url: '{url}'}}")).database

    assert database is not None
    assert database.dsn() == url
