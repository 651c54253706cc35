"""Starts processes of the product that have loaded its modules before they begin.

Loading takes most of a short process's time. `python -m tests.support.template_process FD` loads
all modules once, without a thread, a database connection or an answer from the settings, and forks
a process for each request that arrives on the socket. The new process reads its own environment and
settings, and then runs its program as Python runs it. Its parent is the test's process, not the
template: the fork in between ends, and the kernel gives its children to the nearest subreaper.
"""

import atexit
import ctypes
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
_LENGTH_BYTES = 8


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a new process is: the arguments after `python`, and the whole environment."""

    arguments: list[str]
    environment: dict[str, str]
    has_own_session: bool


class TemplateProcess:
    """The template of this process. It ends with the process."""

    def __init__(self) -> None:
        # The kernel then makes this process the parent of what the template forks.
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
        self._socket, its_end = socket.socketpair()
        self._lock = threading.Lock()
        names = ("PATH", "HOME", "LANG", "PYTHONDONTWRITEBYTECODE")
        kept = {name: os.environ[name] for name in names if name in os.environ}
        with tempfile.TemporaryDirectory() as data_dir:
            with its_end:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", __name__, str(its_end.fileno())],
                    env=kept | {"ORGADMIN_DATA_DIR": data_dir, "SECRET_KEY": "x" * 50},
                    cwd=ROOT,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[its_end.fileno()],
                )
            assert self._socket.recv(1), "the template ended"
        atexit.register(self._end)

    def fork(self, *, files: Sequence[int], **values: Any) -> int:
        """The ID of a new process with these standard files; `values` are a `Request`'s."""
        request = json.dumps(values).encode()
        with self._lock:
            length = len(request).to_bytes(_LENGTH_BYTES)
            socket.send_fds(self._socket, [length], files)
            self._socket.sendall(request)
            return int.from_bytes(_receive(self._socket, _LENGTH_BYTES))

    def _end(self) -> None:
        self._socket.close()
        self._process.wait()


@cache
def template() -> TemplateProcess:
    """The template of this process, started when it is first needed."""
    return TemplateProcess()


class ForkedProcess(subprocess.Popen[str]):
    """A process forked by the template. Popen calls `_execute_child` to start it."""

    def _execute_child(
        self,
        args: Sequence[str],
        executable: object,
        preexec_fn: object,
        close_fds: object,
        pass_fds: object,
        cwd: object,
        env: Mapping[str, str],
        startupinfo: object,
        creationflags: object,
        shell: object,
        p2cread: int,
        p2cwrite: int,
        c2pread: int,
        c2pwrite: int,
        errread: int,
        errwrite: int,
        restore_signals: object,
        gid: object,
        gids: object,
        uid: object,
        umask: object,
        start_new_session: bool,
        process_group: object,
    ) -> None:
        own: Any = self
        files = [
            given if given != -1 else usual
            for usual, given in enumerate((p2cread, c2pwrite, errwrite))
        ]
        self.pid = template().fork(
            files=files,
            arguments=args[1:],
            environment=dict(env),
            has_own_session=start_new_session,
        )
        own._child_created = True
        own._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)


def start(
    arguments: Sequence[str], *, env: Mapping[str, str], **options: Any
) -> subprocess.Popen[str]:
    """Start a process, forked from the template if it runs manage.py or a module of the tests."""
    python, program, *more = arguments
    is_program = python == sys.executable and (
        program == str(ROOT / "manage.py") or (program == "-m" and more[0].startswith("tests."))
    )
    # Python itself reads these variables when it starts, and what comes before it needs an exec.
    is_fresh = "preexec_fn" in options or any(name.startswith(("PYTHON", "LC_")) for name in env)
    kind = ForkedProcess if is_program and not is_fresh else subprocess.Popen
    return kind(arguments, env=env, cwd=ROOT, encoding="utf-8", **options)


# --- The template ---------------------------------------------------------------------------------


def _receive(connection: socket.socket, size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        part = connection.recv(size - len(parts))
        if not part:
            raise EOFError
        parts += part
    return parts


def _load() -> None:
    """Load all modules, and forget what the settings said while they were loaded."""
    import django
    from django.apps import apps
    from django.conf import settings
    from django.core.management import get_commands, load_command_class
    from django.db import connections

    os.environ["DJANGO_SETTINGS_MODULE"] = "orgadmin.settings"
    unread = vars(settings)["_wrapped"]
    django.setup()
    for name, package in get_commands().items():
        if package == "connections":
            load_command_class(package, name)
    for name in ("connections.net.connection", "connections.urls"):
        importlib.import_module(name)
    # Models ask it how long a name can be.
    assert connections["default"].connection is None, "loading a module used the database"
    del connections["default"]
    del vars(connections)["settings"]
    vars(connections)["_settings"] = None
    apps.app_configs.clear()
    apps.apps_ready = apps.models_ready = apps.loading = apps.ready = False
    apps.clear_cache()
    vars(settings).clear()
    vars(settings)["_wrapped"] = unread
    delattr(sys.modules["orgadmin"], "settings")
    del sys.modules["orgadmin.settings"]


def _wait_for_request(requests: socket.socket) -> Request:
    """Fork a process for each request. Returns in the new process, with its request."""
    while True:
        length, files, _, _ = socket.recv_fds(requests, _LENGTH_BYTES, 3)
        if not length:
            sys.exit()
        request = Request(**json.loads(_receive(requests, int.from_bytes(length))))
        reading, writing = os.pipe()
        between = os.fork()
        if between == 0:
            pid = os.fork()
            if pid == 0:
                for number, file in enumerate(files):
                    os.dup2(file, number)
                os.closerange(3, max(requests.fileno(), writing, *files) + 1)
                return request
            os.write(writing, pid.to_bytes(_LENGTH_BYTES))
            os._exit(0)
        # Only then is the test's process the parent.
        os.waitpid(between, 0)
        requests.sendall(os.read(reading, _LENGTH_BYTES))
        for file in (reading, writing, *files):
            os.close(file)


def main() -> None:
    """Fork processes until the test's process ends. Returns in none of them."""
    requests = socket.socket(fileno=int(sys.argv[1]))
    # Ctrl-C is for the tests.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _load()
    gc.collect()
    gc.freeze()
    requests.send(b"!")
    request = _wait_for_request(requests)
    requests.detach()
    if request.has_own_session:
        os.setsid()
    # nohup ignores SIGHUP, and `&` in a script SIGINT.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # As Python opens them.
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, "utf-8", "backslashreplace", closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(request.environment)
    program, *arguments = request.arguments
    if program == "-m":
        sys.argv = arguments
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [program, *arguments]
        runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main()
