"""Every package that is installed is pinned, with the hashes of its files."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
LOCKS = (
    "requirements.lock",
    "requirements-telemetry.lock",
    "requirements-dev.lock",
    "requirements-build.lock",
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def _lines(lock: str) -> list[str]:
    """Return the logical lines of a lock file, without comments."""
    joined = (ROOT / lock).read_text().replace("\\\n", " ")
    return [line for line in joined.splitlines() if line.strip() and line.strip()[0] != "#"]


def _pinned(lock: str) -> dict[str, Requirement]:
    """Return the requirements of a lock file by their names."""
    requirements = [Requirement(line.split(" --hash=")[0]) for line in _lines(lock)]
    return {each.name: each for each in requirements}


def hashes(lock: str) -> dict[str, set[str]]:
    """Return the hashes of the files of each release that a lock file pins."""
    parts = [line.split(" --hash=sha256:") for line in _lines(lock)]
    return {pin.split(" ;")[0].strip(): set(map(str.strip, found)) for pin, *found in parts}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_has_one_version_and_the_hashes_of_its_files(lock: str) -> None:
    names = [line.split("==")[0] for line in _lines(lock)]

    assert len(names) == len(set(names)) > 0
    for line in _lines(lock):
        assert re.fullmatch(
            r"[a-z0-9-]+==\S+( ;[^#]+?)?(\s+--hash=sha256:[0-9a-f]{64})+", line.strip()
        ), line


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_index(lock: str) -> None:
    assert "://" not in (ROOT / lock).read_text()


@pytest.mark.parametrize(
    ("lock", "wanted"),
    [
        ("requirements.lock", PROJECT["project"]["dependencies"]),
        ("requirements-telemetry.lock", PROJECT["project"]["optional-dependencies"]["telemetry"]),
        ("requirements-dev.lock", PROJECT["project"]["optional-dependencies"]["dev"]),
        ("requirements-build.lock", PROJECT["build-system"]["requires"]),
    ],
)
def test_every_dependency_is_locked_within_its_bounds(lock: str, wanted: list[str]) -> None:
    pinned = _pinned(lock)
    for each in map(Requirement, wanted):
        (specifier,) = pinned[each.name.lower()].specifier
        assert each.specifier.contains(specifier.version), each


def test_locks_that_are_installed_together_have_the_same_versions() -> None:
    everything = _pinned("requirements-dev.lock")
    assert _pinned("requirements.lock").keys() <= everything.keys()
    for lock in LOCKS:
        for name, requirement in _pinned(lock).items():
            assert everything.get(name, requirement).specifier == requirement.specifier
