"""The product's settings, with short deadlines, for the processes that faults strike.

Only these settings replace the function behind the product's failpoints. FAULTS_PLAN names the JSON
file that says what happens at each point (see tests/faults/crashes/plan.py).
"""

from orgadmin import settings as product
from tests.faults.crashes.plan import read_plan

# All settings of the product. The ones below replace some of them.
globals().update({name: value for name, value in vars(product).items() if name.isupper()})

INSTALLED_APPS = [*product.INSTALLED_APPS, "tests.faults.crashes.apps.CrashesConfig"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
if product.DATABASE_IS_SQLITE:
    options = product.DATABASES["default"]["OPTIONS"]
    options["timeout"] = read_plan().lock_seconds
    # A killed process loses no commits because of this; only a power failure would.
    options["init_command"] += " PRAGMA synchronous=OFF;"
