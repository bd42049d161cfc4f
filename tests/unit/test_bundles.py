"""Modules and styles that are joined in one file."""

from collections.abc import Mapping

import pytest

from restaurant_system.web.bundles import bundle_modules, bundle_styles


@pytest.mark.parametrize(
    ("modules", "reason"),
    [
        ({"a.js": 'import { b } from "./b.js";\n', "b.js": 'import "./a.js";\n'}, "imports itself"),
        ({"a.js": "export let a = 1;\n"}, "a.js has 'export'"),
        ({"a.js": "export default 1;\n"}, "a.js has 'export'"),
        ({"a.js": 'import a from "./b.js";\n'}, "a.js has 'import'"),
        ({"a.js": 'const a = await import("./b.js");\n'}, r"a.js has 'import\('"),
    ],
)
def test_syntax_that_a_bundle_cannot_have_is_refused(
    modules: Mapping[str, str], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        bundle_modules(["a.js"], modules.__getitem__, frozenset())


def test_styles_are_joined_in_their_sequence() -> None:
    styles = {"a.css": "a { top: 1px }\n", "b.css": "b { top: 2px }\n"}

    joined = bundle_styles(["b.css", "a.css"], styles.__getitem__)

    assert joined.index("b {") < joined.index("a {")
    with pytest.raises(ValueError, match=r"a\.css has '@import'"):
        bundle_styles(["a.css"], {"a.css": '@import "b.css";'}.__getitem__)
