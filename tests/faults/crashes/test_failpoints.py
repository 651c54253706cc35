"""The failpoints do nothing in the product, whatever the environment contains."""

import ast
import inspect
import json
from pathlib import Path

import pytest

from connections.change_requests import failpoints
from connections.change_requests.failpoints import Point
from tests.faults.crashes.plan import VARIABLE, Plan
from tests.support.processes import clean_environment, manage

PRINT_REACH = """
import inspect, json
from connections.change_requests import failpoints
print(json.dumps([failpoints.hit.__module__, inspect.getsource(failpoints.hit)]))
"""


def test_a_failpoint_executes_no_statements():
    [function] = ast.parse(inspect.getsource(failpoints.hit)).body
    assert isinstance(function, ast.FunctionDef)
    assert [type(each) for each in function.body] == [ast.Expr]
    assert inspect.getdoc(failpoints.hit)


def test_a_plan_has_no_effect_with_the_products_settings(tmp_path: Path):
    plan = tmp_path / "plan.json"
    Plan(marks=str(tmp_path), signal_points={"x": Point.BEFORE_CLAIM}).write(plan)
    env = clean_environment(data_dir=tmp_path, **{VARIABLE: str(plan)})
    done = manage("shell", "--no-imports", "-c", PRINT_REACH, env=env)
    assert json.loads(done.stdout) == [
        "connections.change_requests.failpoints",
        inspect.getsource(failpoints.hit),
    ]


@pytest.mark.parametrize("folder", ["connections", "orgadmin", "sandbox"])
def test_the_product_neither_names_the_plan_nor_replaces_the_function(folder: str):
    root = Path(failpoints.__file__).resolve().parents[2]
    named = [
        path
        for path in (root / folder).rglob("*.py")
        if VARIABLE in path.read_text() or "failpoints.hit =" in path.read_text()
    ]
    assert named == []
