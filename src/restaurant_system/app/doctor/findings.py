"""The findings of `doctor`, and running one check so that its failure hides no other check."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from restaurant_system.errors import RestaurantError

CHECK_TIMEOUT = 5.0  # s
REPORT_IT = "please report this as a fault of restaurant-system"


class Level(StrEnum):
    """How bad a finding is; only an error makes `doctor` exit with 1."""

    OK = "ok"
    SKIPPED = "skipped"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found; a warning and an error have a cure, in the imperative.

    `check` is the name of the check, which `run_check` sets.
    """

    level: Level
    message: str
    cure: str | None = None
    check: str = ""


def ok(message: str) -> Finding:
    """Return a finding without a fault."""
    return Finding(Level.OK, message)


def skipped(message: str) -> Finding:
    """Return that something was not checked, and why."""
    return Finding(Level.SKIPPED, message)


def warning(message: str, cure: str) -> Finding:
    """Return a fault with which the services run."""
    return Finding(Level.WARNING, message, cure)


def error(message: str, cure: str) -> Finding:
    """Return a fault with which a service does not do its work."""
    return Finding(Level.ERROR, message, cure)


def count(number: int, singular: str, plural: str = "") -> str:
    """Return a number with its noun: ``1 error``, ``no errors``."""
    return f"{number or 'no'} {singular if number == 1 else plural or f'{singular}s'}"


def of_error(failure: RestaurantError, cure: str) -> Finding:
    """Return an error of ours as a finding; `cure` is used if its text contains none.

    Our texts put what to do behind the first semicolon.
    """
    reason, _, advice = str(failure).rstrip(".").partition("; ")
    return error(reason, advice or cure)


@dataclass(frozen=True, slots=True)
class Check:
    """A check with its name, and what to do if it fails or does not end in time."""

    name: str
    run: Callable[[], Awaitable[Sequence[Finding]]]
    cure: str
    timeout: float = CHECK_TIMEOUT


async def run_check(check: Check) -> list[Finding]:
    """Return the findings of a check; any error and a timeout become findings."""
    try:
        async with asyncio.timeout(check.timeout):
            found = await check.run()
    except TimeoutError:
        found = [error(f"no answer within {check.timeout:g} s", check.cure)]
    except RestaurantError as failure:
        found = [of_error(failure, check.cure)]
    except Exception as failure:  # noqa: BLE001 - its text may contain secrets or personal data
        place = traceback.extract_tb(failure.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        found = [error(f"this check failed ({type(failure).__name__} at {where})", REPORT_IT)]
    return [Finding(each.level, each.message, each.cure, check.name) for each in found]


async def run_checks(
    checks: Sequence[Check], found: list[Finding], *, skip: str | None = None
) -> list[Finding]:
    """Run checks one after the other, and return their findings.

    Each finding is appended to `found` as soon as its check has ended, so that a later interruption
    does not lose it. With a reason to `skip` the checks, that is their finding.
    """
    before = len(found)
    for check in checks:
        if skip is None:
            found += await run_check(check)
        else:
            found.append(Finding(Level.SKIPPED, f"not checked, because {skip}", check=check.name))
    return found[before:]


def has_error(findings: Sequence[Finding]) -> bool:
    """Return whether any finding is an error."""
    return any(each.level is Level.ERROR for each in findings)
