"""What the verifier prints, and its command line."""

from __future__ import annotations

import argparse
import re
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import TextIO

from connections.verifier import page
from connections.verifier.events import ACCESS_REQUEST, BATCH, DELETION
from connections.verifier.messages import (
    UncheckedError,
    VerificationFailed,
    escape,
    fill,
    pluralize,
)
from connections.verifier.notes import fingerprint_of
from connections.verifier.sample import Sample
from connections.verifier.verification import Verification

# How many of the things that need attention are printed. A page has all of them.
MAX_WARNINGS = 50
NOT_PROVEN = (
    "The audit log was true when written. It contains what the server received and recorded.",
    "The bundle is complete. The filter or the server might have left out a deletion or an access "
    "request, or a later event of one. Compare the counts with the lists of both, and have "
    "verify_audit run on the whole audit log.",
    "The clock was right. Times are those of the server's database.",
    "The person named was at the keyboard. A name means an account that was signed in.",
    "A name shown as erased was erased. The person who made the bundle can leave out a name in the "
    "same way. The audit log has an event person.erased for each erased person: ask to see it.",
    "Anything after the checkpoint.",
)
_NOT_PROVEN_OF_REVIEW = (
    "The access review had every connection. It has those that matched its filter in the newest "
    "syncs; its record names the syncs that were incomplete, the orgs without a credential "
    "and the connections that matched later. Those are new, or changed so that they match.",
    "A connection that is “removed outside Org Admin” is gone. The syncs stored when the bundle "
    "was made no longer list it, but no deletion and no event proves that.",
    "A reviewer looked closely. The record shows the decision, its reason and how many were "
    "decided at once.",
)
_NOT_PROVEN_OF_PLAN = (
    "A row was left out of the plan for a good reason. The plan shows what Org Admin found when it "
    "was made or requested.",
    "Every pause of the bulk deletion is here. The server might have left out an event that no "
    "other one requires.",
)
WITHOUT_PLAN = (
    "No row of {} was left out. The bundle has neither a plan nor the events of a bulk deletion as "
    "a whole (request, approval, confirmation, pauses, end), because it was not made for one whole "
    "bulk deletion. A bundle made for one bulk deletion, without another "
    "filter, has both."
)
SIGNER_NOT_VERIFIED = ", but THE SIGNER WAS NOT VERIFIED: you gave no fingerprint."
NO_FINGERPRINT = (
    "WARNING: key {} signed this bundle, and you gave no fingerprint to compare it with. This "
    "proves only that the bundle is consistent: the person who made it might have made the key "
    "too. Get the fingerprint through a different channel (a person you know, an earlier "
    "document) and pass it with --fingerprint. Get verify.pyz through a different channel too."
)
_RESULTS = {
    0: "RESULT: VERIFIED (exit code 0).",
    1: "RESULT: VERIFICATION FAILED (exit code 1). Do not rely on this bundle.",
    2: "RESULT: COULD NOT CHECK (exit code 2). Nothing is proven.",
}
_RESULT_WITHOUT_FINGERPRINT = "RESULT: VERIFIED, BUT NOT ITS SIGNER (exit code 0)."


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify a bundle and print the report. Return the exit code."""
    options = _parse_arguments(arguments)
    fingerprint = re.sub("[\\s:]", "", options.fingerprint).lower()
    if options.fingerprint and not re.fullmatch("[0-9a-f]{64}", fingerprint):
        return _print(2, ["COULD NOT CHECK: a fingerprint has 64 hex digits."])
    try:
        with tempfile.TemporaryFile("w+", encoding="utf-8", newline="") as page_file:
            verification = Verification(
                options.bundle,
                fingerprint=fingerprint,
                kept=options.checkpoint,
                page_file=page_file if options.html else None,
                sample=Sample(size=options.sample, seed=options.seed or secrets.token_hex(16)),
            )
            verification.run()
            if options.html:
                _write_page(verification, page_file, options.html)
    except VerificationFailed as error:
        return _print(1, [f"VERIFICATION FAILED: {error}"])
    except UncheckedError as error:
        return _print(2, [f"COULD NOT CHECK: {error}"])
    except OSError as error:
        text = "COULD NOT CHECK: {} can't be used ({}). Check its path and its permissions."
        return _print(2, [fill(text, error.filename or options.bundle, error.strerror or error)])
    except Exception as error:  # noqa: BLE001 - a forged bundle might cause any error
        text = "VERIFICATION FAILED: part of the bundle is malformed ({})."
        return _print(1, [fill(text, type(error).__name__)])
    return _print(0, _report_lines(verification), is_signer_verified=bool(fingerprint))


def _parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="verify.pyz",
        description="Verify an evidence bundle offline.",
        epilog="Exit code 0: every check passed; 1: a check failed; 2: could not check.",
    )
    parser.add_argument("bundle", help="the ZIP file, exactly as it was downloaded")
    parser.add_argument(
        "--fingerprint", default="", help="SHA-256 of the public key, from a different channel"
    )
    parser.add_argument(
        "--checkpoint", default="", metavar="FILE", help="an earlier checkpoint that you kept"
    )
    parser.add_argument(
        "--html", default="", metavar="FILE", help="after verifying, write it for reading to FILE"
    )
    parser.add_argument(
        "--sample", default=0, type=int, metavar="N", help="name N deletions drawn at random"
    )
    parser.add_argument("--seed", default="", help="draw the sample of this seed again")
    return parser.parse_args(arguments)


def _write_page(done: Verification, page_file: TextIO, path: str) -> None:
    """Write the page to a new file. `page_file` has its deletions."""
    title = f"Access review: {done.review['name']}" if done.review else ""
    page_file.seek(0)
    with open(path, "x", encoding="utf-8", newline="") as new_file:
        new_file.write(page.page_start(done.population, title))
        new_file.write(done.whole_section)
        shutil.copyfileobj(page_file, new_file)
        new_file.write(page.page_end(done.warnings))


def _report_lines(done: Verification) -> Iterator[str]:
    yield from _introduction(done)
    yield ""
    yield f"VERIFIED: every check passed{'.' if done.fingerprint else SIGNER_NOT_VERIFIED}"
    yield ""
    yield "Proven, if you trust the signing key:"
    yield from (f"  - {finding}" for finding in done.findings)
    yield ""
    yield "Not proven:"
    yield from (f"  - {text}" for text in _not_proven(done))
    yield ""
    if done.warnings:
        yield fill("Needs attention ({}):", len(done.warnings))
        yield from (f"  - {warning}" for warning in done.warnings[:MAX_WARNINGS])
        more = len(done.warnings) - MAX_WARNINGS
        if more > 0:
            yield fill("  - and {} more: --html FILE writes all of them.", more)
        yield ""
    if done.sample.size:
        drawn = pluralize(len(done.drawn), "deletion")
        yield fill("Sample of {}, drawn with --seed {}:", drawn, done.sample.seed)
        yield from (fill("  - {}", deletion_id) for deletion_id in done.drawn)
        yield ""
    if done.fingerprint:
        yield "The signing key has the fingerprint you gave, or replaced that key."
    else:
        yield fill(NO_FINGERPRINT, fingerprint_of(done.keys[-1]))


def _introduction(done: Verification) -> Iterator[str]:
    yield fill("Evidence bundle of {}, created {}.", done.origin, done.manifest["made_at"])
    if done.review:
        keys = ("name", "created_at", "closed_at")
        yield fill("Access review “{}”, started {}, closed {}.", *map(done.review.get, keys))
    period, population = done.manifest["period"], done.population
    contents = pluralize(done.records.get(DELETION, 0), "deletion")
    in_period = str(population["in_period"])
    if ACCESS_REQUEST in done.records:
        requests = pluralize(done.records[ACCESS_REQUEST], "access request")
        contents = f"{contents} and {requests}"
        counted = pluralize(population["access_requests"]["in_period"], "access request")
        in_period = f"{pluralize(population['in_period'], 'deletion')} and {counted}"
    yield fill(
        "{} requested from {} until {} (UTC). Filter: {}. The server counted {} in the period.",
        contents,
        period["since"] or "the beginning",
        period["until"],
        population["filter_in_words"],
        in_period,
    )


def _not_proven(done: Verification) -> Iterator[str]:
    yield from NOT_PROVEN
    if done.review:
        yield from _NOT_PROVEN_OF_REVIEW
    if BATCH in done.whole:
        yield from _NOT_PROVEN_OF_PLAN
    if done.without_plan:
        yield fill(WITHOUT_PLAN, pluralize(len(done.without_plan), "bulk deletion"))


def _print(code: int, lines: Iterable[str], *, is_signer_verified: bool = True) -> int:
    """Print the lines, and the verdict once more as the last one, where nobody overlooks it."""
    verdict = _RESULTS[code] if is_signer_verified else _RESULT_WITHOUT_FINGERPRINT
    encoding = sys.stdout.encoding or "ascii"
    for line in [*lines, verdict]:
        text = escape(line).encode(encoding, "backslashreplace").decode(encoding)
        sys.stdout.write(f"{text}\n")
    return code
