import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from restaurant_system.config import Settings, load
from restaurant_system.config.settings import PLATFORMS
from restaurant_system.errors import ConfigurationError
from restaurant_system.integrations.registry import platforms


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove this machine's settings: its variables and its config.yaml."""
    for variable in os.environ:
        if variable.upper().startswith("RESTAURANT_"):
            monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)


def write_config(content: str) -> Path:
    """Write a configuration file."""
    file = Path("settings.yaml")
    file.write_text(content, encoding="utf-8")
    return file


def configuration_error(content: str = "", overrides: Mapping[str, Any] | None = None) -> str:
    """Return the message of the error that a configuration causes."""
    with pytest.raises(ConfigurationError) as refusal:
        load(write_config(content), overrides)
    return str(refusal.value)


def test_options_override_environment_which_overrides_file(monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_config("kitchen: {heartbeat_interval: 2, prefetch: 2, cooking_time_scale: 2}")
    monkeypatch.setenv("RESTAURANT_KITCHEN__PREFETCH", "3")
    monkeypatch.setenv("RESTAURANT_KITCHEN__COOKING_TIME_SCALE", "3")

    kitchen = load(file, {"kitchen.cooking_time_scale": 4.0}).kitchen

    assert kitchen.cooking_seconds.dine_in == 8
    assert kitchen.heartbeat_interval == 2
    assert kitchen.prefetch == 3
    assert kitchen.cooking_time_scale == 4


def test_option_that_was_not_given_overrides_nothing() -> None:
    file = write_config("order_service: {port: 3100}")

    assert load(file, {"order_service.port": None}).order_service.port == 3100


def test_without_a_file_all_settings_have_their_defaults() -> None:
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


def test_config_yaml_in_the_working_directory_is_read() -> None:
    Path("config.yaml").write_text("kitchen: {prefetch: 7}", encoding="utf-8")

    assert load().kitchen.prefetch == 7


def test_missing_given_file_is_named_in_the_error() -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.yaml"):
        load(Path("absent.yaml"))


@pytest.mark.parametrize("content", ["", "# empty", "database:\nrabbitmq:\n"])
def test_empty_file_or_sections_change_nothing(content: str) -> None:
    assert load(write_config(content)).model_dump() == load().model_dump()


@pytest.mark.parametrize("content", ["kitchen: [", "a: b: c", "\tx: 1", "- kitchen", "42"])
def test_file_without_settings_is_refused_in_one_line(content: str) -> None:
    message = configuration_error(content)

    assert message.startswith("settings.yaml ")
    assert "\n" not in message


def test_binary_file_is_refused() -> None:
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
def test_unknown_key_is_refused_with_its_path(path: str, content: str) -> None:
    assert configuration_error(content) == f"{path}: there is no such setting"


@pytest.mark.parametrize(
    ("variable", "path"),
    [
        ("RESTAURANT_KICHEN__PREFETCH", "RESTAURANT_KICHEN__PREFETCH"),
        ("RESTAURANT_PORT", "RESTAURANT_PORT"),
        ("RESTAURANT_KITCHEN__PREFECH", "kitchen.prefech"),
        ("RESTAURANT_DATABASE__REPLICA__HOTS", "database.replica.hots"),
    ],
)
def test_unknown_variable_is_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, path: str
) -> None:
    """The error names the environment variable, or the path of the setting."""
    monkeypatch.setenv(variable, "3")

    assert configuration_error().startswith(f"{path}: there is no ")


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
        ("integrations.toast.secret", "integrations: {toast: {}}"),
        ("integrations.toast.secret", "integrations: {toast: {secret: fifteen-signs-x}}"),
        ("integrations.toast.secret", "integrations: {toast: {secret: []}}"),
        ("integrations.toast.secret", f"integrations: {{toast: {{secret: {['k' * 32] * 3}}}}}"),
        ("integrations.toast.key", "integrations: {toast: {secret: 0123456789abcdef, key: 1}}"),
        ("integrations.toast", "integrations: {toast: 0123456789abcdef}"),
        ("log.level", "log: {level: LOUD}"),
        ("business_timezone", "business_timezone: Mars/Olympus_Mons"),
        ("business_timezone", "business_timezone: ../etc/passwd"),
        ("business_timezone", 'business_timezone: ""'),
        ("kitchen.priority_thresholds", "kitchen: {priority_thresholds: {7: 10}}"),
        ("kitchen.priority_thresholds", "kitchen: {priority_thresholds: {5: 101}}"),
        ("kitchen.priority_thresholds.5", "kitchen: {priority_thresholds: {5: -1}}"),
        ("currency", "currency: EURO"),
        ("currency", "currency: eur"),
        ("currency", "currency: XAU"),
        ("business_day_start", "business_day_start: 12:00"),
        ("business_day_start", 'business_day_start: "5:00"'),
        ("business_day_start", 'business_day_start: "24:00"'),
        ("business_day_start", 'business_day_start: "04:00:00"'),
    ],
)
def test_invalid_value_is_refused_with_its_path(path: str, content: str) -> None:
    assert configuration_error(content).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("variable", "value", "path"),
    [
        ("RESTAURANT_KITCHEN__PREFETCH", "many", "kitchen.prefetch"),
        ("RESTAURANT_LOG__LEVEL", "", "log.level"),
        ("RESTAURANT_KITCHEN", "busy", "kitchen"),
        ("RESTAURANT_DELIVERY__RETRY_DELAYS", "1,5,15", "delivery"),
    ],
)
def test_invalid_variable_is_refused_with_the_path_of_its_setting(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, path: str
) -> None:
    monkeypatch.setenv(variable, value)

    assert path in configuration_error()


def test_all_errors_are_reported_in_one_line() -> None:
    message = configuration_error("kichen: 1\nkitchen: {prefetch: 0}\nlog: {level: LOUD}")

    assert "\n" not in message
    assert all(path in message for path in ("kichen: ", "kitchen.prefetch: ", "log.level: "))


def test_passwords_appear_neither_in_repr_nor_in_errors() -> None:
    settings = load(write_config("database: {password: s3cret, url: 'postgresql://u:s3cret@h/d'}"))

    assert "s3cret" not in repr(settings)
    assert "s3cret" not in configuration_error("database: {password: [s3cret]}")


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
def test_yaml_error_does_not_quote_the_password(value: str) -> None:
    message = configuration_error(f"database:\n  password: {value}\n  host: db\n")

    assert message.startswith("settings.yaml is not valid YAML: ")
    assert "\n" not in message
    assert not any(part in message for part in ("s3", "cret", "13-45", "\x07"))


def test_yaml_error_has_line_column_and_cause() -> None:
    message = configuration_error("database:\n  password: @s3cret\n")

    assert message == (
        "settings.yaml is not valid YAML: line 2, column 13: found character … that cannot start"
        " any token; put values with special characters into single quotes."
    )


@pytest.mark.parametrize("content", ["{password:s3cret, host: x}", "{'s3cret pass': x}"])
def test_key_that_may_contain_a_password_is_not_quoted(content: str) -> None:
    """A YAML key that may be a password, for example because a space is missing, is not quoted."""
    message = configuration_error(f"database: {content}")

    assert "database.…: there is no such setting; put a space after each colon" in message
    assert "s3cret" not in message


@pytest.mark.parametrize("value", ["{'password': 's3cret'", '{"password": s3cret}', "s3cret"])
def test_invalid_json_in_a_variable_is_not_quoted(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("RESTAURANT_DATABASE", value)

    message = configuration_error()

    assert "database" in message
    assert "s3cret" not in message


@pytest.mark.parametrize(
    "content",
    [
        "signing: {keys: [s3cret]}",
        "signing: {keys: s3cret-s3cret-s3cret}",
        "signing: {key: s3cret-s3cret-s3cret}",
        "integrations: {toast: {secret: s3cret}}",
        "integrations: {toast: s3cret-s3cret-s3cret}",
        "integrations: {toast: {secret: [s3cret-s3cret-s3cret, s3cret]}}",
        "signing: {keys: [s3cret-s3cret-s3cret, s3cret-s3cret-s3cret, s3cret-s3cret-s3cret]}",
    ],
)
def test_signing_keys_appear_neither_in_repr_nor_in_errors(content: str) -> None:
    assert "s3cret" not in configuration_error(content)
    assert "s3cret" not in repr(load(write_config("signing: {keys: [s3cret-s3cret-s3cret]}")))


def test_signing_key_in_a_variable_without_brackets_is_not_quoted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RESTAURANT_SIGNING__KEYS", "s3cret-s3cret-s3cret")

    assert "s3cret" not in configuration_error()


def secrets_of(platform: str, settings: Settings) -> list[str]:
    """Return what a platform may sign with."""
    return [each.get_secret_value() for each in settings.integrations[platform].secret]


def test_secret_of_a_platform_can_be_two_while_it_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secrets = ["0123456789abcdef", "fedcba9876543210"]
    monkeypatch.setenv("RESTAURANT_INTEGRATIONS__HUBRISE__SECRET", json.dumps(secrets))

    settings = load(write_config(f"integrations: {{toast: {{secret: {json.dumps(secrets)}}}}}"))

    assert secrets_of("toast", settings) == secrets
    assert secrets_of("hubrise", settings) == secrets


def test_secret_of_a_platform_can_be_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTAURANT_INTEGRATIONS__OPEN_DELIVERY__SECRET", "s3cret-s3cret-s3cret")

    settings = load()

    assert secrets_of("open_delivery", settings) == ["s3cret-s3cret-s3cret"]
    assert "s3cret" not in repr(settings)


def test_platform_that_is_not_known_is_refused_by_every_command() -> None:
    refusal = configuration_error("integrations: {pidgeon: {secret: 0123456789abcdef}}")

    assert "integrations: there is no platform 'pidgeon'; known are deliverect" in refusal
    assert platforms().keys() == PLATFORMS


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
        "{scheme}://anna:s3cret@host:99999/name",
        "{scheme}://anna:s3cret@host:port/name",
    ],
)
def test_invalid_url_is_refused_without_quoting_the_password(section: str, url: str) -> None:
    scheme = {"database": "postgresql", "rabbitmq": "amqp"}[section]

    message = configuration_error(f"{section}: {{url: '{url.format(scheme=scheme)}'}}")

    assert message.startswith(f"{section}.url: ")
    assert "must look like" in message
    assert "s3" not in message.replace("%23", "")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://anna:p%23w@one:5432,two:5433/name?target_session_attrs=read-write",
        "postgres://[::1]:5432/name",
        "postgresql:///name?host=/run/postgresql",
        "postgresql://anna:pw@/name?host=/run/postgresql",
        "postgresql://anna@",
        "postgresql://anna:pw@[::1]:5432,two/name?sslmode=require",
        "postgresql://anna@/name?host=one%2C%5B%3A%3A1%5D&port=5432%2C5433",
    ],
)
def test_all_forms_of_a_postgres_url_are_accepted(url: str) -> None:
    """Several hosts, an IPv6 address, a Unix socket with and without a user."""
    database = load(write_config(f"database: {{url: '{url}'}}")).database

    assert database is not None
    assert database.dsn() == url


@pytest.mark.parametrize(
    ("numbers", "fault"),
    [
        ("[0, 2]", "there is no partition 2 in consume_partitions; they are numbered from 0 to 1"),
        ("[-1]", "there is no partition -1"),
        ("[1, 1]", "a partition is named twice"),
    ],
)
def test_partitions_that_do_not_exist_are_refused(numbers: str, fault: str) -> None:
    message = configuration_error(f"rabbitmq: {{partitions: 2, consume_partitions: {numbers}}}")

    assert message.startswith("rabbitmq: ")
    assert fault in message


@pytest.mark.parametrize("password", ["s3[cr]et", "s3℀cret", "s3:cret", "s3%cret"])
@pytest.mark.parametrize("url", ["postgresql://anna:{}@host/db", "postgresql://anna:{}@/db"])
def test_special_characters_in_the_password_of_a_url_are_kept(password: str, url: str) -> None:
    database = load(write_config(f"database: {{url: '{url.format(password)}'}}")).database

    assert database is not None
    assert unquote(urlsplit(database.dsn()).password or "") == password


@pytest.mark.parametrize(
    ("primary", "expected"),
    [
        (
            {"host": "db1", "user": "anna", "password": "p@ss", "database": "r", "port": 5433},
            "postgresql://anna:p%40ss@db2:5433/r?sslmode=prefer",
        ),
        (
            {"hosts": ["db1", "db2"], "user": "anna", "password": "p", "sslmode": "require"},
            "postgresql://anna:p@db2:5432/restaurant_db?sslmode=require",
        ),
        (
            {"url": "postgresql://anna:p@db1:1,db3:2/r?target_session_attrs=read-write"},
            "postgresql://anna:p@db2:5432/r",
        ),
        (
            {"url": "postgresql:///r?host=db1,db3&user=anna&application_name=x"},
            "postgresql://db2:5432/r?user=anna&application_name=x",
        ),
    ],
)
def test_replica_named_by_its_host_has_the_login_and_options_of_the_primary(
    primary: dict[str, object], expected: str
) -> None:
    settings = Settings.model_validate({"database": {**primary, "replicas": ["db2"]}})

    assert settings.database is not None
    ((name, replica),) = settings.database.replica_servers().items()
    assert replica.dsn() == expected
    assert name == expected.partition("?")[0].partition("@")[2].partition("/")[0] or "db2:5432"


def test_replica_named_by_a_url_has_its_own_login_and_the_certificates_of_the_primary() -> None:
    replicas = ["postgresql://reader:q@db2/r", "[2001:db8::1]:5433"]
    database = {"host": "db1", "sslmode": "require", "pool_max": 7, "replicas": replicas}

    loaded = Settings.model_validate({"database": database}).database

    assert loaded is not None
    first, second = loaded.replica_servers().items()
    assert first[0] == "db2:5432"
    assert first[1].dsn() == "postgresql://reader:q@db2/r?sslmode=require"
    assert first[1].pool_max == 7
    assert second[0] == "[2001:db8::1]:5433"


@pytest.mark.parametrize(
    ("database", "path"),
    [
        ({"replicas": ["db2:5432:1"]}, "database.replicas.0"),
        ({"replicas": ["postgresql://db2,db3/r"]}, "database.replicas.0"),
        ({"replicas": ["db2", "db2:5432"]}, "database: "),
        ({"replicas": ["db2"], "replica": {}}, "database: "),
        ({"max_lag": 0}, "database.max_lag"),
    ],
)
def test_invalid_replicas_are_refused(database: dict[str, object], path: str) -> None:
    with pytest.raises(ConfigurationError, match=path):
        load(write_config(json.dumps({"database": database})))
