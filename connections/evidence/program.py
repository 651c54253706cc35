"""The verifier as one file, `verify.pyz`: a ZIP archive of its modules that Python runs.

The archive follows from the modules alone, so anyone can build it again and compare.
"""

import hashlib
from pathlib import Path

from connections import verifier
from connections.verifier.archive import pack

_FOLDER = Path(verifier.__file__).parent


def build_program() -> bytes:
    """The content of verify.pyz."""
    modules = {path.name: path.read_bytes() for path in sorted(_FOLDER.glob("*.py"))}
    files = {f"connections/verifier/{name}": content for name, content in modules.items()}
    # A folder without this file is also a package, but one that another folder could add to.
    return pack({"__main__.py": modules["__main__.py"], "connections/__init__.py": b"", **files})


def program_digest() -> str:
    """The SHA-256 of verify.pyz, in hex."""
    return hashlib.sha256(build_program()).hexdigest()
