"""Modules that are joined in one file run in a browser as they do by themselves."""

import re

import pytest
from playwright.async_api import Browser

from restaurant_system.web.bundles import bundle_modules

pytestmark = pytest.mark.asyncio(loop_scope="session")

MODULES = {
    "page.js": """\
import { count } from "./numbers.js";
import * as words from "./words.js";
import { separate as shared } from "./shared.js";
import "./other.js";

const name = "page";
await null;
print([name, count(), words.greet("Ada"), words.FIRST, words.SECOND, shared]);
print(new words.Word().text);
""",
    "numbers.js": """\
import {
  greet as greeting,
} from "./words.js";

const name = "numbers";
export function count() {
  return `${name}:${greeting("Eva")}`;
}
""",
    "words.js": """\
print("words");
export const [FIRST, SECOND] = [1, 2];
export class Word {
  text = "word";
}
export const greet = (name) => `Hello ${name}`;
""",
    "other.js": 'print("other");\nexport async function unused() {}\n',
}


async def test_bundle_runs_each_module_once_and_after_its_imports(browser: Browser) -> None:
    bundle = bundle_modules(["page.js", "other.js"], MODULES.__getitem__, frozenset({"shared.js"}))
    script, replaced = re.subn(
        r'import \* as (\S+) from "./shared.js";', r"const \1 = { separate: 7 };", bundle
    )
    page = await browser.new_page()

    await page.evaluate("() => { window.printed = []; window.print = (x) => printed.push(x); }")
    await page.add_script_tag(content=script, type="module")

    assert replaced == 1
    assert await page.evaluate("() => printed") == [
        "words",
        "other",
        ["page", "numbers:Hello Eva", "Hello Ada", 1, 2, 7],
        "word",
    ]
    await page.close()
