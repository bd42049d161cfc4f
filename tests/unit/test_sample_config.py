"""config.yaml shows every setting with its default."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel, SecretStr

from restaurant_system.config import DatabaseSettings, RabbitMQSettings, Settings, load

SAMPLE = Path(__file__).parents[2] / "config.yaml"
COMMENTED_OUT = re.compile(r"^# ( *[a-z_]+:(?: .*)?)$", re.MULTILINE)


@pytest.fixture
def sample(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the sample with the commented-out settings enabled."""
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    return COMMENTED_OUT.sub(r"\1", SAMPLE.read_text(encoding="utf-8"))


def leaves(tree: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Yield the path and value of each setting that is not a section."""
    if isinstance(tree, BaseModel):
        tree = {name: getattr(tree, name) for name in type(tree).model_fields}
    if isinstance(tree, Mapping):
        for name, part in tree.items():
            yield from leaves(part, f"{path}.{name}".lstrip("."))
    else:
        yield path, _plain(tree)


def _plain(value: object) -> object:
    """Return a value as YAML represents it."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, Path):
        return str(value).replace(str(Path.home()), "~")
    return value


def test_sample_has_exactly_the_settings_with_their_defaults(sample: str) -> None:
    defaults = Settings(database=DatabaseSettings(), rabbitmq=RabbitMQSettings())

    assert dict(leaves(yaml.safe_load(sample))) == dict(leaves(defaults))


def test_sample_with_all_settings_enabled_is_valid(sample: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(sample, encoding="utf-8")

    settings = load(file)

    assert settings.database == DatabaseSettings()
    assert settings.rabbitmq == RabbitMQSettings()


def test_sample_changes_no_default() -> None:
    assert load(SAMPLE).model_dump() == Settings().model_dump()


def test_no_line_of_the_sample_is_longer_than_100_characters(sample: str) -> None:
    assert max(len(line) for line in sample.splitlines()) <= 100
