"""docs/ARCHITECTURE.md lists the packages and their imports as they are."""

import ast
import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ROOT / "connections"


def package_of(module: str) -> str:
    """The package of connections/ that a module belongs to; "" for another top-level package."""
    parts = module.split(".")
    return parts[1] if parts[0] == "connections" and len(parts) > 1 else ""


def imports_in_the_code() -> dict[str, set[str]]:
    imports: dict[str, set[str]] = defaultdict(set)
    for path in PACKAGES.glob("*/**/*.py"):
        package = path.relative_to(PACKAGES).parts[0]
        if package == "migrations":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                modules = [f"{node.module}.{alias.name}" for alias in node.names]
                imports[package] |= {package_of(module) for module in modules}
        imports[package] -= {package, "", "__version__"}
    return dict(imports)


def imports_in_the_document() -> dict[str, set[str]]:
    text = (ROOT / "docs/ARCHITECTURE.md").read_text()
    rows = re.findall(r"^\| `(\w+)/` \| [^|]+ \| ([^|]*) \|$", text, re.MULTILINE)
    return {package: set(imports.split(", ")) - {"none"} for package, imports in rows}


def test_the_document_lists_every_package_with_what_it_imports():
    assert imports_in_the_document() == imports_in_the_code()


def test_few_lines_send_a_write_to_datadog():
    """Their comments say so, and a new one would need every guard that these have."""
    calls = re.compile(r"\b(?:create|update|delete)_org_connection\(\n")
    found = {
        str(path.relative_to(PACKAGES)): len(calls.findall(path.read_text()))
        for path in PACKAGES.rglob("*.py")
        if path.name != "client.py"
    }
    assert {path: count for path, count in found.items() if count} == {
        "access_requests/actions.py": 2,
        "access_requests/moving.py": 1,
        "deletions/action.py": 1,
    }
