"""Validate the Kubernetes manifests against the schemas of a Kubernetes version, strictly."""

import sys
from pathlib import Path

import kubernetes_validate
import yaml

VERSION = "1.34"  # the oldest to run on
FOLDER = Path("deploy/kubernetes")
KUSTOMIZATION = "kustomization.yaml"  # read by kubectl; the cluster has no schema of it


def main() -> int:
    """Print each invalid manifest; return 1 if there is any."""
    failures = 0
    for path in sorted(FOLDER.glob("*.yaml")):
        if path.name == KUSTOMIZATION:
            continue
        for manifest in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            try:
                kubernetes_validate.validate(manifest, VERSION, strict=True)
            except kubernetes_validate.SchemaNotFoundError:
                fault = f"{manifest.get('apiVersion')} does not exist in Kubernetes {VERSION}"
            except kubernetes_validate.ValidationError as error:
                fault = str(error).splitlines()[0]  # the other lines quote the schema
            else:
                continue
            print(f"{path}: {manifest.get('kind')}: {fault}")  # noqa: T201
            failures += 1
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
