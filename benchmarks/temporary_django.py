"""Sets up Django with a temporary database and data directory."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def temporary_django(*, keep_in: Path | None = None) -> Iterator[Path]:
    """Set up Django with an empty, migrated database, yield the data directory, then delete both.

    The database is SQLite with Org Admin's own settings, or a new one on the server of
    DATABASE_URL. `keep_in` is a data directory to keep, so that its SQLite database can be
    measured again.
    """
    with _directory(keep_in) as name:
        for variable in list(os.environ):
            if variable.startswith(("ORGADMIN_", "SECRET_KEY", "ALLOWED_HOSTS", "DEBUG")):
                del os.environ[variable]
        os.environ["ORGADMIN_DATA_DIR"] = name
        os.environ["ORGADMIN_LOG_LEVEL"] = "ERROR"
        os.environ["SECRET_KEY"] = "only-for-benchmarks-" + "x" * 50
        os.environ["DJANGO_SETTINGS_MODULE"] = "orgadmin.settings"
        import django

        django.setup()
        (Path(name) / "static").mkdir(exist_ok=True)
        with _database():
            yield Path(name)


@contextmanager
def _directory(keep_in: Path | None) -> Iterator[str]:
    if keep_in is not None:
        keep_in.mkdir(parents=True, exist_ok=True)
        yield str(keep_in.absolute())
        return
    with tempfile.TemporaryDirectory(prefix="orgadmin-benchmark-") as name:
        yield name


@contextmanager
def _database() -> Iterator[None]:
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connection

    if settings.DATABASE_IS_SQLITE:
        call_command("migrate", interactive=False, verbosity=0)
        yield
        return
    original = settings.DATABASES["default"]["NAME"]
    connection.settings_dict["TEST"]["NAME"] = f"orgadmin_benchmark_{os.getpid()}"
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    try:
        yield
    finally:
        connection.creation.destroy_test_db(original, verbosity=0)
