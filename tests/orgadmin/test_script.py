"""The `run` script, in a copy of the repository with fake commands that log their calls."""

import functools
import json
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.processes import ROOT

pytestmark = pytest.mark.slow

SCRIPT = ROOT / "run"
# What the script can use besides Python and uv: tools of every POSIX system.
TOOLS = ("sh", "cat", "cksum", "dirname", "env", "find", "mktemp", "readlink", "rm")
MANAGE = """import json, os, sys
if sys.argv[1:] == ["environment"]:
    print(json.dumps(dict(os.environ)))
else:
    print(sys.argv[1:], os.getcwd())
"""
COLLECT = """import os, pathlib
assert os.environ["ORGADMIN_DATA_DIR"].endswith("/.venv"), os.environ
assert not {"DATABASE_URL", "ORGADMIN_BASE_URL"} & set(os.environ)
pathlib.Path(__file__).parents[2].joinpath("collected").touch()
"""
OLDER = '#!/bin/sh\ncase "$*" in *version_info*) exit 1 ;; esac\necho older >&2\nexit 9\n'
BROKEN_SHIM = "#!/bin/sh\necho 'shim: no such version' >&2\nexit 127\n"
# A Python whose venv copies one that exists, in a tenth of the time.
QUICK_PYTHON = """#!/bin/sh
case $* in
    '-I -m venv '*) for last in "$@"; do :; done; rm -rf "$last"; exec '{cp}' -R '{venv}' "$last" ;;
esac
exec '{python}' "$@"
"""
# Its pip installs a file of comments, and nothing else.
QUICK_PIP = """import sys
from pathlib import Path
text = "".join(Path(path).read_text() for path in sys.argv if path.endswith(".txt"))
sys.exit(any(not line.startswith("#") for line in text.splitlines()))
"""
UV = """#!/bin/sh
for last in "$@"; do :; done
exec '{python}' -m venv "$last"
"""


def make_checkout(directory: Path, *, system_python: Path = Path("/nowhere/python3")) -> Path:
    """A directory with the script, whose last choice is this Python, and empty requirements."""
    directory.mkdir(parents=True)
    text = SCRIPT.read_text().replace("/usr/bin/python3", str(system_python))
    (directory / "run").write_text(text)
    (directory / "run").chmod(0o755)
    (directory / "manage.py").write_text(MANAGE)
    (directory / "connections/operations").mkdir(parents=True)
    (directory / "connections/operations/static_files.py").write_text(COLLECT)
    for name in ("requirements.txt", "requirements-postgres.txt", "requirements-dev.txt"):
        (directory / name).write_text("# nothing\n")
    return directory


def make_path(directory: Path, **programs: str) -> str:
    """A PATH with the usual tools and these programs, each given as its text or a real path."""
    directory.mkdir(parents=True)
    for tool in TOOLS:
        (directory / tool).symlink_to(shutil.which(tool) or tool)
    for name, text in programs.items():
        program = directory / name.replace("_", ".")
        if text.startswith("#!"):
            program.write_text(text)
            program.chmod(0o755)
        else:
            program.write_text(f'#!/bin/sh\nexec "{text}" "$@"\n')
            program.chmod(0o755)
    return str(directory)


def run(
    script: Path, *arguments: str, path: str | None = None, cwd: Path | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    environment: Mapping[str, str] = {"PATH": path or os.environ["PATH"]} | env
    return subprocess.run(
        [str(script), *arguments],
        env=environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with a .venv, in a directory with a space in its name."""
    base = tmp_path_factory.mktemp("run")
    checkout = make_checkout(base / "a check out", system_python=Path(sys.executable))
    path = make_path(base / "bin", python3=OLDER, python3_13=BROKEN_SHIM)
    done = run(checkout / "run", "install", path=path, ORGADMIN_BASE_URL="https://example.org")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert (checkout / "collected").exists()
    return checkout


@pytest.fixture(scope="module")
def quick_python(installed: Path) -> Path:
    """A Python that makes a .venv quickly."""
    venv = installed.parent / "venv"
    ignored = shutil.ignore_patterns("installed-*", "pip")
    shutil.copytree(installed / ".venv", venv, symlinks=True, ignore=ignored)
    [packages] = venv.glob("lib/python3*/site-packages")
    (packages / "pip").mkdir()
    (packages / "pip/__main__.py").write_text(QUICK_PIP)
    program = installed.parent / "quick-python"
    program.write_text(QUICK_PYTHON.format(cp=shutil.which("cp"), venv=venv, python=sys.executable))
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("shell", ["sh", "dash", "bash"])
def test_every_shell_can_parse_it(shell: str):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    assert subprocess.run([shell, "-n", str(SCRIPT)], check=False).returncode == 0


def test_it_uses_the_first_python_that_is_new_enough_and_works(tmp_path: Path, quick_python: Path):
    checkout = make_checkout(tmp_path / "checkout")
    programs = {"python3_14": BROKEN_SHIM, "python3": OLDER, "python": str(quick_python)}
    path = make_path(tmp_path / "bin", **programs)
    done = run(checkout / "run", "manage", "hello", path=path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0] == f"run: creating .venv with {path}/python"
    assert done.stdout.startswith("['hello']")


@pytest.mark.parametrize("command", ["install", "demo"])
def test_it_runs_nothing_of_the_current_directory(tmp_path: Path, quick_python: Path, command: str):
    checkout = make_checkout(tmp_path / "checkout", system_python=quick_python)
    hostile = tmp_path / "hostile"
    for directory, text in ((checkout, ""), (hostile, "open('owned', 'w')\n")):
        (directory / "orgadmin/demo").mkdir(parents=True)
        (directory / "orgadmin/__init__.py").write_text(text)
        (directory / "orgadmin/demo/__init__.py").touch()
        (directory / "orgadmin/demo/__main__.py").write_text(text)
    for name in ("venv", "ensurepip", "pip", "json"):
        (hostile / f"{name}.py").write_text("open('owned', 'w')\n")
    done = run(checkout / "run", command, path=make_path(tmp_path / "bin"), cwd=hostile)
    assert done.returncode == 0, done.stderr
    assert not (hostile / "owned").exists()


def test_without_such_a_python_it_uses_uv(tmp_path: Path, quick_python: Path):
    checkout = make_checkout(tmp_path / "checkout")
    path = make_path(tmp_path / "bin", python3=OLDER, uv=UV.format(python=quick_python))
    done = run(checkout / "run", "manage", "hello", path=path)
    assert done.returncode == 0, done.stderr
    assert "run: creating .venv with uv" in done.stderr


def test_without_either_it_prints_in_one_line_what_to_install(tmp_path: Path):
    checkout = make_checkout(tmp_path / "checkout")
    path = make_path(tmp_path / "bin", python3=OLDER)
    done = run(checkout / "run", "serve", path=path)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "apt install python3 python3-venv" in line
    assert not (checkout / ".venv").exists()


def processor_seconds() -> float:
    """What all child processes that have ended used: on a busy machine they take longer."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_the_second_start_installs_nothing_and_takes_less_than_a_second(installed: Path):
    before = processor_seconds()
    done = run(installed / "run", "manage", "hello")
    assert processor_seconds() - before < 1
    assert done.stderr == ""


def test_standard_output_contains_only_what_the_command_wrote(tmp_path: Path, quick_python: Path):
    checkout = make_checkout(tmp_path / "checkout", system_python=quick_python)
    path = make_path(tmp_path / "bin")
    done = run(checkout / "run", "manage", "list", "--json", path=path)
    assert "run: installing requirements.txt" in done.stderr
    assert done.stdout.startswith("['list', '--json']")
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize("command", ["serve", "web", "worker", "manage"])
@pytest.mark.parametrize("changed", ["requirements.txt", "requirements-postgres.txt"])
def test_service_commands_require_an_install_and_download_nothing(
    installed: Path, command: str, changed: str
):
    run(installed / "run", "install", DATABASE_URL="postgres:///orgadmin")
    before = (installed / changed).read_text()
    with socket.create_server(("127.0.0.1", 0)) as index:
        index.setblocking(False)
        address = f"http://127.0.0.1:{index.getsockname()[1]}/simple/"
        start = functools.partial(
            run,
            installed / "run",
            command,
            DATABASE_URL="postgres:///orgadmin",
            PIP_INDEX_URL=address,
            PIP_RETRIES="0",
            PIP_TIMEOUT="1",
        )
        (installed / changed).write_text(f"new==1 --hash=sha256:{'0' * 64}\n")
        done = start()
        (installed / changed).write_text(before)
        again = start()
        with pytest.raises(BlockingIOError):
            index.accept()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "run: This version needs packages that aren't installed. Run ./run install (a running "
        "service isn't affected), then start again.\n"
    )
    # As after a downgrade to the previous version.
    assert (again.returncode, again.stderr) == (0, "")


def test_a_failed_install_leaves_the_previous_version_usable(installed: Path):
    before = (installed / "requirements.txt").read_text()
    run(installed / "run", "install")
    (installed / "requirements.txt").write_text("new\n")  # no version, no hash
    assert run(installed / "run", "install").returncode == 1
    (installed / "requirements.txt").write_text(before)
    assert run(installed / "run", "manage", "hello").returncode == 0


def test_it_works_from_anywhere_and_through_symbolic_links(installed: Path, tmp_path: Path):
    (tmp_path / "one").symlink_to(installed / "run")
    (tmp_path / "two").symlink_to("one")
    done = run(tmp_path / "two", "manage", "hello", cwd=tmp_path)
    assert done.stdout == f"['hello'] {tmp_path}\n"


def test_it_works_from_its_own_directory(installed: Path):
    done = subprocess.run(
        ["sh", "run", "manage", "hello"], cwd=installed, capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("['hello']")


def test_installing_with_a_postgresql_url_installs_its_driver(installed: Path):
    (installed / ".venv" / "installed-requirements-postgres.txt").unlink(missing_ok=True)
    done = run(installed / "run", "install", DATABASE_URL="postgres:///orgadmin")
    assert "run: installing requirements-postgres.txt" in done.stderr.splitlines()
    again = run(installed / "run", "manage", "hello", DATABASE_URL="postgres:///orgadmin")
    assert (again.returncode, again.stderr) == (0, "")


def test_the_database_url_can_come_from_a_file(installed: Path, tmp_path: Path):
    stamp = installed / ".venv" / "installed-requirements-postgres.txt"
    stamp.unlink(missing_ok=True)
    (tmp_path / "url").write_text("postgres:///orgadmin\n")
    refused = run(installed / "run", "serve", DATABASE_URL_FILE=str(tmp_path / "url"))
    assert "Run ./run install" in refused.stderr
    start = functools.partial(run, installed / "run", "manage", "hello")
    # The settings say that both are set.
    both = start(DATABASE_URL="postgres:///orgadmin", DATABASE_URL_FILE=str(tmp_path / "url"))
    assert both.returncode == 0
    run(installed / "run", "install", DATABASE_URL_FILE=str(tmp_path / "url"))
    assert stamp.exists()


def test_only_test_and_check_install_development_tools(installed: Path):
    stamp = installed / ".venv" / "installed-requirements-dev.txt"
    run(installed / "run", "serve")
    assert not stamp.exists()
    run(installed / "run", "test")
    assert stamp.exists()


def test_nothing_starts_when_the_install_fails(tmp_path: Path, quick_python: Path):
    checkout = make_checkout(tmp_path / "checkout", system_python=quick_python)
    (checkout / "requirements.txt").write_text("django\n")  # no version, no hash
    done = run(checkout / "run", "manage", "hello", path=make_path(tmp_path / "bin"))
    assert done.returncode == 1
    assert done.stdout == ""
    assert "The installation failed" in done.stderr
    again = run(checkout / "run", "manage", "hello", path=str(tmp_path / "bin"))
    assert again.returncode == 1


def test_install_recreates_a_venv_without_its_python_and_serve_does_not(
    tmp_path: Path, quick_python: Path
):
    checkout = make_checkout(tmp_path / "checkout", system_python=quick_python)
    python = checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to("/nowhere/python3")
    path = make_path(tmp_path / "bin")
    refused = run(checkout / "run", "serve", path=path)
    assert refused.returncode == 1
    assert "Run ./run install" in refused.stderr
    assert run(checkout / "run", "install", path=path).returncode == 0
    done = run(checkout / "run", "manage", "hello", path=path)
    assert done.stdout.startswith("['hello']")


def test_help_lists_every_command_on_standard_output():
    done = run(SCRIPT, "help")
    assert done.returncode == 0
    for command in ("install", "demo", "serve", "web", "worker", "manage", "test", "check", "help"):
        assert f"\n  {command} " in done.stdout


@pytest.mark.parametrize("is_file_in_file", [True, False])
def test_a_variable_that_is_set_leaves_out_its_counterpart_in_the_file(
    installed: Path, tmp_path: Path, *, is_file_in_file: bool
):
    value, file = ("EMAIL_URL", "smtp://here"), ("EMAIL_URL_FILE", "/run/email_url")
    outside, inside = (value, file) if is_file_in_file else (file, value)
    (tmp_path / "settings").write_text("{}={}\n".format(*inside))

    def exported(**env: str) -> dict[str, str]:
        env |= {"ORGADMIN_ENV_FILE": str(tmp_path / "settings")}
        done = run(installed / "run", "manage", "environment", path=None, cwd=None, **env)
        seen = json.loads(done.stdout)
        return {name: text for name, text in seen.items() if name.startswith("EMAIL_URL")}

    assert exported(**dict([outside])) == dict([outside])
    assert exported(**{outside[0]: ""}) == {outside[0]: "", inside[0]: inside[1]}
    # Both in the file are an error, which the command itself names.
    (tmp_path / "settings").write_text("{}={}\n{}={}\n".format(*inside, *outside))
    assert exported() == dict([inside, outside])


def test_a_command_that_does_not_exist_fails_and_installs_nothing(tmp_path: Path):
    checkout = make_checkout(tmp_path / "checkout")
    done = run(checkout / "run", "start")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "unknown command start" in done.stderr
    assert not (checkout / ".venv").exists()


# --- The environment file -----------------------------------------------------------------------

DATABASE_URL = "postgres://app:a$HOME`id`;#@db/orgadmin?sslmode=verify-full&sslrootcert=/etc/ca.pem"
LINES = f"""# Settings of the service

DATABASE_URL={DATABASE_URL}
SPACES=  a b\t
NOTHING=
EQUALS==a=b
HASH=a # b
BACKSLASHES=\\n\\
DOUBLE=" a 'b' $HOME "
SINGLE='"a"'
ESCAPED="a\\"b"
ONE_QUOTE="
MIXED='a"
UNICODE=é\u202e
_UNDERSCORE_1=x
TWICE=first
TWICE=second
SET=from the file
SET_TO_NOTHING=from the file
WINDOWS=crlf\r
LAST='no line break'"""
VALUES = {
    "DATABASE_URL": DATABASE_URL,
    "SPACES": "  a b\t",
    "NOTHING": "",
    "EQUALS": "=a=b",
    "HASH": "a # b",
    "BACKSLASHES": "\\n\\",
    "DOUBLE": " a 'b' $HOME ",
    "SINGLE": '"a"',
    "ESCAPED": 'a\\"b',
    "ONE_QUOTE": '"',
    "MIXED": "'a\"",
    "UNICODE": "é\u202e",
    "_UNDERSCORE_1": "x",
    "TWICE": "second",
    "SET": "already",
    "SET_TO_NOTHING": "",
    "WINDOWS": "crlf",
    "LAST": "no line break",
}


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_every_value_of_the_environment_file_is_taken_as_it_is(
    installed: Path, tmp_path: Path, shell: str
):
    (tmp_path / "a file").write_bytes(LINES.encode())
    run(installed / "run", "install", DATABASE_URL=DATABASE_URL)
    done = run(
        Path(shutil.which(shell) or shell),
        str(installed / "run"),
        "manage",
        "environment",
        cwd=tmp_path,
        ORGADMIN_ENV_FILE="a file",
        SET="already",
        SET_TO_NOTHING="",
    )
    assert (done.returncode, done.stderr) == (0, "")
    environment = json.loads(done.stdout)
    assert {name: environment.get(name) for name in VALUES} == VALUES


SECRET = "hunter2"


COMMANDS = ("serve", "web", "worker", "manage", "install", "demo", "help")
NO_VARIABLES = (
    f"export PASSWORD={SECRET}",
    f" PASSWORD={SECRET}",
    f"PASSWORD ={SECRET}",
    f"={SECRET}",
    f"1PASSWORD={SECRET}",
    f"PASS-WORD={SECRET}",
    f"PASSWORD: {SECRET}",
    f"$(touch made){SECRET}=",
    f"\ufeffPASSWORD={SECRET}",
    SECRET,
    "   ",
    "  # indented",
)


@pytest.mark.parametrize(
    ("command", "line"),
    [("serve", line) for line in NO_VARIABLES] + [(command, SECRET) for command in COMMANDS[1:]],
)
def test_a_line_of_another_kind_is_named_by_its_number_and_nothing_starts(
    tmp_path: Path, command: str, line: str
):
    checkout = make_checkout(tmp_path / "checkout")
    file = tmp_path / "environment"
    file.write_text(f"# Settings\nPORT=9000\n{line}\nDEBUG=1\n")
    done = run(checkout / "run", command, cwd=tmp_path, ORGADMIN_ENV_FILE=str(file))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"run: {file}, line 3: expected NAME=value, an empty line, or a line that starts with #. "
        "Nothing was started.\n"
    )
    assert sorted(os.listdir(tmp_path)) == ["checkout", "environment"]
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize("name", ["missing", "checkout", ""])
def test_without_its_environment_file_nothing_starts(tmp_path: Path, name: str):
    checkout = make_checkout(tmp_path / "checkout")
    done = run(checkout / "run", "serve", cwd=tmp_path, ORGADMIN_ENV_FILE=name)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"run: ORGADMIN_ENV_FILE: can't read the file '{name}'. Nothing was started.\n"
    )


def test_the_documented_files_and_commands_use_it(installed: Path, tmp_path: Path):
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    text = "\n".join(page.read_text() for page in pages)
    assert "EnvironmentFile" not in text
    assert ". /etc/orgadmin" not in text
    samples = re.findall(r"```sh\n((?:[A-Z_]+=(?!.*(?:/run| -m) ).*\n)+)```", text)
    assert samples
    run(installed / "run", "install", DATABASE_URL="postgres:///orgadmin")
    for sample in samples:
        file = tmp_path / "environment"
        file.write_text(sample)
        done = run(installed / "run", "manage", "environment", ORGADMIN_ENV_FILE=str(file))
        settings = dict(line.split("=", 1) for line in sample.splitlines())
        assert json.loads(done.stdout).items() >= settings.items()


def test_verify_audit_ends_with_2_if_it_could_not_start(tmp_path: Path):
    """1 would mean that the audit log is damaged."""
    script = make_checkout(tmp_path / "checkout") / "run"
    done = run(script, "manage", "verify_audit", ORGADMIN_ENV_FILE="missing")
    assert done.returncode == 2
