"""The checker shares no code with the product or the harness."""

import ast
import sys
from pathlib import Path

import pytest

from tests.faults import checker, guarantees


@pytest.mark.parametrize("module", [checker, guarantees])
def test_checker_imports_nothing_of_the_product_or_the_harness(module: object) -> None:
    path = Path(str(getattr(module, "__file__", "")))
    imported = {
        name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in _imported_by(node)
    }

    foreign = {name for name in imported if name.split(".")[0] not in sys.stdlib_module_names}

    assert foreign <= {"asyncpg", "httpx", "tests.faults.guarantees"}


def _imported_by(node: ast.AST) -> list[str]:
    match node:
        case ast.Import():
            return [alias.name for alias in node.names]
        case ast.ImportFrom():
            return [node.module or ""]
        case _:
            return []
