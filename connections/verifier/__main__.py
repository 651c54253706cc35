"""Verify an evidence bundle of Org Admin, offline.

    python3 -I verify.pyz bundle.zip [--fingerprint HEX] [--checkpoint FILE] [--html FILE]

One file for Python 3.9 or newer that needs only the standard library: a ZIP archive of modules,
which `unzip verify.pyz` unpacks for reading. It opens no connection, and writes only the page that
`--html` names. With -I, Python imports no module from this file's folder. Org Admin's
docs/EVIDENCE.md describes every format that it reads, so that anyone can write another verifier.
Get this file and the key's fingerprint separately from the bundle: a forged bundle can contain a
verifier that accepts it.

Exit code 0: every check passed. 1: a check failed. 2: the bundle could not be checked.
"""

import sys

# Otherwise an older Python would end with a traceback and 1, as if a check had failed.
if sys.version_info < (3, 9):  # noqa: UP036
    print("COULD NOT CHECK: this needs Python 3.9 or newer.")  # noqa: T201
    sys.exit(2)

from connections.verifier.report import main

if __name__ == "__main__":
    sys.exit(main())
