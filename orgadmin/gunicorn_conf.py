"""gunicorn's configuration for `./run serve`, which alone reads it."""

import os

from django.conf import settings

from orgadmin.supervisor import end_with_parent

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orgadmin.settings")
# The master loads this; its workers watch the master by themselves.
end_with_parent(int(os.environ["ORGADMIN_SUPERVISOR"]))

worker_class = "gthread"
# With SQLite one process writes, so that its writers wait for each other in one place.
workers = 1 if settings.DATABASE_IS_SQLITE else 2
threads = 8
# Longer than the 30 s that Datadog has for answering a DELETE.
graceful_timeout = 60
timeout = 90
forwarded_allow_ips = ",".join(settings.TRUSTED_PROXIES)
control_socket_disable = True
# No access log: what a person searched for stands in the paths.
accesslog = None
loglevel = "warning"
