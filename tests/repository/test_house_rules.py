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

from connections.web.deletions.forms import CommentForm, DeletionForm
from connections.web.framework.forms import ReasonForm
from connections.web.inventory.forms import ProtectionForm

ROOT = Path(__file__).resolve().parents[2]
# The packages whose functions ruff requires to have a docstring (D103).
_SERVICE_PACKAGES = re.search(r"!connections/\{(.*)\}", (ROOT / "pyproject.toml").read_text())
assert _SERVICE_PACKAGES
SERVICE_FILES = sorted(
    path
    for package in _SERVICE_PACKAGES[1].split(",")
    for path in (ROOT / "connections" / package).rglob("[a-z]*.py")
)
SERVICES = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in SERVICE_FILES]
# Small functions that services share. They change nothing and take no actor.
HELPERS = {"chain", "findings", "serving"}
ACTS = [name for name in SERVICES if name.rpartition(".")[2] not in HELPERS]
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
# Markup from Org Admin's or a library's code, never from a person or Datadog.
OUR_OWN_MARKUP = {
    "field_messages.html": "field.help_text|safe",
    "activate_form.html": "totp_svg|safe",
}


def public_functions(module_name: str) -> Iterator[FunctionType]:
    module = import_module(module_name)
    for name, value in vars(module).items():
        is_ours = isinstance(value, FunctionType) and value.__module__ == module.__name__
        if is_ours and not name.startswith("_"):
            yield value


def test_services_take_their_arguments_by_keyword():
    wrong = []
    for module_name in ACTS:
        for function in public_functions(module_name):
            parameters = inspect.signature(inspect.unwrap(function)).parameters.values()
            positional = [p.name for p in parameters if p.kind == p.POSITIONAL_OR_KEYWORD]
            if len(positional) > 1:
                wrong.append(f"{module_name}.{function.__name__}: {positional}")
    assert wrong == []


CODE = [
    path
    for package in ("connections", "orgadmin")
    for path in sorted((ROOT / package).rglob("*.py"))
]


def test_large_results_are_read_in_chunks_without_a_server_side_cursor():
    """`iterator` loads everything on PostgreSQL: see DISABLE_SERVER_SIDE_CURSORS."""
    wrong = [
        f"{path.name}:{node.lineno}"
        for path in CODE
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr in {"iterator", "aiterator", "chunked_cursor", "create_cursor"}
    ]
    assert wrong == []


def test_the_template_of_every_sentence_is_a_literal():
    """Text from outside is a value, so it can't pass for a template or a reference to a name."""
    calls = [
        (path.name, node)
        for path in CODE
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "Sentence"
    ]
    assert len(calls) > 50
    wrong = [
        f"{name}:{call.lineno}"
        for name, call in calls
        if [type(arg) for arg in call.args] != [ast.Constant]
        or any(keyword.arg is None for keyword in call.keywords)
    ]
    assert wrong == []


def test_templates_use_nothing_that_the_content_security_policy_blocks():
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
    found = []
    for path in TEMPLATES:
        text = path.read_text()
        text = re.sub(r"\{#.*?#\}|\{% comment.*?endcomment %\}", "", text, flags=re.DOTALL)
        text = text.replace(OUR_OWN_MARKUP.get(path.name, "nothing"), "")
        found += [
            f"{path.name}: {what}"
            for what, pattern in forbidden.items()
            if re.search(pattern, text)
        ]
    assert found == []


def test_no_text_repeats_the_number_of_a_time_limit():
    """The constant and the sentence could disagree: see `format_limit` and `{% limit %}`."""
    limit = re.compile(r"(?<![\w.])\d+ (h|hours?|min|minutes?|s|seconds?|days?)\b")
    texts = [(path.name, path.read_text()) for path in TEMPLATES]
    for path in (path for path in CODE if "connections" in path.parts):
        tree = ast.parse(path.read_text())
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        texts += [
            (path.name, node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in docstrings
        ]
    assert [(name, text) for name, text in texts if limit.search(text)] == []


def test_every_button_has_a_type():
    buttons = [
        f"{path.name}: {button}"
        for path in TEMPLATES
        for button in re.findall(r"<button\b[^>]*>", path.read_text())
    ]
    assert [button for button in buttons if "type=" not in button] == []


# What a person writes stays when a person is erased, so the field says so.
FREE_TEXT = {"reason", "break_glass_reason", "note", "text"}
IT_STAYS = re.compile("Kept permanently.* Don't include personal data")


def test_a_field_for_free_text_says_that_it_outlives_an_erased_person():
    fields = [
        field
        for path in TEMPLATES
        for field in re.findall(r'<div class="field">.*?</div>', path.read_text(), re.DOTALL)
    ]
    free = [field for field in fields if FREE_TEXT & set(re.findall(r'name="(\w+)"', field))]
    assert free
    assert [field for field in free if not IT_STAYS.search(field)] == []


@pytest.mark.parametrize("form", [CommentForm, DeletionForm, ReasonForm, ProtectionForm])
def test_a_form_with_free_text_says_that_it_outlives_an_erased_person(form: type[forms.Form]):
    [name] = FREE_TEXT & set(form.base_fields)
    assert IT_STAYS.search(str(form.base_fields[name].help_text))


def test_no_file_names_a_package_registry_or_this_machine_or_has_a_conflict():
    pattern = re.compile(
        r"pypi\.o" r"rg|pythonhos" r"ted|registry\.np" r"mjs|/ro" r"ot/\.|/wo" r"rk/main|^[<>]{7} ",
        re.MULTILINE,
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


# Where an event is appended or referred to, or a checkpoint belongs to an export.
BELOW_THE_ACTS = {
    *("events.py", "checkpoints.py", "personal_data.py", "erasure.py", "signing.py"),
    # Writes nothing permanent.
    "write_probe.py",
    # Grants privileges, or copies rows with their events.
    "database_guards.py",
    "moving.py",
}


def test_services_take_their_locks_in_one_order():
    """The chain's head is locked last, and no row lock conflicts with another row's foreign key."""
    wrong = []
    for path in SERVICE_FILES:
        text = path.read_text()
        if path.name not in BELOW_THE_ACTS and "transaction.atomic" in text:
            wrong.append(f"{path.name}: use audit.act()")
        for line in text.splitlines():
            if "select_for_update(" in line and "AuditHead" not in line and "no_key" not in line:
                wrong.append(f"{path.name}: {line.strip()}")
    assert wrong == []


DOCUMENTS = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_documents_name_only_tests_that_exist():
    text = "".join(path.read_text() for path in DOCUMENTS)
    named = set(re.findall(r"`(tests/[\w./]+?)(?:::\w+)?`", text))
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_documents_link_only_to_headings_that_exist():
    def anchors(of: Path) -> set[str]:
        headings = re.findall(r"^#+ (.+)$", of.read_text(), re.MULTILINE)
        return {
            re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-")
            for heading in headings
        }

    wrong = []
    for path in DOCUMENTS:
        for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", path.read_text()):
            file, _, anchor = target.partition("#")
            there = (path.parent / file) if file else path
            if not there.exists() or (anchor and anchor not in anchors(there)):
                wrong.append(f"{path.name}: {target}")
    assert wrong == []
