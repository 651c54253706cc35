"""A machine of its own for a test: systemd, a file system over this one's, a loopback network.

What happens on it stays there. Its programs are those of this machine, so it needs no image.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import ROOT, until

PROGRAMS = ("unshare", "nsenter", "systemctl", "ip", "pivot_root")
SYSTEMD = "/lib/systemd/systemd"
# Everything else that this machine would start is left out.
WANTED = ("dbus.socket", "systemd-journald.service", "systemd-tmpfiles-setup.service")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_BOOT = r"""
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
cd "$1"
mkdir upper work root
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" root
mount --bind "$2" "root$2"
mount -t proc proc root/proc && mount -t sysfs sysfs root/sys && mount --rbind /dev root/dev
mount -t tmpfs -o mode=755 tmpfs root/run && mount -t tmpfs -o mode=1777 tmpfs root/tmp
mount -t tmpfs tmpfs root/sys/fs/cgroup && mount -t cgroup2 cgroup2 root/sys/fs/cgroup
ip link set lo up
printf '%s\n' "$3" >root/etc/hosts
rm -rf root/etc/systemd/system root/usr/lib/systemd/system/*.target.wants
mkdir -p root/etc/systemd/system root/usr/lib/systemd/system/multi-user.target.wants
for unit in $4; do
    ln -s "../$unit" root/usr/lib/systemd/system/multi-user.target.wants
done
# Not by chroot, in which no user name space can be made.
cd root && pivot_root . . && umount --lazy . && mount --make-rshared /
exec env -i PATH="$PATH" container=test "$5" --unit=multi-user.target
"""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """It runs until the end of `booted`."""

    pid: int

    def run(
        self, script: str, *, env: Mapping[str, str] | None = None, seconds: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """Run a script of bash as root, in root's home directory; it stops at the first failure."""
        return subprocess.run(
            self.command("bash", "-euo", "pipefail", "-c", f"cd /root\n{script}"),
            env={"PATH": _PATH, "HOME": "/root", "LC_ALL": "C.UTF-8"} | dict(env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )

    def command(self, *arguments: str) -> list[str]:
        """The command that runs this one there."""
        return ["nsenter", f"--target={self.pid}", "--all", "--root", "--wd", "--", *arguments]

    @contextmanager
    def network(self) -> Iterator[None]:
        """Use its network in this thread, and in those that are started meanwhile."""
        with open("/proc/self/ns/net") as own, open(f"/proc/{self.pid}/ns/net") as there:
            os.setns(there.fileno(), os.CLONE_NEWNET)
            try:
                yield
            finally:
                os.setns(own.fileno(), os.CLONE_NEWNET)


def can_boot() -> bool:
    """Whether this process can start such a machine."""
    programs = all(map(shutil.which, PROGRAMS)) and Path(SYSTEMD).exists()
    return os.geteuid() == 0 and bool(programs) and _cgroups() is not None


@contextmanager
def booted(*, hosts: str) -> Iterator[Machine]:
    """Start one; `hosts` are the names that it knows as 127.0.0.1."""
    place = Path(tempfile.mkdtemp(prefix="orgadmin-machine-"))
    cgroups = _cgroups()
    assert cgroups
    group = cgroups / place.name
    group.mkdir()
    spaces = ("mount", "net", "pid", "ipc", "uts", "cgroup")
    arguments = (str(place), str(ROOT), f"127.0.0.1 localhost {hosts}", " ".join(WANTED), SYSTEMD)
    # It is in its own group before it makes the name space of groups.
    script = f'echo 0 >"{group}/cgroup.procs"; exec unshare "$@"'
    options = [*(f"--{space}" for space in spaces), "--fork", "--kill-child"]
    boot = ["bash", "-euc", _BOOT, "boot", *arguments]
    with subprocess.Popen(
        ["sh", "-c", script, "sh", *options, *boot],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield _wait_for(process)
        finally:
            # The first process of a name space takes all others with it.
            process.kill()
            process.wait()
            _remove(group)
            place.rmdir()


def _wait_for(process: subprocess.Popen[bytes]) -> Machine:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    for _ in until(60, every=0.1):
        assert process.poll() is None, "The machine ended."
        for pid in children.read_text().split():
            machine = Machine(pid=int(pid))
            with contextlib.suppress(subprocess.TimeoutExpired):
                state = machine.run("systemctl is-system-running || true", seconds=10).stdout
                if state.strip() in {"running", "degraded"}:
                    return machine
    raise AssertionError("The machine didn't start.")


def _cgroups() -> Path | None:
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(place)
    return None


def _remove(group: Path) -> None:
    for _ in until(10):
        with contextlib.suppress(OSError):
            for directory in sorted(group.rglob("*/"), key=lambda path: -len(path.parts)):
                if directory.is_dir():
                    directory.rmdir()
            group.rmdir()
            return
