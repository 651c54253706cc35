"""The image is built and runs in both roles, without rights, and writes only to its volume."""

import contextlib
import json
import os
import resource
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import ROOT, Running, free_port, get, run, until
from tests.support.sweeps import TAKES_ALL

PROGRAMS = ("buildah", "mmdebstrap")
pytestmark = [
    pytest.mark.sweep,
    pytest.mark.slow,
    pytest.mark.skipif(
        not TAKES_ALL or os.geteuid() != 0 or not all(map(shutil.which, PROGRAMS)),
        reason="only ./run check --all builds the image, as root, with buildah and mmdebstrap",
    ),
]
UID = 10001
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


class Buildah:
    """Runs buildah on a storage of its own."""

    def __init__(self, storage: Path) -> None:
        self._program = ["buildah", f"--root={storage / 'root'}", f"--runroot={storage / 'run'}"]
        self._env = os.environ | {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "vfs"}

    def __call__(self, *arguments: str) -> str:
        """Run a command to its end and return its output."""
        done = run([*self._program, *arguments], env=self._env, seconds=1800)
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout

    def start(self, *arguments: str) -> Running:
        """Start a command."""
        return Running([*self._program, *arguments], env=self._env)


@pytest.fixture
def buildah(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buildah]:
    """A storage with a container of the image, which is built first."""
    directory = tmp_path_factory.mktemp("images")
    buildah = Buildah(directory)
    make_base(buildah, directory)
    buildah("build", *options(directory), "--tag=orgadmin", str(ROOT))
    buildah("from", *limits(), "--name=orgadmin", "localhost/orgadmin")
    yield buildah
    buildah("rm", "--all")
    buildah("rmi", "--all", "--force")


def make_base(buildah: Buildah, directory: Path) -> None:
    """An image of Debian, without a registry."""
    archive = directory / "base.tar"
    program = ["mmdebstrap", "--quiet", "--variant=apt", "trixie", str(archive)]
    assert run(program, env=os.environ, seconds=1800).returncode == 0
    buildah("from", "--name", "base", "scratch")
    buildah("add", "base", str(archive), "/")
    buildah("commit", "base", "localhost/base")
    buildah("rm", "base")


def limits() -> list[str]:
    """Limits that this process can set: buildah's own default can be higher."""
    kinds = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
    allowed = {name: min(resource.getrlimit(kind)[1], 20_000) for name, kind in kinds.items()}
    return [f"--ulimit={name}={limit}:{limit}" for name, limit in allowed.items()]


def options(directory: Path) -> list[str]:
    """How to build: with the certificates of this machine, since its index might need them."""
    pip = directory / "pip.conf"
    pip.write_text("[global]\ncert = /machine.crt\n")
    return [
        *limits(),
        "--network=host",
        "--format=docker",
        f"--file={ROOT / 'packaging/Containerfile'}",
        f"--ignorefile={ROOT / '.dockerignore'}",
        "--build-arg=BASE=localhost/base",
        f"--volume={pip}:/etc/pip.conf:ro",
        f"--volume={CERTIFICATES}:/machine.crt:ro",
    ]


# One test, so that one process builds the image.
def test_it_runs_both_roles_without_rights_and_writes_only_to_its_volume(
    buildah: Buildah, tmp_path: Path
):
    check_content(buildah)
    check_roles(buildah, tmp_path)


def check_content(buildah: Buildah) -> None:
    """Its user isn't root, and it contains no tools to build or install anything."""
    config = json.loads(buildah("inspect", "orgadmin"))["Docker"]["config"]
    assert (config["User"], config["Cmd"]) == (str(UID), ["serve"])
    assert config["Entrypoint"] == ["/opt/orgadmin/run"]
    assert config["Healthcheck"]["Test"] == ["CMD", "/opt/orgadmin/packaging/healthcheck"]
    tools = "gcc cc make pip pip3 git"
    listing = "ls /opt/orgadmin/.venv/lib/*/site-packages"
    script = f"id -u; for name in {tools}; do command -v $name; done; {listing}"
    user, *packages = buildah("run", "orgadmin", "--", "sh", "-c", script).split()
    assert user == str(UID)
    assert {"django", "psycopg"} <= set(packages)
    assert "pip" not in packages


def check_roles(buildah: Buildah, tmp_path: Path) -> None:
    """A web server and a worker do their work and leave files only in the volume."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    os.chown(data, UID, UID)
    port = free_port()
    settings = (f"--volume={data}:/var/lib/orgadmin", f"--env=PORT={port}", "--network=host")

    def command(*arguments: str) -> tuple[str, ...]:
        return ("run", *settings, "orgadmin", "--", *arguments)

    try:
        with buildah.start(*command("/opt/orgadmin/run", "web")) as web:
            web.wait_for_line("Org Admin is running at")
            assert get(port, "/readyz") == (200, "ok\n")
            assert "stylesheet" in get(port, "/accounts/login/")[1]
            buildah(*command("/opt/orgadmin/packaging/healthcheck"))
            with buildah.start(*command("/opt/orgadmin/run", "worker")) as worker:
                worker.wait_for_line("Worker started")
                assert "is running on" in buildah(
                    *command("/opt/orgadmin/run", "worker", "--check")
                )
    finally:
        # They outlive buildah.
        for pid in find_processes(port):
            os.kill(pid, signal.SIGTERM)
        assert any(not find_processes(port) for _ in until(60))
    assert (data / "orgadmin.sqlite3").stat().st_uid == UID
    root = buildah("mount", "orgadmin").strip()
    volume = f"{root}/var/lib/orgadmin"
    written = run(
        ["find", root, "-path", volume, "-prune", "-o", "-uid", str(UID), "-print"], env=os.environ
    )
    assert (written.returncode, written.stdout) == (0, "")


def find_processes(port: int) -> list[int]:
    """The processes in the container, by their PORT."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if f"PORT={port}".encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found
