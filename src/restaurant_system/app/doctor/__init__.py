"""Test a configuration end to end: `doctor`.

Nothing is started, migrated or declared, and nothing is left in the database or on the broker. A
check is a function that returns findings; each has a timeout of its own.
"""

from restaurant_system.app.doctor.findings import Finding, Level, count
from restaurant_system.app.doctor.report import (
    Report,
    diagnose,
    report_of_refused_configuration,
    start_report,
)

__all__ = [
    "Finding",
    "Level",
    "Report",
    "count",
    "diagnose",
    "report_of_refused_configuration",
    "start_report",
]
