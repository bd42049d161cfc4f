"""config.yaml shows every setting with its default; these tests keep it from going stale."""

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
    """Return the sample with what is commented out brought to life."""
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    return COMMENTED_OUT.sub(r"\1", SAMPLE.read_text(encoding="utf-8"))


def leaves(tree: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Walk through settings, and yield each that holds no others, with its path."""
    if isinstance(tree, BaseModel):
        tree = {name: getattr(tree, name) for name in type(tree).model_fields}
    if isinstance(tree, Mapping):
        for name, part in tree.items():
            yield from leaves(part, f"{path}.{name}".lstrip("."))
    else:
        yield path, _plain(tree)


def _plain(value: object) -> object:
    """Write a value as YAML has it."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, Path):
        return str(value).replace(str(Path.home()), "~")
    return value


def test_every_setting_with_its_default(sample: str) -> None:
    """The sample names every setting there is, and none that is not, each with its default."""
    defaults = Settings(database=DatabaseSettings(), rabbitmq=RabbitMQSettings())

    assert dict(leaves(yaml.safe_load(sample))) == dict(leaves(defaults))


def test_brought_to_life(sample: str, tmp_path: Path) -> None:
    """With everything in it brought to life the sample is a configuration."""
    file = tmp_path / "config.yaml"
    file.write_text(sample, encoding="utf-8")

    settings = load(file)

    assert settings.database == DatabaseSettings()
    assert settings.rabbitmq == RabbitMQSettings()


def test_as_it_lies_there() -> None:
    """As it lies there the sample changes nothing."""
    assert load(SAMPLE).model_dump() == Settings().model_dump()


def test_one_line_on_each(sample: str) -> None:
    """No line is longer than a screen is wide."""
    assert max(len(line) for line in sample.splitlines()) <= 100
