"""The check of `make check` that pages work in older browsers."""

import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "check_browser_features.py"
check = runpy.run_path(str(SCRIPT))
faults_of_css, faults_of_html, faults_of_js = (
    check[f"faults_of_{language}"] for language in ("css", "html", "js")
)


@pytest.mark.parametrize(
    "code",
    [
        "const last = list.at(-1);",
        "const signal = AbortSignal.timeout(1000);",
        "const copy = structuredClone(draft);",
        "const price = text.match(/(?<=EUR )[0-9]+/);",
        "const is = /[a-z]/v.test(text);",
        "class Board { static { start(); } }",
        "const names = entries.keys().map(String);",
        "const channel = new BroadcastChannel('board');",
        "const last = list['at'](-1);",
        "const words = [...Iterator.from(list)];",
        "const words = text.matchAll(/[a-z]/g).map(String);",
        "const isAll = one.isSupersetOf(other);",
        "const others = one.symmetricDifference(other);",
        "const { message } = controller.signal.reason;",
        "const pattern = new URLPattern({ pathname: '/orders' });",
        "for await (const chunk of response.body) use(chunk);",
        "navigator.wakeLock.request('screen');",
        "const last = list?.at?.(-1);",
        "const last = list.at (-1);",
        "const last = (list.at)(-1);",
        "const last = list[`at`](-1);",
        "const last = Array.prototype.at.call(list, -1);",
        "const last = list /* the newest */ .at(-1);",
        "const text = `//${list.at(-1)}`;",
        "const url = 'http://a'; const last = list.at(-1);",
        "const pattern = /[`/*]/; const last = list.at(-1);",
        "const { at } = list;",
        "const { 'at': last = null } = list;",
        "const { prototype: { at } } = Array;",
        "list.map(({ findLast }) => findLast);",
        "({ randomUUID } = crypto);",
        "const { timeout } = AbortSignal;",
        "const copy = window.structuredClone;",
        "const data = new FormData(form, button);",
        "addEventListener('scrollend', show);",
        "import menu from './menu.json' with { type: 'json' };",
        "const last = list.;",
        "const one = 1, { two: [one] } = list;",
        "import { one, two as one } from './words.js';",
        "import * as one from './words.js'; function one() {}",
        "const add = (one, { two: one = 2 }) => one;",
        "const add = one => { let one; };",
        "function add(one, ...rest) { const rest = one; }",
        "try { work(); } catch (error) { const error = 1; }",
        "switch (one) { case 1: let two; break; default: const two = 2; }",
        "class Board { show() {} static show() {} show() {} }",
        "class Board { get size() {} set size(to) {} get size() {} }",
    ],
)
def test_javascript_that_is_too_new_is_refused(code: str) -> None:
    (fault,) = faults_of_js(f"// A module.\n{code}\n")

    assert fault.startswith("2: ")


@pytest.mark.parametrize(
    "code",
    [
        "// AbortSignal.timeout is missing in Safari 15.",
        "/* list.at(-1) */ const note = 'list.at(-1)';",
        "const first = tap.at + 1;",
        "taps.map(({ at }) => at);",
        "for (const { at } of taps) show(at);",
        "const names = Object.keys(menu).map(String);",
        "const half = all / 2; const path = '/at(/';",
        "if (typeof window.BroadcastChannel === 'function') new BroadcastChannel('board');",
        "document.startViewTransition?.(show);",
        "const names = [...entries.keys()].map(String);",
        "if (typeof BroadcastChannel === 'function') new BroadcastChannel('board');",
        "navigator.wakeLock?.request('screen');",
        'if ("vibrate" in navigator) navigator.vibrate(200);',
        "const { name } = text.match(/(?<name>[a-z]+)/).groups;",
        "class Taps { #keys = new Map(); static first = null; #send() {} }",
        "for (const one of list) { const one = 1; } for (const one of list) use(one);",
        "const one = 1; list.map((one) => one); function two(three = one) { const one = 2; }",
        "if (one) { let two; } else { let two; } class Board { get size() {} set size(to) {} }",
        "const { one: two, three = one } = list; const one = class two {};",
    ],
)
def test_javascript_of_older_browsers_passes(code: str) -> None:
    assert list(faults_of_js(code)) == []


@pytest.mark.parametrize(
    "css",
    [
        "a {\n  color: light-dark(#fff, #000); }",
        "a {\n  height: 100dvh; height: 100vh; }",
        "a { overflow: hidden }\nb { overflow: clip }",
        '.mark::before {\n  content: "+" / ""; }',
        "a { color: red;\n  b { color: blue; } }",
        "p { color: red; }\n:nth-child(1 of .x) { color: red; }",
        "a { color: red;\n  @media (min-width: 1px) { color: blue; } }",
        "a {}\n.row:has(:checked) { color: red; }",
        "a {}\na, button:focus-visible { color: red; }",
        "a {}\n@media (width >= 40rem) { a { color: red; } }",
        "@media print {\n  @container (min-width: 1px) { } }",
    ],
)
def test_css_that_is_too_new_is_refused(css: str) -> None:
    (fault,) = faults_of_css(css)

    assert fault.startswith("2: ")


@pytest.mark.parametrize(
    "css",
    [
        "a { color: #fff; color: light-dark(#fff, #000); }",
        "a { height: min(1rem, 90vh); height: min(1rem, 90dvh); }",
        '.mark::before { content: "+"; content: "+" / ""; }',
        "@supports (selector(:has(a))) { .row:has(:checked) { height: 100dvh; } }",
        "@media (min-width: 40rem) { :is(a, button):focus-visible { inset: 0; } }",
        "@keyframes call { 50% { opacity: 0.5; } }",
        "/* :has(a) needs Safari 15.4. */ a { color: rgb(0 0 0 / 60%); }",
    ],
)
def test_css_of_older_browsers_passes(css: str) -> None:
    assert list(faults_of_css(css)) == []


def test_markup_that_is_too_new_is_refused() -> None:
    page = '<dialog id="menu"></dialog>\n<div popover></div>\n<script type="importmap"></script>'

    assert [fault.partition(":")[0] for fault in faults_of_html(page)] == ["2", "3"]
