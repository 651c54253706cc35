"""The /metrics page. /healthz and /readyz are in the middleware."""

from django.http import HttpRequest, HttpResponse

from connections.operations import metrics_token
from connections.operations.metrics import read_metrics


def metrics_for_token(request: HttpRequest) -> HttpResponse:
    """The metrics for a program with the token in ORGADMIN_METRICS_TOKEN_FILE, otherwise 401."""
    if not metrics_token.is_valid_header(request.headers["Authorization"]):
        return HttpResponse(status=401, headers={"WWW-Authenticate": "Bearer"})
    return metrics(request)


def metrics(request: HttpRequest) -> HttpResponse:
    """All metrics, in Prometheus's text format.

    They cover every credential, so they are for people who see all credentials.
    """
    lines = [line for metric in read_metrics() for line in metric.lines()]
    return HttpResponse(
        "\n".join(lines) + "\n", content_type="text/plain; version=0.0.4; charset=utf-8"
    )
