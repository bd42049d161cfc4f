"""Run `doctor` within the test's process, and look at its findings."""

from collections.abc import Callable
from pathlib import Path

from restaurant_system.app import doctor
from restaurant_system.app.doctor import Finding, Level
from restaurant_system.config import Settings
from restaurant_system.models.clock import Clock, utc_now


async def diagnose(
    *, clock: Clock = utc_now, free_space: Callable[[Path], int] | None = None, **sections: object
) -> list[Finding]:
    """Return the findings about settings with these sections."""
    settings = Settings.model_validate(sections)
    report = doctor.start_report(settings, clock)
    if free_space is None:
        await doctor.diagnose(settings, report, clock=clock)
    else:
        await doctor.diagnose(settings, report, clock=clock, free_space=free_space)
    assert report.is_complete
    return report.findings


def faults(findings: list[Finding]) -> dict[str, Finding]:
    """Return the warnings and errors by check; each must have a cure, in one line."""
    found = {each.check: each for each in findings if each.level in {Level.WARNING, Level.ERROR}}
    for each in found.values():
        assert each.cure
        assert "\n" not in f"{each.message}{each.cure}"
    return found


def levels(findings: list[Finding]) -> dict[str, Level]:
    """Return the level of each check; of several findings, the last."""
    return {each.check: each.level for each in findings}
