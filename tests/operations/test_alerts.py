"""The alert rules for Prometheus: each uses metrics that exist, and fires when it should."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from connections.operations.metrics import read_metrics

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "packaging" / "prometheus" / "alerts.yaml"


def expressions() -> dict[str, str]:
    """The expression of each alert."""
    [group] = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule["expr"] for rule in group["rules"]}


@pytest.mark.django_db
def test_the_dashboard_uses_metrics_that_are_served():
    dashboard = json.loads((ROOT / "packaging/grafana/org-admin.json").read_text())
    used = [
        set(re.findall(r"\borgadmin_\w+", target["expr"]))
        for panel in dashboard["panels"]
        for target in panel["targets"]
    ]
    assert all(used)
    assert set().union(*used) <= {metric.name for metric in read_metrics()}


@pytest.mark.django_db
def test_each_alert_uses_metrics_that_are_served():
    served = {metric.name for metric in read_metrics()}
    used = {name: set(re.findall(r"\borgadmin_\w+", text)) for name, text in expressions().items()}
    assert {name for name, metrics in used.items() if not metrics} == {"OrgAdminDown"}
    assert set().union(*used.values()) - served == set()


# How much there is, what Org Admin notifies people of itself, and what another metric says too.
WITHOUT_RULE = {
    *("build_info", "connections", "deletions_total", "open_deletions", "open_access_requests"),
    *("open_reviews", "datadog_duration_seconds", "changes_needing_attention"),
    "worker_heartbeat_age_seconds",
}


@pytest.mark.django_db
def test_each_metric_that_needs_a_person_has_a_rule():
    used = set(re.findall(r"\borgadmin_(\w+)", " ".join(expressions().values())))
    served = {metric.name.removeprefix("orgadmin_") for metric in read_metrics()}
    assert served - used == WITHOUT_RULE


def test_each_alert_fires_when_it_should(tmp_path: Path):
    cases = (Path(__file__).parent / "alerts_test.yaml").read_text()
    tested = re.findall(r"alertname: (\w+)", cases)
    assert set(tested) == set(expressions())
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    (tmp_path / "test.yaml").write_text(cases.replace("RULES", str(RULES)))
    command = [promtool, "test", "rules", str(tmp_path / "test.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
