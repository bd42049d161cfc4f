"""Refuse features in pages that Safari 15.0 or Chrome 100 lack, unless they have a fallback.

Many tablets in restaurants end at iPadOS 15. A method that is missing there stops a page, a
selector that is unknown drops its whole rule, and an unknown value drops its declaration.

The linters for this, `eslint-plugin-compat` and `stylelint-no-unsupported-browser-features`, would
make Node a tool of every contributor, and the first of them knows no methods of instances, such as
`Array.prototype.at`. So this is a table, with the first version of Safari and of Chrome that has
the feature. Modules are parsed by tree-sitter, so that a use is found however it is written, and
comments and texts are not taken for code. The types of objects are unknown. A name that is declared
twice, with which no browser loads a module, is syntax to tree-sitter, so it is refused here, too.

Permitted are: in JavaScript, a file that tests for the feature (`"wakeLock" in navigator`,
`typeof BroadcastChannel`, `navigator.wakeLock?.request`); in CSS, an older value of the same
property before the new one in the same rule, and whatever is inside of `@supports`. Properties that
may be ignored, such as `text-wrap`, are not in the table.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import tree_sitter_javascript
from tree_sitter import Language, Node, Parser

FOLDER = Path("src/restaurant_system/screens")
NEVER = "no version"
QUOTE = '"'
PARSER = Parser(Language(tree_sitter_javascript.language()))
OWN_FIELDS = {"at"}  # of parameters; objects of ours have fields with the name of a method
SCOPES = {
    "program",
    "statement_block",
    "switch_body",
    "for_statement",
    "for_in_statement",
    "class_static_block",
}
COMMENT_OF_CSS = re.compile(r"/\*.*?\*/", re.DOTALL)
COMMENT_OF_HTML = re.compile(r"<!--.*?-->", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature, the first versions that have it, and what to write instead."""

    pattern: str
    safari: str
    chrome: str
    instead: str
    test: str = ""  # a name that must be tested for in a file that uses the feature


# The patterns match the end of what `_uses` returns.
SYNTAX = [
    Feature(r"\(\?<[=!].*", "16.4", "62", "a group"),
    Feature(r"^/.*/[a-z]*v[a-z]*", "17", "112", "the flag u"),
    Feature(r"^class_static_block", "16.4", "94", "a static field"),
    Feature(r"^import_attribute", "17.2", "123", "fetch"),
    Feature(r"^using_declaration", NEVER, "134", "try and finally"),
    Feature(r"^import\.meta\.resolve", "16.4", "105", "new URL"),
]
METHODS = [
    Feature(r"\.at\(", "15.4", "92", "an index, or slice(-1)"),
    Feature(r"\.findLast(Index)?\(", "15.4", "97", "a copy that is reversed, and find"),
    Feature(r"\.to(Sorted|Reversed|Spliced)\(", "16", "110", "a copy, and sort, reverse or splice"),
    Feature(r"\.with\(", "16", "110", "map"),
    Feature(r"\b(Object|Map)\.groupBy\(?", "17.4", "117", "a loop"),
    Feature(r"\bObject\.hasOwn\(?", "15.4", "93", "in, or a Map"),
    Feature(r"\bArray\.fromAsync\(?", "16.4", "121", "a loop"),
    Feature(r"\bPromise\.(withResolvers|try)\(?", "17.4", "119", "new Promise"),
    Feature(
        r"\.((keys|values|entries)\(\)|matchAll\(_\))\.(?!next\()\w+\(?",
        "18.4",
        "122",
        "a copy in an array",
    ),
    Feature(r"\bIterator\.(from|prototype)\(?", "18.4", "122", "a copy in an array"),
    Feature(r"\.(union|intersection|(symmetricD|d)ifference)\(", "17", "122", "filter and has"),
    Feature(r"\.(isSubsetOf|isSupersetOf|isDisjointFrom)\(", "17", "122", "every or some"),
    Feature(r"\.(isWellFormed|toWellFormed)\(", "16.4", "111", "encodeURIComponent"),
    Feature(r"\bstructuredClone\(?", "15.4", "98", "JSON.parse(JSON.stringify(…))"),
    Feature(r"\bURL\.(canParse|parse)\(?", "17", "120", "new URL in a try"),
    Feature(r"\bAbortSignal\.(timeout|any)\(?", "16", "103", "timeoutSignal of compat.js"),
    Feature(r"\.throwIfAborted\(?|\bsignal\.reason", "15.4", "100", "aborted"),
    Feature(r"\bURLPattern", "26", "95", "a regular expression"),
    Feature(r"^for await of .*\bbody", NEVER, "124", "getReader"),
    Feature(r"\bcrypto\.(randomUUID|subtle)\(?", "15.4", "92", "newKey of requests.js"),
    Feature(r"\bIntl\.(DurationFormat|supportedValuesOf)\(?", "16.4", "129", "a text"),
    Feature(r"\.(textInfo|getTextInfo)\(?", "15.4", "130", "dir in the page"),
    Feature(r"\bTemporal", NEVER, "144", "Date, and times.js"),
    Feature(r"(\bRegExp\.escape|\.(from|to)(Base64|Hex))\(", "18.2", "136", "replace, or btoa"),
    Feature(r"\bResponse\.json\(?", "17", "105", "new Response"),
    Feature(r"\b[sS]earchParams\.size", "17", "113", "toString"),
    Feature(r"\bnew FormData\(_,_\)", "16.4", "112", "append"),
    Feature(r"\.selectRange\(", "15.4", "106", "select"),
    Feature(r"\.checkVisibility\(", "17.4", "105", "getClientRects"),
    Feature(r"\.requestSubmit\(", "16", "76", "a click on the button"),
    Feature(r"\.submitter", "15.4", "81", "a listener of each button"),
    Feature(r"\.showPicker\(", "16", "99", "focus"),
    Feature(r"\.(show|hide|toggle)Popover\(", "17", "114", "a dialog, or hidden"),
    Feature(r"\.moveBefore\(", NEVER, "133", "arrange of elements.js"),
    Feature(r"\.(setHTML|getHTML)\w*\(", "18", "125", "make of elements.js"),
    Feature(r"\.adoptedStyleSheets|\bCSSStyleSheet", "16.4", "73", "a class"),
    Feature(r"\.attachInternals\(", "16.4", "77", "attributes"),
    Feature(r"\bCSS\.highlights", "17.2", "105", "an element"),
    Feature(r"\bscrollend\"|\bonscrollend", NEVER, "114", "a timer"),
]
# Used only where they are, because there is nothing to replace them.
OPTIONAL = [
    Feature(r"\bnavigator\.wakeLock", "16.4", "84", "", "wakeLock"),
    Feature(r"\bnavigator\.locks", "15.4", "69", "", "locks"),
    Feature(r"\bBroadcastChannel", "15.4", "54", "", "BroadcastChannel"),
    Feature(r"\bSharedWorker", "16", "4", "", "SharedWorker"),
    Feature(r"\bBarcodeDetector", NEVER, "83", "", "BarcodeDetector"),
    Feature(r"\b(De)?[cC]ompressionStream", "16.4", "80", "", "CompressionStream"),
    Feature(r"\bnavigator\.vibrate\(?", NEVER, "32", "", "vibrate"),
    Feature(r"\bscreen\.orientation", "16.4", "38", "", "orientation"),
    Feature(r"\bnavigator\.setAppBadge\(?", "17", "81", "", "setAppBadge"),
    Feature(r"\bnavigator\.userActivation", "16.4", "72", "", "userActivation"),
    Feature(r"\bNotification(\.\w+)?", "16.4", "20", "", "Notification"),
    Feature(r"\brequestIdleCallback\(?", NEVER, "47", "", "requestIdleCallback"),
    Feature(r"\.requestFullscreen\(?", "16.4", "71", "", "requestFullscreen"),
    Feature(r"\.startViewTransition\(?", "18", "111", "", "startViewTransition"),
    Feature(r"\bscheduler\.\w+\(?", NEVER, "94", "", "scheduler"),
]
MARKUP = [
    Feature(r"\bpopover(target)?\b *[=> ]", "17", "114", "a dialog, or hidden"),
    Feature(r"\bcommand(for)?=", NEVER, "135", "a listener"),
    Feature(r'type="importmap"', "16.4", "89", "addresses in the imports"),
    Feature(r"<(selectedcontent|geolocation)\b", NEVER, "135", "a select"),
    Feature(r"\bclosedby=", NEVER, "134", "a listener"),
]
AT_RULES = [
    Feature(r"@container\b", "16", "105", "@media"),
    Feature(r"@layer\b", "15.4", "99", "the order of the rules"),
    Feature(r"@scope\b", "17.4", "118", "a class"),
    Feature(r"@starting-style\b", "17.5", "117", "an animation"),
    Feature(r"@media\b.*[<>]", "16.4", "104", "min-width or max-width"),
    Feature(r"@custom-(media|selector)\b", NEVER, NEVER, "the condition itself"),
]
SELECTORS = [
    Feature(r":has\(", "15.4", "105", "a class"),
    Feature(r":(modal|popover-open|open)\b(?!-)", "15.6", "105", "a class, or [open]"),
    Feature(r":nth-(last-)?child\([^()]+ of ", "9", "111", "a class"),
    Feature(r":dir\(", "16.4", "120", '[dir="rtl"]'),
    Feature(r":user-(in)?valid\b", "16.5", "119", "a class"),
    Feature(r":state\(", "17.4", "125", "a class"),
    Feature(r"&", "16.5", "112", "the whole selector"),
]
# Unknown to Safari before 15.4: such a selector stands alone, because it drops the rule.
ALONE = re.compile(r":focus-visible|::backdrop")
VALUES = [
    Feature(r"\blight-dark\(", "17.5", "123", "a colour of base.css"),
    Feature(r"\bcolor-mix\(", "16.2", "111", "a colour"),
    Feature(r"\b(ok)?l(ab|ch)\(|\bcolor\(", "15.4", "111", "a colour as #rrggbb"),
    Feature(r"\b(rgb|hsl)a?\(from\b", "16.4", "119", "a colour"),
    Feature(r"\d(d|s|l)v(h|w|min|max|b|i)\b", "15.4", "108", "vh or vw"),
    Feature(r"\dcq(w|h|i|b|min|max)\b", "16", "105", "%, vw or vh"),
    Feature(r"\dr?(lh|cap|ic)\b", "16.4", "109", "em"),
    Feature(r"\b(round|mod|rem|sin|cos|tan|pow|sqrt|hypot|abs|sign)\(", "15.4", "111", "calc"),
    Feature(r"\b(calc-size|anchor|anchor-size|if|sibling-\w+|xywh)\(", NEVER, "117", "calc"),
    Feature(r"\blinear\(", "17.2", "113", "cubic-bezier"),
    Feature(r"\bsubgrid\b", "16", "117", "columns of the same width"),
    Feature(r"^overflow(-[xy])?:.*\bclip\b", "16", "90", "hidden"),
    Feature(r"^(translate|rotate|scale):", "14.1", "104", "transform"),
    Feature(r"^content:.*/ *\"", "17.4", "77", "content without an alternative"),
    Feature(
        r"^(container|container-type|position-anchor|zoom|animation-timeline):", "16", "105", ""
    ),
    Feature(r"^user-select:", NEVER, "54", "-webkit-user-select"),
    Feature(r"^backdrop-filter:", "18", "76", "-webkit-backdrop-filter"),
    Feature(r"^mask(-\w+)?:", "15.4", "120", "-webkit-mask"),
    Feature(r"^appearance:", "15.4", "84", "-webkit-appearance"),
]


def faults_of_js(text: str) -> Iterator[str]:
    """Yield what is too new in a JavaScript module."""
    root = PARSER.parse(text.encode()).root_node
    if root.has_error:
        error = next(node for node in _nodes(root) if node.is_error or node.is_missing)
        yield f"{error.start_point.row + 1}: syntax that the parser does not know"
        return
    yield from _repeated_declarations(root)
    uses = [(use, line) for node in _nodes(root) for use, line in _uses(node)]
    for feature in [*SYNTAX, *METHODS]:
        yield from _faults_of_uses(feature, uses)
    for feature in OPTIONAL:
        name = feature.test
        test = re.compile(rf'"{name}" in|(typeof )?(\w+\.)*{name}(?(1)|\?\.)')
        if not any(test.fullmatch(use) for use, _ in uses):
            yield from _faults_of_uses(feature, uses, f"test for {name!r} in this file")


def faults_of_html(text: str) -> Iterator[str]:
    """Yield what is too new in a page."""
    markup = _blank(COMMENT_OF_HTML, text)
    for feature in MARKUP:
        yield from _faults(feature, markup, text)


def faults_of_css(text: str) -> Iterator[str]:
    """Yield what is too new in a style sheet, and has no older value before it."""
    css = _blank(COMMENT_OF_CSS, text)
    yield from (
        f"{_line(css, at)}: {fault}" for at, fault in _faults_of_block(css, 0, len(css), ())
    )


def _faults_of_uses(
    feature: Feature, uses: Sequence[tuple[str, int]], instead: str = ""
) -> Iterator[str]:
    pattern = re.compile(f"({feature.pattern})$", re.DOTALL)
    found = {line: match[0] for use, line in uses if (match := pattern.search(use))}
    yield from (f"{line}: {_describe(feature, use, instead)}" for line, use in found.items())


def _nodes(root: Node) -> Iterator[Node]:
    """Yield a node and all nodes in it, in the order of the text."""
    nodes = [root]
    while nodes:
        node = nodes.pop()
        yield node
        nodes.extend(reversed(node.children))


def _repeated_declarations(root: Node) -> Iterator[str]:
    """Yield the names that are declared before in the same scope, and methods of the same class."""
    declared: set[tuple[int, str]] = set()
    for node in _nodes(root):
        for scope, name, at in _declarations(node):
            if (scope.id, name) in declared:
                yield f"{at.start_point.row + 1}: {name} is declared twice"
            declared.add((scope.id, name))


def _declarations(node: Node) -> Iterator[tuple[Node, str, Node]]:
    """Yield the scope, the name and the node of what is declared at a node."""
    names: Iterable[Node] = ()
    scope = node
    match node.type:
        case "variable_declarator" | "class_declaration":
            names, scope = _names(_field(node, "name")), _scope(node)
        case "function_declaration" | "generator_function_declaration":
            names, scope = [_field(node, "name")], _scope(_parent(node))
        case "for_in_statement" if node.child_by_field_name("kind"):
            names = _names(_field(node, "left"))
        case "import_clause" | "namespace_import":
            names = [each for each in node.children if each.type == "identifier"]
            scope = _scope(node)
        case "import_specifier":
            names = [node.child_by_field_name("alias") or _field(node, "name")]
            scope = _scope(node)
        case "formal_parameters":
            names, scope = _names(node), _body(_parent(node))
        case "arrow_function" | "catch_clause":
            parameter = node.child_by_field_name("parameter")
            names, scope = _names(parameter) if parameter else (), _body(node)
        case "method_definition":
            kinds = [each.type for each in node.children if each.type in {"static", "get", "set"}]
            yield _parent(node), " ".join([*kinds, _text(_field(node, "name"))]), node
    yield from ((scope, _text(name), name) for name in names)


def _names(pattern: Node) -> Iterator[Node]:
    """Yield the names that a pattern declares, without those in its default values."""
    match pattern.type:
        case "identifier" | "shorthand_property_identifier_pattern":
            yield pattern
        case "assignment_pattern" | "object_assignment_pattern":
            yield from _names(_field(pattern, "left"))
        case "pair_pattern":
            yield from _names(_field(pattern, "value"))
        case _:
            for child in pattern.named_children:
                yield from _names(child)


def _scope(node: Node) -> Node:
    """Return what the names that are declared at a node are visible in."""
    while node.type not in SCOPES:
        node = _parent(node)
    return node


def _body(node: Node) -> Node:
    """Return the scope of parameters: the body, where no other variable can have their names."""
    return node.child_by_field_name("body") or node


def _uses(node: Node) -> Iterator[tuple[str, int]]:
    """Yield what is used at a node, in one form for all ways to write it, and its line.

    `list?.at (-1)`, `list["at"](-1)`, `list.at.call(other, -1)` and `const { at } = list` are all
    `list.at(`.
    """
    line = node.end_point.row + 1
    if node.child_by_field_name("optional_chain") is not None:
        yield f"{_form(node.children[0])}?.", line
    match node.type:
        case "member_expression" | "subscript_expression" | "identifier":
            yield _form(node) + ("(" if _is_called(node) else ""), line
        case "new_expression" | "shorthand_property_identifier":
            yield _form(node), line
        case "string" | "template_string" | "regex":
            yield _form(node), line
        case "shorthand_property_identifier_pattern" | "pair_pattern":
            yield from ((use, line) for use in _uses_of_pattern(node))
        case "class_static_block" | "import_attribute" | "using_declaration":
            yield node.type, line
        case "for_in_statement" if any(each.type == "await" for each in node.children):
            yield f"for await of {_form(_field(node, 'right'))}", node.start_point.row + 1
        case "binary_expression" if _field(node, "operator").type == "in":
            yield f"{_form(_field(node, 'left'))} in", line
        case "unary_expression" if _field(node, "operator").type == "typeof":
            yield f"typeof {_form(_field(node, 'argument'))}", line


def _uses_of_pattern(node: Node) -> Iterator[str]:
    """Yield what `{ name }` reads from an object: it may be a method, which is called later."""
    pattern = node
    while pattern.type != "object_pattern":
        pattern = _parent(pattern)
    origin = _form_of_origin(pattern)
    name = _form(node.child_by_field_name("key") or node).strip(QUOTE)
    yield f"{origin}.{name}"
    if origin or name not in OWN_FIELDS:
        yield f"{origin}.{name}("


def _form_of_origin(pattern: Node) -> str:
    """Return the form of the object that a pattern reads; empty for a parameter."""
    parent = _parent(pattern)
    match parent.type:
        case "variable_declarator":
            return _form(_field(parent, "value")) or "()"
        case "assignment_expression":
            return _form(_field(parent, "right")) or "()"
        case "pair_pattern":
            return f"{_form_of_origin(_parent(parent))}.{_form(_field(parent, 'key')).strip(QUOTE)}"
    return ""


def _form(node: Node) -> str:
    """Return an expression without spaces, comments, optional chaining and values of arguments."""
    match node.type:
        case "member_expression":
            owner, name = _form(_field(node, "object")), _text(_field(node, "property"))
            form = owner if name in {"call", "apply", "bind"} else f"{owner}.{name}"
        case "subscript_expression":
            form = f"{_form(_field(node, 'object'))}.{_form(_field(node, 'index')).strip(QUOTE)}"
        case "call_expression":
            form = _form(_field(node, "function")) + _arguments(node)
        case "new_expression":
            form = f"new {_form(_field(node, 'constructor'))}{_arguments(node)}"
        case "parenthesized_expression" | "await_expression" | "computed_property_name":
            form = _form(node.named_children[0])
        case "string" | "template_string":
            form = f"{QUOTE}{_text(node)[1:-1]}{QUOTE}"
        case _:
            is_simple = node.named_child_count == 0 or node.type == "regex"
            form = _text(node) if is_simple else "()"
    return form


def _arguments(call: Node) -> str:
    found = call.child_by_field_name("arguments")
    return f"({','.join('_' for _ in found.named_children)})" if found else "()"


def _is_called(node: Node) -> bool:
    parent = _parent(node)
    if parent.type == "parenthesized_expression":
        return _is_called(parent)
    called = parent.child_by_field_name("function")
    return called is not None and called.id == node.id


def _field(node: Node, name: str) -> Node:
    child = node.child_by_field_name(name)
    if child is None:
        raise ValueError(f"{node.type} has no {name}.")
    return child


def _parent(node: Node) -> Node:
    if node.parent is None:
        raise ValueError(f"{node.type} has no parent.")
    return node.parent


def _text(node: Node) -> str:
    return (node.text or b"").decode()


Found = tuple[int, str]  # a position, and what is wrong there


def _faults_of_block(css: str, start: int, end: int, outer: Sequence[str]) -> Iterator[Found]:
    """Yield the faults between two positions, which are inside the rules with the heads `outer`."""
    declared: dict[str, str] = {}  # the last value of each property
    is_in_rule = bool(outer) and not outer[-1].startswith("@")
    at = start
    while at < end:
        stop = re.compile(r"[;{}]").search(css, at, end)
        if stop is None or stop[0] != "{":
            until = end if stop is None else stop.start()
            yield from _faults_of_declaration(css, at, until, declared, outer)
            at = until + 1
            continue
        head = css[at : stop.start()].strip()
        first = stop.start() - len(css[at : stop.start()].lstrip())
        if is_in_rule:
            yield first, "nested rules: Safari 16.5, Chrome 112; write the whole selector"
        close = _closing_brace(css, stop.end())
        if not any(each.startswith("@supports") for each in (*outer, head)):
            yield from ((first, fault) for fault in _faults_of_head(head, outer))
        yield from _faults_of_block(css, stop.end(), close, (*outer, head))
        at = close + 1


def _faults_of_head(head: str, outer: Sequence[str]) -> Iterator[str]:
    if outer and outer[-1].startswith("@keyframes"):
        return
    for feature in AT_RULES if head.startswith("@") else SELECTORS:
        if re.search(feature.pattern, head):
            yield _describe(feature, head)
    if ALONE.search(head) and re.search(r",(?![^(]*\))", head):
        yield f"{head!r}: Safari before 15.4 drops the whole rule; give it a rule of its own"


def _faults_of_declaration(
    css: str, start: int, end: int, declared: dict[str, str], outer: Sequence[str]
) -> Iterator[Found]:
    text = css[start:end]
    name, colon, value = text.strip().partition(":")
    if not colon:
        return
    name = name.strip()
    declaration = f"{name}: {value.strip()}"
    is_tested = any(each.startswith("@supports") for each in outer)
    for feature in VALUES:
        if is_tested or not re.search(feature.pattern, declaration):
            continue
        before = declared.get(name) or declared.get(f"-webkit-{name}")
        if before is None or re.search(feature.pattern, before):
            yield end - len(text.lstrip()), _describe(feature, declaration)
    declared.setdefault(name, declaration)


def _closing_brace(css: str, start: int) -> int:
    depth = 1
    for brace in re.compile(r"[{}]").finditer(css, start):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return brace.start()
    return len(css)


def _faults(feature: Feature, code: str, text: str, instead: str = "") -> Iterator[str]:
    for match in re.finditer(feature.pattern, code):
        yield f"{_line(text, match.start())}: {_describe(feature, match[0], instead)}"


def _describe(feature: Feature, found: str, instead: str = "") -> str:
    advice = instead or (f"write {feature.instead}" if feature.instead else "write it without")
    return f"{found.strip()!r}: Safari {feature.safari}, Chrome {feature.chrome}; {advice}"


def _blank(comment: re.Pattern[str], text: str) -> str:
    """Replace comments by spaces, so that positions stay as they are."""
    return comment.sub(lambda each: re.sub(r"[^\n]", " ", each[0]), text)


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def main() -> int:
    """Print the features that are too new; return 1 if there are any."""
    found = 0
    for path in sorted(FOLDER.glob("*.html")) + sorted(FOLDER.glob("[ap]*/*")):
        check = {".js": faults_of_js, ".css": faults_of_css, ".html": faults_of_html}.get(
            path.suffix
        )
        for fault in check(path.read_text(encoding="utf-8")) if check else ():
            print(f"{path}:{fault}")  # noqa: T201
            found += 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
