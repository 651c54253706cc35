"""print_texts: prints every text that people read."""

import json

import pytest
from django.core.management import call_command


def test_texts_are_grouped_by_where_they_appear(
    capsys: pytest.CaptureFixture[str],
) -> None:
    call_command("print_texts")
    page = capsys.readouterr().out
    groups = [line[2:] for line in page.splitlines() if line.startswith("# ")]
    assert groups == [
        "Pages",
        "Forms",
        "Wording",
        "Event sentences",
        "Emails and webhook",
        "Commands",
        "Server and demo",
        "Other messages",
    ]
    of_group = dict(zip(groups, page.split("\n# "), strict=False))
    assert "Page not found" in of_group["Pages"] or "no such page" in of_group["Pages"]
    assert "{person} signed out." in of_group["Event sentences"]
    assert "The link works once and expires at … UTC." in of_group["Emails and webhook"]
    assert "Print every text" in of_group["Commands"]


def test_json_lists_each_text_with_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("print_texts", "--json")
    texts = json.loads(capsys.readouterr().out)
    [subject] = [text for text in texts if text["text"] == "Reset your Org Admin password"]
    assert subject == {
        "group": "Emails and webhook",
        "path": "templates/account/email/password_reset_key_subject.txt",
        "line": 1,
        "text": "Reset your Org Admin password",
    }
