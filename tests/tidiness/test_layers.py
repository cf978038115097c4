"""Dependencies point one way, for every module there is."""

from collections.abc import Iterator

import grimp
import pytest

LAYERS = (
    {"__main__"},
    {"cli"},
    {"commands"},
    {"supervisor", "worker", "loadtest", "newcomers", "doctor"},
    {"giving_way"},
    {"app", "data_folder", "parts"},
    {"restore"},
    {"web", "opening", "persister", "sweeper"},
    {"founding", "audit"},
    {"inventory", "ledger"},
    {"domain", "logs", "meters"},
    {"settings"},
    {"addresses", "secret_file"},
)
"""From top to bottom. A module may import those below its own layer; neighbours in a layer never import each other."""

OWNERS = {
    "alembic": {"ledger"},
    "asyncpg": {"ledger"},
    "redis": {"inventory"},
    "sqlalchemy": {"ledger"},
    "starlette": {"app", "opening", "web"},
    "typer": {"cli", "commands", "loadtest"},
}
"""Who may import a library that is kept behind one door."""


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("booking", include_external_packages=True, cache_dir=None)


def component(module: str) -> str:
    """`ledger` for `booking.ledger.writer`; empty for the package itself."""
    return module.split(".")[1] if "." in module else ""


def imports(graph: grimp.ImportGraph) -> Iterator[tuple[str, str]]:
    for importer in sorted(graph.modules):
        if importer.split(".")[0] == "booking":
            for imported in sorted(graph.find_modules_directly_imported_by(importer)):
                yield importer, imported


def test_every_module_has_its_layer(graph: grimp.ImportGraph) -> None:
    listed = set().union(*LAYERS)
    found = {component(module) for module in graph.modules if module.startswith("booking.")}
    assert found - listed == set(), "new: say in LAYERS where they belong"


def test_every_import_points_down(graph: grimp.ImportGraph) -> None:
    depth = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    wrong = [
        f"{importer} imports {imported}"
        for importer, imported in imports(graph)
        if imported.startswith("booking.")
        and component(importer) != component(imported)
        and depth[component(importer)] >= depth[component(imported)]
    ]
    assert wrong == []


@pytest.mark.parametrize("library", sorted(OWNERS))
def test_a_library_stays_behind_its_door(graph: grimp.ImportGraph, library: str) -> None:
    users = {component(importer) for importer, imported in imports(graph) if imported.split(".")[0] == library}
    assert users <= OWNERS[library]
    assert users, f"nobody imports {library}: take it out of OWNERS, and perhaps out of pyproject.toml"
