"""The repository as a whole: version, hooks, the verifier's digest, documents."""

import re
import subprocess
import tomllib
from pathlib import Path

import yaml

from connections import __version__
from connections.evidence.program import program_digest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_version_stands_in_one_place():
    assert "version" not in PROJECT["project"]
    read_from = PROJECT["tool"]["setuptools"]["dynamic"]["version"]
    assert read_from == {"attr": "connections.__version__"}
    # A migration names the release that introduced it, also when that is this one.
    files = ("*.py", "*.toml", ":!connections/migrations")
    found = subprocess.run(
        ["git", "grep", "-l", "--fixed-strings", f'"{__version__}"', "--", *files],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert found.stdout.split() == ["connections/__init__.py"]


def test_hooks_are_local_and_run_what_is_installed_here():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert {repo["repo"] for repo in hooks["repos"]} == {"local"}
    for hook in hooks["repos"][0]["hooks"]:
        assert hook["language"] == "system"
        assert re.match(r"(\.venv/bin/|\./run )", hook["entry"])


def test_the_newest_release_has_the_one_digest_of_its_verifier():
    newest = (ROOT / "CHANGELOG.md").read_text().split("\n## ")[1]
    assert re.findall("`([0-9a-f]{64})`", newest) == [program_digest()]


def test_every_decision_is_in_the_index_and_on_one_page():
    directory = ROOT / "docs/decisions"
    index = (directory / "README.md").read_text()
    records = sorted(directory.glob("[0-9]*.md"))
    assert [path.name for path in records] == re.findall(r"\]\(([^)]+)\) \|", index)
    for path in records:
        text = path.read_text()
        headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequences", "What would change this"]
        assert len(text.splitlines()) <= 40


def test_the_glossary_has_at_most_forty_terms_and_names_none_twice():
    table = (ROOT / "docs/GLOSSARY.md").read_text().partition("|---|")[2]
    rows = [row.split("|")[1].strip() for row in table.splitlines()[1:]]
    terms = [term for row in rows for term in re.split(r"[,;] | → ", row)]
    assert len(rows) <= 40
    assert len(set(terms)) == len(terms)
