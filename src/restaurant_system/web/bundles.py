"""Join the modules or the styles that a page loads, so that a page loads one file of each kind.

A browser requests a module only once it has read the one that imports it, and over HTTP/1.1 six
files at a time. A slow network shows that as seconds.
"""

import re
from collections.abc import Callable, Iterable, Iterator

IMPORT = re.compile(
    r'^import\s+(?:(\{[^}]*\}|\*\s+as\s+\w+)\s+from\s+)?"\./([^"]+)";\n', re.MULTILINE
)
EXPORT = re.compile(
    r"^export ((?:async function|function|class|const) (\w+|\[[^\]]*\]))", re.MULTILINE
)
UNSUPPORTED = ("\nimport ", "\nexport ", "import(", "@import", "@charset")
NAME = re.compile(r"\w+")
RENAMED = re.compile(r"(\w+) as (\w+)")

Read = Callable[[str], str]


def bundle_modules(entries: Iterable[str], read: Read, separate: frozenset[str]) -> str:
    """Return one module that runs the entries in sequence, after what they import.

    Each module becomes a function, so that its names are its own. `read` returns the source of a
    module by its name. Those in `separate` are imported. Only a module that exports nothing may
    await something outside of its functions: others do not wait for it. Raises `ValueError` for
    modules that import each other and for syntax that is not supported: only `import {…} from
    "./name.js"`, `import * as`, and exports of functions, classes and constants are.
    """
    return "".join(_Bundle(read, separate).parts(entries))


def bundle_styles(names: Iterable[str], read: Read) -> str:
    """Return the styles in one file; raises `ValueError` for one that must be a file of its own."""
    sources = []
    for name in names:
        source = read(name)
        _check_syntax(name, source)
        sources.append(source)
    return "\n".join(sources)


class _Bundle:
    def __init__(self, read: Read, separate: frozenset[str]) -> None:
        self._read = read
        self._separate = separate
        self._variables: dict[str, str | None] = {}  # by module; `None` while it is being added

    def parts(self, entries: Iterable[str]) -> Iterator[str]:
        for entry in entries:
            yield from self._add(entry)

    def _add(self, name: str) -> Iterator[str]:
        """Yield a module after those that it imports, unless it was yielded before."""
        if name in self._variables:
            if self._variables[name] is None:
                raise ValueError(f"{name} imports itself, directly or through other modules.")
            return
        self._variables[name] = None
        variable = f"$modules{len(self._variables)}"
        if name in self._separate:
            yield f'import * as {variable} from "./{name}";\n'
        else:
            source = self._read(name)
            for each in IMPORT.finditer(source):
                yield from self._add(each[2])
            exported = [name for each in EXPORT.finditer(source) for name in NAME.findall(each[2])]
            body = EXPORT.sub(r"\1", IMPORT.sub(self._assignment, source))
            _check_syntax(name, body)
            function = "() =>" if exported else "async () =>"
            returned = f"return {{ {', '.join(exported)} }};\n" if exported else ""
            yield f"const {variable} = ({function} {{ // {name}\n{body}{returned}}})();\n"
        self._variables[name] = variable

    def _assignment(self, imported: re.Match[str]) -> str:
        names, variable = imported[1], self._variables[imported[2]]
        if names is None:
            return ""
        if names.startswith("*"):
            return f"const {names.split()[-1]} = {variable};\n"
        pattern = RENAMED.sub(r"\1: \2", names)
        return f"const {pattern} = {variable};\n"


def _check_syntax(name: str, source: str) -> None:
    for each in UNSUPPORTED:
        if each in f"\n{source}":
            raise ValueError(f"{name} has {each.strip()!r}, which is not supported here.")
