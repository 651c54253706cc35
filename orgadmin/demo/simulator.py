"""Calls to the control API of the Datadog simulator (sandbox/control.py)."""

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from connections.core.errors import ConflictError
from connections.core.sites import get_site


def set_delete_fault(name: str, *, connection_id: str, site: str) -> None:
    """Let each DELETE of the connection fail in this way. Raises ConflictError."""
    fault = {"fault": name, "connection_id": connection_id, "method": "DELETE"}
    _post("faults", fault, site=site)


def change_connection(values: dict[str, Any], *, connection_id: str, site: str) -> None:
    """Change a connection as someone at Datadog would. Raises ConflictError.

    `values` are those of the control API: `connection_types`, or `change` and `after`.
    """
    _post("connections", {"connection_id": connection_id, **values}, site=site)


def _post(path: str, values: dict[str, Any], *, site: str) -> None:
    address = urlsplit(get_site(site).base_url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=5)
    try:
        connection.request("POST", f"/__sandbox__/{path}", json.dumps(values))
        response = connection.getresponse()
        if response.status != http.HTTPStatus.OK:
            raise ConflictError(f"The Datadog simulator refused: {response.read().decode()}")
    finally:
        connection.close()
