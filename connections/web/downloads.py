"""Answering with an export: a file that is written while it is read."""

import base64

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse

from connections.audit.exporting import Export, begin_export
from connections.core.tabular import CONTENT_TYPES


def download(
    request: HttpRequest, *, export: Export, name: str
) -> HttpResponse | StreamingHttpResponse:
    """The export as an attachment; `name` is its file name without what the format adds.

    The newest checkpoint goes along in a header, and by size and root in the file's name: there
    it stays with the file and no parser of the contents meets it.
    """
    response: HttpResponse | StreamingHttpResponse
    content_type = CONTENT_TYPES[export.file_format]
    if request.method == "HEAD":
        # Nothing leaves, so nothing is recorded.
        response = HttpResponse(content_type=content_type)
    else:
        response = StreamingHttpResponse(begin_export(export=export), content_type=content_type)
    if export.checkpoint:
        name += f"-cp{export.checkpoint.size}-{export.checkpoint.root[:16]}"
        note = base64.b64encode(export.checkpoint.note.encode()).decode()
        response["X-Orgadmin-Checkpoint"] = note
    response["Content-Disposition"] = f'attachment; filename="{name}.{export.file_format}"'
    return response
