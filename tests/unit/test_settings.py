import os
from datetime import time, timedelta
from decimal import Decimal
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from restaurant_system.app import http_service
from restaurant_system.config import (
    DatabaseSettings,
    RabbitMQSettings,
    Settings,
    load,
    split_postgres_url,
)
from restaurant_system.errors import ConfigurationError
from restaurant_system.models.business_day import BusinessDay
from restaurant_system.models.order import DEFAULT_THRESHOLDS, PriorityThresholds
from restaurant_system.web.problem import Refusal


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


def test_url_replaces_the_parts_of_the_address() -> None:
    settings = load(
        write_config("database: {url: 'postgresql://u@h/d'}\nrabbitmq: {url: 'amqp://u@h/v'}")
    )

    assert settings.database is not None
    assert settings.database.dsn() == "postgresql://u@h/d"
    assert settings.rabbitmq is not None
    assert settings.rabbitmq.dsns() == ["amqp://u@h/v"]


def test_special_characters_are_escaped_in_the_postgres_dsn() -> None:
    parts = {
        "host": "db",
        "port": 6000,
        "user": "a@b",
        "password": "p@s/w:r%d ?",
        "database": "x/y",
    }

    address = urlsplit(DatabaseSettings.model_validate(parts).dsn())

    assert address.scheme == "postgresql"
    assert unquote(address.username or "") == "a@b"
    assert unquote(address.password or "") == "p@s/w:r%d ?"
    assert unquote(address.path) == "/x/y"
    assert parse_qs(address.query) == {"host": ["db"], "port": ["6000"], "sslmode": ["prefer"]}


def test_special_characters_are_escaped_in_the_rabbitmq_dsn() -> None:
    """The virtual host / is escaped too; with TLS the scheme is amqps."""
    plain = RabbitMQSettings.model_validate({"user": "a@b", "password": "p/w:"})
    encrypted = RabbitMQSettings.model_validate({"vhost": "kitchen", "tls": {"enabled": True}})

    assert plain.dsns() == ["amqp://a%40b:p%2Fw%3A@localhost:5672/%2F"]
    assert encrypted.dsns() == ["amqps://guest:guest@localhost:5672/kitchen"]


@pytest.mark.parametrize(
    "settings",
    [
        {"hosts": ["mq1", "MQ2:5673", "[2001:db8::1]:5674", "::1"], "user": "u", "password": "p"},
        {"url": "amqp://u:p@mq1:5672,mq2:5673,[2001:db8::1]:5674,[::1]:5672/%2F"},
    ],
)
def test_several_nodes_of_rabbitmq_share_the_login_and_the_virtual_host(
    settings: dict[str, object],
) -> None:
    rabbitmq = RabbitMQSettings.model_validate(settings)

    assert rabbitmq.dsns() == [
        f"amqp://u:p@{node}/%2F"
        for node in ("mq1:5672", "mq2:5673", "[2001:db8::1]:5674", "[::1]:5672")
    ]
    assert rabbitmq.vhost_and_user() == ("/", "u")


SEVERAL_NODES = {
    "a login for each node": (
        {"url": "amqp://u:s3cret@a,u:s3cret@b/"},
        "must look like amqp://user:password@host1:5672,host2:5672/vhost",
    ),
    "a comma too many": ({"url": "amqp://u:s3cret@a,b,/"}, "must look like amqp://"),
    "no hosts but commas": ({"url": "amqp://a,,b/"}, "must look like amqp://"),
    "a port that is none": ({"url": "amqp://u:s3cret@a:1,b:x/"}, "must look like amqp://"),
    "port 0 in a URL": (
        {"url": "amqp://u:s3cret@a:1,b:0/"},
        "a port must be a number from 1 to 65535",
    ),
    "a URL too": ({"url": "amqp://u@h/", "hosts": ["a"]}, "hosts and url both say"),
    "a host too": ({"host": "h", "hosts": ["a"]}, "hosts and host both say"),
    "a path": ({"hosts": ["a/b"]}, "must be a host with or without a port"),
    "a large port": ({"hosts": ["a:99999"]}, "must be a host with or without a port"),
    "port 0": ({"hosts": ["a:0"]}, "must be a host with or without a port"),
    "an empty host": ({"hosts": [""]}, "must be a host with or without a port"),
}


@pytest.mark.parametrize(("settings", "message"), SEVERAL_NODES.values(), ids=SEVERAL_NODES.keys())
def test_nodes_that_cannot_be_addressed_are_refused_in_one_sentence(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        RabbitMQSettings.model_validate(settings)

    (error,) = refused.value.errors()
    assert message in error["msg"]
    assert "s3cret" not in error["msg"]


@pytest.mark.parametrize(
    "settings",
    [
        {"hosts": ["db1", "[2001:db8::1]:5433"], "user": "u", "password": "p", "database": "d"},
        {"url": "postgresql://u:p@db1:5432,[2001:db8::1]:5433/d?sslmode=prefer"},
        {"url": "postgresql://u:p@/d?host=db1,[2001:db8::1]&port=5432,5433&sslmode=prefer"},
    ],
)
def test_each_of_several_postgres_hosts_has_a_url(settings: dict[str, object]) -> None:
    servers = split_postgres_url(DatabaseSettings.model_validate(settings).dsn())

    assert len(servers) == 2
    for url, host, port in zip(servers, ["db1", "2001:db8::1"], [5432, 5433], strict=True):
        parts = urlsplit(url)
        options = parse_qs(parts.query)
        assert (parts.username, parts.password, parts.path) == ("u", "p", "/d")
        assert options.get("host", [parts.hostname or ""])[0].strip("[]") == host
        assert int(options.get("port", [parts.port])[0] or 0) == port
        assert options["sslmode"] == ["prefer"]


def test_one_port_holds_for_all_postgres_hosts() -> None:
    assert split_postgres_url("postgresql://u@/d?host=a,b&port=6000") == [
        f"postgresql://u@/d?host={host}&port=6000" for host in "ab"
    ]


SEVERAL_SERVERS = {
    "a login for each host": (
        {"url": "postgresql://u:s3cret@a,u:s3cret@b/d"},
        "must look like postgresql://user:password@host1:5432,host2:5432/name",
    ),
    "more ports than hosts": (
        {"url": "postgresql://u:s3cret@/d?host=a,b&port=1,2,3"},
        "must name as many hosts as ports",
    ),
    "a port that is none": (
        {"url": "postgresql://u:s3cret@/d?host=h&port=zz"},
        "a port must be a number from 1 to 65535",
    ),
    "port 0 in a URL": (
        {"url": "postgresql://u:s3cret@a:1,b:0/d"},
        "a port must be a number from 1 to 65535",
    ),
    "port 0": ({"port": 0}, "greater than or equal to 1"),
    "a port apart from its host": (
        {"url": "postgresql://u:s3cret@h/d?port=6432"},
        "a port must follow its host, as in host:5432; remove the option port",
    ),
    "a host twice": ({"hosts": ["a", "a"]}, "a host is named twice; name each once"),
    "a URL too": ({"url": "postgresql://u@h/", "hosts": ["a"]}, "hosts and url both say"),
    "a host too": ({"host": "h", "hosts": ["a"]}, "hosts and host both say where PostgreSQL is"),
    "a large port": ({"hosts": ["a:99999"]}, "must be a host with or without a port"),
}


@pytest.mark.parametrize(
    ("settings", "message"), SEVERAL_SERVERS.values(), ids=SEVERAL_SERVERS.keys()
)
def test_postgres_hosts_that_cannot_be_addressed_are_refused_in_one_sentence(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        DatabaseSettings.model_validate(settings)

    (error,) = refused.value.errors()
    assert message in error["msg"]
    assert "s3cret" not in error["msg"]


@pytest.mark.parametrize("host", ["::1", "2001:db8::5"])
def test_ipv6_host_is_bracketed(host: str) -> None:
    database = urlsplit(DatabaseSettings(host=host).dsn())
    rabbitmq = urlsplit(RabbitMQSettings(host=host).dsns()[0])

    # asyncpg reads the host from the query or from the authority, in brackets.
    assert parse_qs(database.query).get("host", [f"[{database.hostname}]"]) == [f"[{host}]"]
    assert (rabbitmq.hostname, rabbitmq.port) == (host, 5672)


def test_tilde_in_a_path_is_expanded() -> None:
    assert load(write_config("data_dir: ~/restaurant")).data_dir == Path.home() / "restaurant"


def test_business_day_is_loaded_with_its_time_zone_and_start() -> None:
    content = 'business_timezone: Europe/Berlin\nbusiness_day_start: "05:30"'

    loaded = load(write_config(content)).business_day

    assert loaded == BusinessDay(ZoneInfo("Europe/Berlin"), time(5, 30))
    assert load().business_day == BusinessDay(ZoneInfo("UTC"), time(0, 0))


@pytest.mark.parametrize("name", ["localtime", "posix/Europe/Berlin", "right/UTC", "Mars/Olympus"])
def test_time_zone_that_only_this_machine_knows_is_refused(name: str) -> None:
    """PostgreSQL and browsers do not know it."""
    with pytest.raises(ConfigurationError, match=rf"business_timezone.*{name}"):
        load(write_config(f"business_timezone: {name}"))


def test_threshold_of_a_priority_is_configured_alone() -> None:
    content = "kitchen: {priority_thresholds: {10: 20000.50}}"

    thresholds = load(write_config(content)).kitchen.thresholds

    assert thresholds == PriorityThresholds(Decimal(50), Decimal("20000.5"))
    assert load().kitchen.thresholds == DEFAULT_THRESHOLDS


def test_aging_after_late_is_refused() -> None:
    content = "kitchen: {late_seconds: {delivery: 300}}"

    with pytest.raises(ConfigurationError, match=r"aging_seconds\.delivery"):
        load(write_config(content))


def test_cooking_time_is_scaled() -> None:
    """Each type has its own cooking time; the scale 0 means none."""
    assert load().kitchen.cooking_time("dine_in") == timedelta(seconds=8)
    assert load().kitchen.cooking_time("takeout") == timedelta(seconds=10)
    assert load().kitchen.cooking_time("delivery") == timedelta(seconds=12)

    scaled = load(None, {"kitchen.cooking_time_scale": 0.5}).kitchen
    without_time = load(None, {"kitchen.cooking_time_scale": 0}).kitchen

    assert scaled.cooking_time("delivery") == timedelta(seconds=6)
    assert without_time.cooking_time("delivery") == timedelta()


def test_variable_for_a_list_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTAURANT_DELIVERY__RETRY_DELAYS", "[1, 2.5]")

    assert load().delivery.retry_delays == (1, 2.5)


def test_settings_are_immutable() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().kitchen.prefetch = 5  # type: ignore[misc]


def test_settings_class_reads_no_file() -> None:
    Path("config.yaml").write_text("kitchen: {prefetch: 7}", encoding="utf-8")

    assert Settings().kitchen.prefetch == 1


def test_hosts_and_origins_are_normalized_as_browsers_send_them() -> None:
    security = load(
        write_config(
            "security:\n"
            "  allowed_hosts: [Restaurant.Local, '*.Example.com', 192.0.2.1, '[2001:DB8:0::0:1]']\n"
            "  cors_origins: ['https://Shop.example.com:443', 'http://localhost:80', 'http://a:081',"
            " 'http://[0:0:0:0:0:0:0:1]:3000']\n"
            "  trusted_proxies: [127.0.0.1, 10.0.0.0/8, '::1', 'fd00::/8']\n"
        )
    ).security

    assert security.allowed_hosts == (
        *("restaurant.local", "*.example.com", "192.0.2.1", "[2001:db8::1]"),
    )
    assert security.cors_origins == (
        *("https://shop.example.com", "http://localhost", "http://a:81", "http://[::1]:3000"),
    )
    assert [str(each) for each in security.trusted_proxies] == (
        ["127.0.0.1/32", "10.0.0.0/8", "::1/128", "fd00::/8"]
    )


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Eat.example.com", "eat.example.com"),
        ("http://eat.example.com:3002", "eat.example.com"),
        ("https://[2001:db8::1]", "[2001:db8::1]"),
        ("https://[2001:db8::1]:8443", "[2001:db8::1]"),
    ],
)
def test_services_answer_for_the_host_of_the_public_address(url: str, host: str) -> None:
    loopback = {"host": "127.0.0.1"}
    settings, default = (
        Settings.model_validate({"tracking_service": loopback | more})
        for more in ({"public_url": url}, {})
    )
    headers = [(b"host", host.encode())]

    http_service.access_checks(settings, settings.tracking_service).check_head("GET", headers)
    with pytest.raises(Refusal):
        http_service.access_checks(default, default.tracking_service).check_head("GET", headers)


@pytest.mark.parametrize("url", ["eat.example.com", "https://eat.example.com/", "ftp://a", ""])
def test_public_address_must_be_an_origin(url: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"tracking_service\.public_url: must be an origin"
    ):
        load(write_config(f"tracking_service: {{public_url: '{url}'}}"))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        *[
            ("allowed_hosts", each)
            for each in ("http://a", "a:80", "*", "a.*", "*a", "a/b", "", "2001:db8::1", "a b", "é")
        ],
        *[
            ("allowed_hosts", each)
            for each in (
                *("*.com", "*.LOCAL", "*.192.0.2.1", "*.[::1]", "*.*.a.b", "[1::2::3]", "[fe80]"),
                *("256.1.1.1", "192.0.2", "192.0.2.01", "a.0x7f", "1", "[::1]:80", "a.example."),
            )
        ],
        ("cors_origins", "https://a:65536"),
        ("cors_origins", "https://[1::2::3]"),
        ("cors_origins", "https://256.1.1.1"),
        *[
            ("cors_origins", each)
            for each in (
                "*",
                "null",
                "a",
                "https://a/",
                "https://a/b",
                "ftp://a",
                "https://*.a",
                "",
            )
        ],
        *[("trusted_proxies", each) for each in ("*", "proxy.local", "10.0.0.1/8", "10.0.0", "")],
    ],
)
def test_invalid_host_origin_or_proxy_is_refused_with_an_example(setting: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"security\.{setting}\.0: must be .* such as"):
        load(write_config(f"security: {{{setting}: ['{value}']}}"))


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        ("*.com", "such as *.example.com, because *.com stands for every host below com"),
        ("https://Shop.example.com:8443/menu?x", "; write shop.example.com"),
        ("shop.example.com:3000", "; write shop.example.com"),
        ("shop.example.com.", "; write shop.example.com"),
        ("2001:DB8::0:1", "; write [2001:db8::1]"),
        ("[::1]:3000", "; write [::1]"),
    ],
)
def test_refusal_of_a_host_says_what_to_write(value: str, advice: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        load(write_config(f"security: {{allowed_hosts: [localhost, '{value}']}}"))

    assert str(refusal.value).startswith("security.allowed_hosts.1: must be ")
    assert advice in str(refusal.value)


def test_security_settings_can_be_set_by_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTAURANT_SECURITY__ALLOWED_HOSTS", '["restaurant.local"]')
    monkeypatch.setenv("RESTAURANT_SECURITY__TRUSTED_PROXIES", '["10.0.0.0/8"]')

    security = load().security

    assert security.allowed_hosts == ("restaurant.local",)
    assert [str(each) for each in security.trusted_proxies] == ["10.0.0.0/8"]
