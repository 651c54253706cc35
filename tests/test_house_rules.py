"""House rules that no linter knows."""

import ast
import inspect
import re
import subprocess
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import FunctionType

import pytest
from django import forms

from connections.forms.deletions import CommentForm, DeletionForm
from connections.forms.protections import LiftingForm, ProtectionForm

ROOT = Path(__file__).resolve().parent.parent
SERVICE_FILES = sorted((ROOT / "connections/services").rglob("[a-z]*.py"))
SERVICES = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in SERVICE_FILES]
# Small questions that acts of one noun share; the acts themselves stand in their own files.
ACTS = [name for name in SERVICES if not name.endswith("_rules")]
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
PRODUCT = [
    path
    for folder in ("connections", "orgadmin", "sandbox")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "migrations" not in path.parts
]
LONGEST_FILE = 300
# Carried away in every bundle: an auditor reads one file, and needs no other.
ONE_FILE = ROOT / "connections/evidence/verify.py"
# Markup that is written by our code or a library's, never by a person or by Datadog.
OUR_OWN_MARKUP = {
    "field_notes.html": "field.help_text|safe",
    "activate_form.html": "totp_svg|safe",
}
LONGEST_FUNCTION = 40


def public_functions(module_name: str) -> Iterator[FunctionType]:
    module = import_module(module_name)
    for name, value in vars(module).items():
        is_ours = isinstance(value, FunctionType) and value.__module__ == module.__name__
        if is_ours and not name.startswith("_"):
            yield value


@pytest.mark.parametrize("module_name", ACTS)
def test_acts_take_their_arguments_by_keyword(module_name: str) -> None:
    for function in public_functions(module_name):
        parameters = list(inspect.signature(inspect.unwrap(function)).parameters.values())
        positional = [p.name for p in parameters if p.kind == p.POSITIONAL_OR_KEYWORD]
        assert len(positional) <= 1, f"{module_name}.{function.__name__}: {positional}"


@pytest.mark.parametrize("module_name", SERVICES)
def test_every_public_service_says_what_it_does(module_name: str) -> None:
    silent = [f.__name__ for f in public_functions(module_name) if not inspect.getdoc(f)]
    assert silent == []


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT)))
def test_templates_need_nothing_that_the_content_policy_refuses(path: Path) -> None:
    text = path.read_text()
    text = re.sub(r"\{#.*?#\}|\{% comment.*?endcomment %\}", "", text, flags=re.DOTALL)
    forbidden = {
        "a style attribute": r"\sstyle\s*=",
        "an inline style": r"<style",
        "an inline script": r"<script(?![^>]*\bsrc=)(?![^>]*type=\"application/json\")",
        "an event handler": r"\son[a-z]+\s*=\s*[\"']",
        "an hx-on attribute": r"hx-on",
        "a js: expression": r"[\"']\s*(js|javascript):",
        "a trigger filter": r"hx-trigger=\"[^\"]*\[",
        "unescaped foreign text": r"\|\s*safe\b|autoescape off",
        "a data: address": r"(src|href)=[\"']data:",
    }
    text = text.replace(OUR_OWN_MARKUP.get(path.name, "nothing"), "")
    found = [what for what, pattern in forbidden.items() if re.search(pattern, text)]
    assert found == []


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_button_says_what_kind_it_is(path: Path) -> None:
    buttons = re.findall(r"<button\b[^>]*>", path.read_text())
    assert [button for button in buttons if "type=" not in button] == []


# What a person writes stays when somebody is erased, so the field says so.
FREE_TEXT = {"reason", "glass_reason", "note", "text"}
IT_STAYS = re.compile("when a person is erased[.:] name nobody here", re.IGNORECASE)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_field_for_free_text_says_that_it_outlives_an_erased_person(path: Path) -> None:
    fields = re.findall(r'<div class="field">.*?</div>', path.read_text(), re.DOTALL)
    free = [field for field in fields if FREE_TEXT & set(re.findall(r'name="(\w+)"', field))]
    assert [field for field in free if not IT_STAYS.search(field)] == []


@pytest.mark.parametrize("form", [CommentForm, DeletionForm, LiftingForm, ProtectionForm])
def test_a_form_with_free_text_says_that_it_outlives_an_erased_person(
    form: type[forms.Form],
) -> None:
    [name] = FREE_TEXT & set(form.base_fields)
    assert IT_STAYS.search(str(form.base_fields[name].help_text))


@pytest.mark.parametrize("path", PRODUCT, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    long_functions = [
        f"{node.name} has {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef)
        and node.end_lineno
        and node.end_lineno - node.lineno + 1 > LONGEST_FUNCTION + _signature_lines(node)
    ]
    assert path == ONE_FILE or text.count("\n") <= LONGEST_FILE
    assert long_functions == []


def _signature_lines(node: ast.FunctionDef) -> int:
    # A signature with a line for each argument, and the docstring, are there to be read.
    body = node.body[0]
    has_docstring = isinstance(body, ast.Expr) and isinstance(body.value, ast.Constant)
    first = node.body[1] if has_docstring and len(node.body) > 1 else body
    return first.lineno - node.lineno


@pytest.mark.parametrize("path", PRODUCT, ids=lambda path: str(path.relative_to(ROOT)))
def test_foreign_text_is_never_marked_as_safe(path: Path) -> None:
    assert not re.search(r"mark_safe|SafeString|format_html_join\(\s*mark", path.read_text())


def test_only_the_client_imports_an_http_library() -> None:
    importing = [
        str(path.relative_to(ROOT))
        for path in PRODUCT
        if re.search(r"^\s*(import|from) (requests|urllib3)\b", path.read_text(), re.MULTILINE)
    ]
    ours = ("connections/datadog/", "connections/oidc/")
    assert [name for name in importing if not name.startswith(ours)] == []


def test_no_file_names_a_package_registry_or_this_machine() -> None:
    pattern = re.compile(
        r"pypi\.o" r"rg|pythonhos" r"ted|registry\.np" r"mjs|/ro" r"ot/\.|/wo" r"rk/main"
    )
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split("\0")
    names = [
        name
        for name in tracked
        if (ROOT / name).is_file() and pattern.search((ROOT / name).read_text(errors="ignore"))
    ]
    assert names == []


# Where an event is appended or referred to, or a checkpoint stands beside the record.
BELOW_THE_ACTS = {"audit.py", "checkpoints.py", "erasable.py", "erasure.py", "signing.py"}


@pytest.mark.parametrize("path", SERVICE_FILES, ids=str)
def test_acts_take_the_locks_in_one_order(path: Path) -> None:
    """The chain's head comes last, and no row lock stands against another row's foreign key."""
    text = path.read_text()
    if path.name not in BELOW_THE_ACTS:
        assert "transaction.atomic" not in text, "use audit.act()"
    for line in text.splitlines():
        if "select_for_update(" in line and "AuditHead" not in line:
            assert "no_key=True" in line


@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_documents_name_only_tests_that_there_are(path: Path) -> None:
    named = set(re.findall(r"`(tests/[\w./]+?)(?:::\w+)?`", path.read_text()))
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda path: path.name
)
def test_documents_lead_to_headings_that_there_are(path: Path) -> None:
    def anchors(of: Path) -> set[str]:
        headings = re.findall(r"^#+ (.+)$", of.read_text(), re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", one).strip().lower().replace(" ", "-") for one in headings}

    wrong = []
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", path.read_text()):
        file, _, anchor = target.partition("#")
        there = (path.parent / file) if file else path
        if not there.exists() or (anchor and anchor not in anchors(there)):
            wrong.append(target)
    assert wrong == []
