"""Settings for tests: the product's own, with a throw-away data directory and cheap passwords.

The environment is cleared first, so that a developer's own settings cannot reach a test;
ORGADMIN_TEST_DATABASE_URL alone chooses another database.
"""

import atexit
import os
import shutil
import tempfile

for name in list(os.environ):
    if name.startswith("ORGADMIN_") and name not in {
        "ORGADMIN_TEST_DATABASE_URL",
        "ORGADMIN_TEST_DATA_DIR",
    }:
        del os.environ[name]
for name in ("DATABASE_URL", "SECRET_KEY", "ALLOWED_HOSTS", "DEBUG"):
    os.environ.pop(name, None)
    os.environ.pop(f"{name}_FILE", None)
if "ORGADMIN_TEST_DATA_DIR" not in os.environ:
    # Kept in the environment so that the processes a test starts share it.
    os.environ["ORGADMIN_TEST_DATA_DIR"] = tempfile.mkdtemp(prefix="orgadmin-test-")
    atexit.register(shutil.rmtree, os.environ["ORGADMIN_TEST_DATA_DIR"], ignore_errors=True)
os.environ["ORGADMIN_DATA_DIR"] = os.environ["ORGADMIN_TEST_DATA_DIR"]
if "ORGADMIN_TEST_DATABASE_URL" in os.environ:
    os.environ["DATABASE_URL"] = os.environ["ORGADMIN_TEST_DATABASE_URL"]
    os.environ["SECRET_KEY"] = "only-for-tests-" + "x" * 50
# Live-server tests in a browser run Django's synchronous code under Playwright's event loop.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"

from orgadmin import settings as product  # noqa: E402

# Every setting of the product; what stands below replaces some of them.
globals().update({name: value for name, value in vars(product).items() if name.isupper()})

# Last, so that it sees what the pages do, and not the product's own middleware.
MIDDLEWARE = [*product.MIDDLEWARE, "tests.support.read_only.ReadOnlyMiddleware"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
MAILERS = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}
if product.DATABASE_IS_SQLITE:
    # The live server makes a thread for each connection, which would end without closing its own.
    product.DATABASES["default"]["CONN_MAX_AGE"] = 0
    # No test cuts the power, so no commit waits for the disk.
    product.DATABASES["default"]["OPTIONS"]["init_command"] += " PRAGMA synchronous=OFF;"
