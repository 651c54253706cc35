"""Names that look the same, or mix scripts to look like others."""

import pytest

from connections.core.lookalikes import find_mixed_scripts, fold_lookalikes, has_invisible


@pytest.mark.parametrize(
    "name",
    [
        "GRACE",
        "grace\ufe0f",
        "gra\u034fce",
        "ｇｒａｃｅ",
        "𝐠race",
        "grace\u3164",
        " grace\u00a0",
        "gráce",
        "gra\u0336ce",
        "grace\U000e0061",
    ],
)
def test_names_that_look_the_same_are_folded_to_one(name: str):
    assert fold_lookalikes(name) == "grace"


def test_a_wide_blank_looks_like_a_space():
    assert fold_lookalikes("Org\u3164Admin") == fold_lookalikes("org admin")


def test_other_names_stay_apart():
    assert (
        len({fold_lookalikes(name) for name in ("grace", "gracie", "g race", "グレース", "")}) == 5
    )


@pytest.mark.parametrize(
    ("name", "scripts"),
    [
        ("bоss", ["Cyrillic", "Latin"]),
        ("Οrg Admin", ["Greek", "Latin"]),
        ("Ivan Иванов", ["Cyrillic", "Latin"]),
        ("ᏀᎡace", ["Cherokee", "Latin"]),
        ("カナ 김", ["Hangul", "Katakana"]),
        ("ㄅ かな", ["Bopomofo", "Hiragana"]),
    ],
)
def test_letters_of_several_scripts_are_named(name: str, scripts: list[str]):
    assert find_mixed_scripts(name) == scripts


@pytest.mark.parametrize(
    "name",
    [
        "Ada Lovelace-King 3rd",
        "Иван Петров (2)",
        "田中 Taro タロウ さん",
        "金 김민수 Kim",
        "王小明 ㄨㄤ Wang",
        "O\u02bcNeil",
        "José Ångström",
        "ｔａｒｏ",
        "op-1_2@example.com",
        "",
    ],
)
def test_scripts_that_belong_together_are_not_mixed(name: str):
    assert find_mixed_scripts(name) == []


@pytest.mark.parametrize("character", "\u3164\u2800\u115f\u200b\ufe0f\u00ad\U000e0001")
def test_characters_that_no_one_sees_are_known(character: str):
    assert has_invisible(f"Payments{character} US")
    assert not has_invisible("Payments US")
