"""The texts that people read use the words of the glossary, and none of those it replaced."""

import re
from collections.abc import Iterable, Iterator

from tests.repository.texts import ROOT, VALUE, collect_texts

DOCUMENTS = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]

# Regular expressions, each with what to write instead.
BANNED = {
    r"\bother end\b(?! of)|source end|destination end": "source side, destination side",
    r"asked for|asked to delete|ask anew|asks to": "requested",
    r"Datadog answer|no answer|late answer|did not answer": "response, returned",
    r"read again|reread|last read|read it once more|as read at": "check, sync",
    r"\bestate\b": "inventory",
    r"\bseen by\b(?! Org Admin)": "visible to",
    r"record of acts|stands in the record|on the record": "audit log",
    r"evidence no\.": "audit event",
    r"second person": "another person, approval",
    r"four eyes": "approval policy",
    r"glass (is |was )?broken|broken? (the )?glass|broke the glass|glass to break": "break glass",
    r"lift(s|ed|ing)? (the|this|a) protection|protection lifted": "remove protection",
    r"allow-list": "access list",
    r"out of (their |your )?reach": "not visible",
    r"\bwitness(es)?\b": "checkpoint recipient",
    r"\b(a|the|this|given-up) notices?\b": "notification",
    r"given up|gave up": "failed, stopped",
    r"(some|every|any|no)body": "a person, no one",
    r"is it (still )?you\b": "Confirm it's you",
    r"step-up|stepped up": "identity check",
    r"second factor": "MFA",
    r"sign-in security": "account security",
    r"letting in": "access",
    r"\bstand-in\b": "Datadog simulator",
    r"\brungs?\b|\bladder\b": "key check",
    r"any more\b": "no longer",
    r"by ourselves": "automatically",
    r"look now|looks? for news|have a look|look again": "refresh, check",
    r"(what|whatever) (became|becomes|has become) of": "outcome",
    r"e-mail": "email",
    r"set-up": "setup",
    r"for ever\b": "permanently",
    r"\banew\b": "again",
    r"as unknown forever|without knowing": "as unresolved",
    r"too often": "too many requests",
    r"just moved on": "changed",
    r"kept for good|name nobody": "Kept permanently. Don't include personal data.",
    r"wanted to know": "say what happened",
    r"waits? for others": "waiting on others",
    r"who else must": "approval policy",
    "\u2019": "a straight apostrophe",
}
# Banned only on pages, in emails and in commands, which address the reader directly.
BANNED_IN_THE_PROGRAM = {
    r"\b(we|our|ours)\b": "Org Admin",
    r"\bmay (now|no longer|not)\b": "can, can't, might",
    r"whoever": "the person who",
}
# The glossary's own terms, and the label of a deletion that stopped after an attempt.
ALLOWED = re.compile(r"(?i:break[- ]glass)|\bGave up\b")


def of_documents() -> Iterator[tuple[str, str]]:
    for path in [*DOCUMENTS, ROOT / "run"]:
        text = re.sub(r"```.*?```|`[^`]*`", "", path.read_text(), flags=re.DOTALL)
        for number, line in enumerate(text.splitlines(), start=1):
            yield f"{path.relative_to(ROOT)}:{number}", line


def of_the_program() -> Iterator[tuple[str, str]]:
    for text in collect_texts():
        yield f"{text.path}:{text.line}", re.sub(r"`[^`]*`", "", text.text)


def banned_in(texts: Iterable[tuple[str, str]], phrases: dict[str, str]) -> list[str]:
    return [
        f"{where}: “{match[0]}” ({instead}): {text.strip()[:100]}"
        for where, text in texts
        for pattern, instead in phrases.items()
        if (match := re.search(pattern, ALLOWED.sub("", text), re.IGNORECASE))
    ]


def test_no_text_of_the_program_has_a_word_that_the_glossary_replaced():
    assert banned_in(of_the_program(), BANNED | BANNED_IN_THE_PROGRAM) == []


def test_no_document_has_a_word_that_the_glossary_replaced():
    assert banned_in(of_documents(), BANNED) == []


def test_every_kind_of_text_is_collected():
    found = {(text.group, text.text) for text in collect_texts()}
    assert {
        ("Pages", "Page not found"),
        ("Event sentences", "{person} signed out."),
        ("Emails and webhook", "Reset your Org Admin password"),
        ("Commands", f"Make a one-time link to sign in and choose a password, valid for {VALUE}."),
    } <= found
