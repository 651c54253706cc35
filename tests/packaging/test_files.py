"""The units, compose file and manifests of packaging/ fit the product and its documentation."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from connections import __version__
from connections.operations.supervisor import GRACE_SECONDS
from tests.support.processes import ROOT

PACKAGING = ROOT / "packaging"
UNITS = sorted(PACKAGING.glob("systemd/*.service"))
MANIFESTS = sorted(PACKAGING.glob("kubernetes/*.yaml"))
needs_systemd = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="systemd-analyze isn't installed"
)
# What the grace period of a stop must cover: the default of ORGADMIN_DRAIN_SECONDS, and the rest.
STOP_SECONDS = 5 + GRACE_SECONDS + 5


@pytest.fixture(params=UNITS, ids=lambda path: path.name)
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a unit that starts this checkout."""
    original: Path = request.param
    path = tmp_path / original.name
    path.write_text(original.read_text().replace("/opt/orgadmin/", f"{ROOT}/"))
    return path


@needs_systemd
def test_systemd_finds_no_fault_in_a_unit(unit: Path):
    done = analyze("verify", "--man=no", str(unit))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_systemd
def test_a_unit_is_confined(unit: Path):
    # The threshold is ten times the exposure.
    done = analyze("security", "--offline=true", "--threshold=20", str(unit))
    assert done.returncode == 0, done.stdout


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, check=False
    )


def test_the_units_differ_only_in_their_role():
    web, worker = (path.read_text().splitlines() for path in UNITS)
    # Neither stops, or is stopped by, the other one.
    assert not re.search("Requires|BindsTo|PartOf|Upholds", "\n".join(worker + web))
    for role, lines in (("worker", worker), ("web", web)):
        assert f"ExecStart=/opt/orgadmin/run {role}" in lines
        assert "Environment=ORGADMIN_ENV_FILE=%d/environment" in lines
        [seconds] = [line.partition("=")[2] for line in lines if line.startswith("TimeoutStopSec")]
        assert int(seconds) >= STOP_SECONDS
    confinement = web[web.index("UMask=0077") :]
    assert worker[worker.index("UMask=0077") :] == confinement


def documented_variables() -> set[str]:
    text = (ROOT / "docs/CONFIGURATION.md").read_text()
    return set(re.findall(r"`([A-Z][A-Z_]+)`", text))


def test_every_variable_is_documented():
    used = set()
    for path in (*UNITS, *MANIFESTS, *PACKAGING.glob("*")):
        if path.is_file():
            used |= set(re.findall(r"\b(ORGADMIN_[A-Z_]+)\b", path.read_text()))
    for settings in (compose()["x-environment"], *config_maps()):
        used |= set(settings)
    # This one is compose.yaml's own.
    assert used - {"ORGADMIN_HOST"} <= documented_variables()


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((PACKAGING / "compose.yaml").read_text())
    return document


def objects() -> Iterator[dict[str, Any]]:
    for path in MANIFESTS:
        yield from yaml.safe_load_all(path.read_text())


def config_maps() -> Iterator[dict[str, str]]:
    return (one["data"] for one in objects() if one["kind"] == "ConfigMap")


def test_compose_runs_two_web_servers_and_two_workers_after_migrating_as_the_owner():
    services = compose()["services"]
    roles = [
        service["command"]
        for service in services.values()
        for _ in range(service.get("deploy", {}).get("replicas", 1))
        if "command" in service
    ]
    assert sorted(roles) == [["manage", "migrate"], ["web"], ["web"], ["worker"], ["worker"]]
    for name in ("web-1", "web-2", "worker"):
        service = services[name]
        assert service["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
        assert int(service["stop_grace_period"].removesuffix("s")) >= STOP_SECONDS
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert "owner_database_url" not in service["secrets"]
        mounted = {f"/run/secrets/{secret}" for secret in service["secrets"]}
        files = {value for key, value in service["environment"].items() if key.endswith("_FILE")}
        assert files == mounted
    assert services["migrate"]["environment"]["DATABASE_URL_FILE"].endswith("/owner_database_url")
    assert services["migrate"]["secrets"] == ["owner_database_url", "secret_key"]
    proxy = compose()["configs"]["proxy"]["content"]
    assert "reverse_proxy web-1:8000 web-2:8000" in proxy
    assert "health_uri /readyz" in proxy
    # Otherwise a client could give its requests the ID of another one.
    assert "header_up X-Request-ID {http.request.uuid}" in proxy


def test_the_proxy_reaches_no_database_and_the_database_nobody_else():
    services, networks = compose()["services"], compose()["networks"]
    members = {
        name: {one for one in services if name in services[one]["networks"]} for name in networks
    }
    assert members == {
        "proxy": {"proxy", "web-1", "web-2"},
        "database": {"database", "migrate", "web-1", "web-2", "worker"},
        "outside": {"worker"},
    }
    assert networks["database"] == {"internal": True}
    trusted = compose()["x-environment"]["ORGADMIN_TRUSTED_PROXIES"]
    assert services["proxy"]["networks"]["proxy"]["ipv4_address"] == trusted


def test_every_container_is_limited_and_confined_and_its_image_has_a_full_version():
    for service in compose()["services"].values():
        limits = service["deploy"]["resources"]["limits"]
        assert limits.keys() == {"cpus", "memory", "pids"}
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert re.search(r":\d+\.\d+(\.\d+)?$", service["image"])
    pods = [
        one["spec"]["template"]["spec"] for one in objects() if "template" in one.get("spec", {})
    ]
    assert len(pods) == 3
    for container in (one for pod in pods for one in pod["containers"]):
        assert container["image"] == f"orgadmin:{__version__}"
        assert container["resources"]["limits"].keys() == {"cpu", "memory"}
    assert compose()["services"]["worker"]["image"] == f"orgadmin:{__version__}"
    assert f"--tag orgadmin:{__version__} ." in (ROOT / "docs/DEPLOYMENT.md").read_text()
    bases = re.findall("^ARG BASE=(.*)$", (PACKAGING / "Containerfile").read_text(), re.MULTILINE)
    assert all(re.search(r":\d+\.\d+-slim$", base) for base in bases)


def test_a_pod_accepts_only_what_its_policy_names():
    """A policy that selects a pod refuses everything else."""
    policies = {one["metadata"]["name"]: one for one in objects() if one["kind"] == "NetworkPolicy"}
    everywhere = policies["orgadmin"]["spec"]
    assert everywhere["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in everywhere
    for one in objects():
        if "template" in one.get("spec", {}):
            labels = one["spec"]["template"]["metadata"]["labels"]
            assert everywhere["podSelector"]["matchLabels"].items() <= labels.items()
    [rule] = policies["orgadmin-web"]["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": "http"}]
    assert all("namespaceSelector" in source for source in rule["from"])


def test_the_manifests_probe_confine_and_keep_what_is_saved():
    sets = {one["metadata"]["name"]: one for one in objects() if one["kind"] == "StatefulSet"}
    assert sets.keys() == {"orgadmin-web", "orgadmin-worker"}
    for stateful in sets.values():
        [claim] = stateful["spec"]["volumeClaimTemplates"]
        pod = stateful["spec"]["template"]["spec"]
        [container] = pod["containers"]
        assert {"name": claim["metadata"]["name"], "mountPath": "/var/lib/orgadmin"} in container[
            "volumeMounts"
        ]
        assert pod["terminationGracePeriodSeconds"] >= STOP_SECONDS
        assert pod["securityContext"]["runAsUser"] == 10001
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
    [web] = sets["orgadmin-web"]["spec"]["template"]["spec"]["containers"]
    assert web["ports"] == [{"name": "http", "containerPort": 8000}]
    assert web["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert web["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    # It stops getting requests before the port closes.
    probe = web["readinessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] < 5
    [worker] = sets["orgadmin-worker"]["spec"]["template"]["spec"]["containers"]
    check = ["/opt/orgadmin/run", "worker", "--check"]
    assert worker["livenessProbe"]["exec"]["command"] == check


def test_the_builder_gets_what_it_copies_and_no_secrets():
    lines = (PACKAGING / "Containerfile").read_text().splitlines()
    copied = {
        source
        for line in lines
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    }
    _, everything, *rules = (ROOT / ".dockerignore").read_text().splitlines()
    assert everything == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied


def test_the_image_has_the_public_certificates():
    """For `sslrootcert=system`: what Python requests has its own."""
    _, _, image = (PACKAGING / "Containerfile").read_text().split("FROM ")[-3:]
    assert "ca-certificates" in image


def test_only_the_job_knows_the_owner_of_the_database():
    for one in objects():
        assert ("orgadmin-owner" in str(one)) == (one["kind"] == "Job")
        if one["kind"] == "Job":
            assert "'items': [{'key': 'secret_key', 'path': 'secret_key'}]" in str(one)
    for path in MANIFESTS:
        assert path.read_text().startswith("# Not tried on a cluster")
