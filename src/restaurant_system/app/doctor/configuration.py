"""Check what the configuration refers to: menu, texts of the pages, certificates."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from restaurant_system.app.doctor import certificates
from restaurant_system.app.doctor.findings import Check, Finding, error, ok, warning
from restaurant_system.app.menu import menu_source
from restaurant_system.app.order_service import SET_THRESHOLDS, UNSUITABLE_THRESHOLDS
from restaurant_system.app.pages import ALL, pages_feature
from restaurant_system.config import Settings
from restaurant_system.errors import ConfigurationError
from restaurant_system.models.clock import Clock
from restaurant_system.models.menu import NO_MENU

CURE = "correct the configuration; the sample config.yaml explains every setting"


def refused(failure: ConfigurationError) -> Finding:
    """Return that the configuration cannot be loaded; the failure names the setting."""
    finding = error(str(failure).rstrip("."), CURE)
    return Finding(finding.level, finding.message, finding.cure, "configuration.settings")


def checks(settings: Settings, clock: Clock) -> list[Check]:
    """Return the checks of the configuration."""

    async def check_settings() -> Sequence[Finding]:
        if settings.has_unsuitable_thresholds:
            return [warning(UNSUITABLE_THRESHOLDS, SET_THRESHOLDS)]
        return [ok(f"valid, for {describe_shape(settings)}")]

    async def check_menu() -> Sequence[Finding]:
        file = settings.order_service.menu
        faults = _faults(lambda: menu_source(settings, otherwise=NO_MENU))
        return faults or [ok("no menu is configured" if file is None else f"{file} is valid")]

    async def check_pages() -> Sequence[Finding]:
        faults = _faults(lambda: pages_feature(settings, ALL))
        return faults or [ok(f"the pages have all texts in {settings.language!r}")]

    async def check_certificates() -> Sequence[Finding]:
        found = [each for path in _certificate_files(settings) for each in _check_file(path, clock)]
        return found or [ok("no certificate is configured")]

    return [
        Check("configuration.settings", check_settings, CURE),
        Check("configuration.menu", check_menu, CURE),
        Check("configuration.pages", check_pages, CURE),
        Check("configuration.certificates", check_certificates, CURE),
    ]


def describe_shape(settings: Settings) -> str:
    """Return in words which servers the settings name."""
    database = "the embedded PostgreSQL" if settings.database is None else "your PostgreSQL"
    return database + (
        " as database and broker" if settings.rabbitmq is None else " and your RabbitMQ"
    )


def _faults(load: Callable[[], object]) -> list[Finding]:
    try:
        load()
    except ConfigurationError as failure:
        return [error(str(failure).rstrip("."), CURE)]
    return []


def _check_file(path: Path, clock: Clock) -> list[Finding]:
    try:
        return list(certificates.check_file(path, clock))
    except (OSError, ValueError):
        return [error(f"{path} has no certificate that can be read", "replace the file")]


def _certificate_files(settings: Settings) -> Iterator[Path]:
    """Yield each configured file of certificates once, also those named in a URL."""
    files: dict[Path, None] = {}
    database = settings.database
    if database is not None:
        for server in (database, *database.replica_servers().values()):
            files |= dict.fromkeys(server.certificate_files())
    if settings.rabbitmq is not None:
        tls = settings.rabbitmq.tls
        files |= dict.fromkeys(path for path in (tls.cafile, tls.certfile) if path is not None)
    yield from files
