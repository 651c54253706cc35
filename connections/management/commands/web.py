"""Run the web server without a worker."""

from connections.management.commands import serve


class Command(serve.Command):
    """Like `serve`. A worker runs as a process of its own, on this machine or another."""

    help = "Run the web server, without a worker, until SIGTERM or SIGINT. Otherwise like serve."
    workers = 0
