"""Joins the scripts of a page into one file, without a build step.

A page of 18 scripts is three rounds over the six connections of HTTP/1.1, which takes many seconds on a slow network.
The scripts stay ES modules that a browser can load one by one. Their imports and exports have the forms below; any
other form is an error when the service starts.
"""

import re
from collections.abc import Mapping

IMPORT = re.compile(r'^import (?P<what>\* as \w+|\{[^}]*\}) from "\./(?P<file>[a-z_]+\.js)";\n', re.MULTILINE)
REEXPORT = re.compile(r'^export \{(?P<what>[^}]*)\} from "\./(?P<file>[a-z_]+\.js)";\n', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async function|function|const|class) (?P<name>\w+))", re.MULTILINE)
OTHER = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)


def imports_of(source: str) -> list[str]:
    """The scripts that a script imports itself."""
    return [found["file"] for pattern in (IMPORT, REEXPORT) for found in pattern.finditer(source)]


def entries_of(sources: Mapping[str, str]) -> list[str]:
    """The scripts that no other script imports: those of the pages."""
    imported = {name for source in sources.values() for name in imports_of(source)}
    return [name for name in sources if name not in imported]


def bundle(entry: str, sources: Mapping[str, str]) -> str:
    """One module that does what `entry` and its imports do. Raises ValueError for an unknown form, or a cycle."""
    return "\n".join(_wrapped(name, sources[name], is_entry=name == entry) for name in scripts_of(entry, sources))


def scripts_of(entry: str, sources: Mapping[str, str]) -> list[str]:
    """The scripts of a page, each behind those that it imports. Raises ValueError for a cycle."""
    order: list[str] = []
    _visit(entry, sources, order, ())
    return order


def _visit(name: str, sources: Mapping[str, str], order: list[str], above: tuple[str, ...]) -> None:
    if name in above:
        raise ValueError(f"{name} imports itself, by way of {above[-1]}")
    if name not in order:
        for needed in imports_of(sources[name]):
            _visit(needed, sources, order, (*above, name))
        order.append(name)


def _wrapped(name: str, source: str, *, is_entry: bool) -> str:
    """A script as a function that returns its exports, so that names of two scripts do not meet."""
    exports = [found["name"] for found in EXPORT.finditer(source)]

    def imported(found: re.Match[str]) -> str:
        what, file = found["what"], _variable(found["file"])
        left = what.removeprefix("* as ") if what.startswith("*") else what.replace(" as ", ": ")
        return f"const {left} = {file};\n"

    def exported_again(found: re.Match[str]) -> str:
        names = [one.strip() for one in found["what"].split(",")]
        exports.extend(names)
        return f"const {{ {', '.join(names)} }} = {_variable(found['file'])};\n"

    body = EXPORT.sub("", IMPORT.sub(imported, REEXPORT.sub(exported_again, source)))
    if other := OTHER.search(body):
        raise ValueError(f"{name} has an import or export of another form: {other[0]}")
    if is_entry:
        return f"{{\n{body}}}\n"
    return f"const {_variable(name)} = (() => {{\n{body}return {{ {', '.join(exports)} }};\n}})();\n"


def _variable(name: str) -> str:
    return f"$_{name.removesuffix('.js')}"
