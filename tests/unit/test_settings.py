"""What the settings mean, once they are read."""

import os
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from zoneinfo import ZoneInfo

import pytest

from restaurant_system.config import DatabaseSettings, RabbitMQSettings, Settings, load
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


def test_url_instead_of_parts() -> None:
    """A url says everything by itself."""
    settings = load(
        written("database: {url: 'postgresql://u@h/d'}\nrabbitmq: {url: 'amqp://u@h/v'}")
    )

    assert settings.database is not None
    assert settings.database.dsn() == "postgresql://u@h/d"
    assert settings.rabbitmq is not None
    assert settings.rabbitmq.dsn() == "amqp://u@h/v"


def test_database_parts_with_odd_signs() -> None:
    """Signs with a meaning in an address survive in every part of it."""
    stated = {
        "host": "db",
        "port": 6000,
        "user": "a@b",
        "password": "p@s/w:r%d ?",
        "database": "x/y",
    }

    address = urlsplit(DatabaseSettings.model_validate(stated).dsn())

    assert address.scheme == "postgresql"
    assert unquote(address.username or "") == "a@b"
    assert unquote(address.password or "") == "p@s/w:r%d ?"
    assert unquote(address.path) == "/x/y"
    assert parse_qs(address.query) == {"host": ["db"], "port": ["6000"], "sslmode": ["prefer"]}


def test_rabbitmq_parts_with_odd_signs() -> None:
    """The virtual host / and signs with a meaning survive; TLS has a scheme of its own."""
    plain = RabbitMQSettings.model_validate({"user": "a@b", "password": "p/w:"})
    safe = RabbitMQSettings.model_validate({"vhost": "kitchen", "tls": {"enabled": True}})

    assert plain.dsn() == "amqp://a%40b:p%2Fw%3A@localhost:5672/%2F"
    assert safe.dsn() == "amqps://guest:guest@localhost:5672/kitchen"


@pytest.mark.parametrize("host", ["::1", "2001:db8::5"])
def test_parts_with_an_ipv6_host(host: str) -> None:
    """A host may be an IPv6 address, whose colons are kept apart from the port's."""
    database = urlsplit(DatabaseSettings(host=host).dsn())
    rabbitmq = urlsplit(RabbitMQSettings(host=host).dsn())

    # asyncpg reads a host from either place, in brackets.
    assert parse_qs(database.query).get("host", [f"[{database.hostname}]"]) == [f"[{host}]"]
    assert (rabbitmq.hostname, rabbitmq.port) == (host, 5672)


def test_home_directory() -> None:
    """A path that starts with ~ is meant from the home directory, as in the sample file."""
    assert load(written("data_dir: ~/restaurant")).data_dir == Path.home() / "restaurant"


def test_time_zone() -> None:
    """The business time zone is one of the world's."""
    assert load(written("business_timezone: Europe/Berlin")).timezone == ZoneInfo("Europe/Berlin")
    assert load().timezone == ZoneInfo("UTC")


@pytest.mark.parametrize("name", ["localtime", "posix/Europe/Berlin", "right/UTC", "Mars/Olympus"])
def test_a_time_zone_that_only_this_machine_knows(name: str) -> None:
    """A zone that PostgreSQL and browsers do not know is refused, by its name."""
    with pytest.raises(ConfigurationError, match=rf"business_timezone.*{name}"):
        load(written(f"business_timezone: {name}"))


def test_what_is_late_was_aging_before() -> None:
    """A ticket does not turn late before it has turned old; which type is wrong is said."""
    content = "kitchen: {late_seconds: {delivery: 300}}"

    with pytest.raises(ConfigurationError, match=r"aging_seconds\.delivery"):
        load(written(content))


def test_cooking_time() -> None:
    """Each type has its own cooking time, which the scale stretches; 0 cooks at once."""
    assert load().kitchen.cooking_time("dine_in") == timedelta(seconds=8)
    assert load().kitchen.cooking_time("takeout") == timedelta(seconds=10)
    assert load().kitchen.cooking_time("delivery") == timedelta(seconds=12)

    scaled = load(None, {"kitchen.cooking_time_scale": 0.5}).kitchen
    at_once = load(None, {"kitchen.cooking_time_scale": 0}).kitchen

    assert scaled.cooking_time("delivery") == timedelta(seconds=6)
    assert at_once.cooking_time("delivery") == timedelta()


def test_environment_spells_a_list_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list in the environment is written as JSON."""
    monkeypatch.setenv("RESTAURANT_DELIVERY__RETRY_DELAYS", "[1, 2.5]")

    assert load().delivery.retry_delays == (1, 2.5)


def test_settings_do_not_change() -> None:
    """Settings stay as they were read."""
    with pytest.raises(ValueError, match="frozen"):
        load().kitchen.prefetch = 5  # type: ignore[misc]


def test_settings_class_reads_no_file() -> None:
    """The defaults are those of the class, whatever lies in the directory."""
    Path("config.yaml").write_text("kitchen: {prefetch: 7}", encoding="utf-8")

    assert Settings().kitchen.prefetch == 1
