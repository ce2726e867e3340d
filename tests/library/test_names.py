"""Class names: one reader, and what makes two of them one."""

from __future__ import annotations

from pathlib import Path

import pytest

from shipclip.backbones.openai import byte_pairs
from shipclip.errors import MissingFile, UserError
from shipclip.names import plain, read_names, refuse_same_tokens, refuse_twins, same

READ = {
    "a byte order mark": ("\ufefffox\nowl\n".encode(), ["fox", "owl"]),
    "byte order marks in between": (b"fox\n\xef\xbb\xbfowl\n\xef\xbb\xbf# more\n", ["fox", "owl"]),
    "comments": (b"# birds\nfox  # red\n  # more\nowl\n", ["fox", "owl"]),
    "a number is no comment": (b"unit #5\nC# code\n#\n", ["unit #5", "C# code"]),
    "line ends of any system": (b"fox\r\nowl\ryak\n\n\n", ["fox", "owl", "yak"]),
    "white space": (b"  red fox \t\n\tsnow owl", ["red fox", "snow owl"]),
    "composed": ("Ka\u0308fer\n".encode(), ["K\u00e4fer"]),
    "any letters": ("狐\nلومړی\nlisička\n".encode(), ["狐", "لومړی", "lisička"]),
}


@pytest.mark.parametrize("case", READ)
def test_names_are_read_whatever_wrote_them(case: str, tmp_path: Path):
    content, wanted = READ[case]
    (tmp_path / "names.txt").write_bytes(content)
    found = read_names(tmp_path / "names.txt")
    assert list(found) == wanted
    assert next(iter(found.values())).startswith("names.txt, line ")


MISTAKES = {
    "twice": ("fox\nowl\nfox\n", "names.txt names 'fox' twice, in lines 1 and 3: name each class once"),
    "by case": ("Fox\nowl\nfOX\n", r"'Fox' \(names.txt, line 1\) and 'fOX' \(names.txt, line 3\) in .* the same name"),
    "by underscore": ("red_fox\nred fox\n", r"'red_fox' \(names.txt, line 1\) and 'red fox' \(names.txt, line 2\)"),
    "by white space": ("yin  yang\nyin yang\n", r"line 1\) and 'yin yang' \(names.txt, line 2\)"),
    "by width": ("\uff43\uff55\uff50\n# wide\ncup\n", r"line 1\) and 'cup' \(names.txt, line 3\)"),
    "by a sign that nobody sees": ("cup\u200b\ncup\n", r"line 1\) and 'cup' \(names.txt, line 2\)"),
    "nothing but such a sign": ("fox\n\u200b\n", r"has an empty class name, '\\u200b' \(names.txt, line 2\)"),
    "a control character": ("f\x07ox\n", r"'f\\x07ox' \(names.txt, line 1\) in .* holds '\\x07', which is no text"),
    "the wrong encoding, saved again": ("K\ufffdfer\n", r"holds '\\ufffd', which is no text: rename it \(was the file"),
    "empty": ("\n# nothing\n", "names.txt holds no class name: write one a line"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_names_that_are_one_to_clip_are_refused_by_line(mistake: str, tmp_path: Path):
    content, sentence = MISTAKES[mistake]
    (tmp_path / "names.txt").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=sentence) as found:
        read_names(tmp_path / "names.txt")
    assert str(tmp_path / "names.txt") in str(found.value)


def test_a_file_in_another_encoding_is_named(tmp_path: Path):
    for encoding in ("latin-1", "utf-16"):
        (tmp_path / "names.txt").write_bytes("Käfer\n".encode(encoding))
        with pytest.raises(UserError, match=r"names.txt is not in UTF-8 .*: save it anew as UTF-8"):
            read_names(tmp_path / "names.txt")
    with pytest.raises(MissingFile, match=r"there is no .*no.txt: write a class name a line there"):
        read_names(tmp_path / "no.txt")


def test_the_form_that_equal_names_share():
    assert same(" Red_ FOX ") == same("red fox") == "red fox" != same("redfox")
    assert plain(" Ka\u0308fer ") == "K\u00e4fer"


def test_where_a_twin_stands_is_told():
    with pytest.raises(UserError, match=r"the classes 'a' and 'A' \(x.txt, line 4\) in photos have the same name 'A'"):
        refuse_twins(["a", "A"], "photos", places={"A": "x.txt, line 4"})


def test_names_of_the_same_tokens_are_refused_if_they_are_the_users_own():
    encode, names = byte_pairs().encode, ["a & b", "missile", "missile", "a &amp; b"]
    refuse_same_tokens(encode, names[:3], [], "CLIP")
    with pytest.raises(UserError, match="the classes 'a & b' and 'a &amp; b' are the same tokens to CLIP"):
        refuse_same_tokens(encode, names, ["a &amp; b"], "CLIP")
    with pytest.raises(UserError, match="'missile' and 'missile' are the same tokens"):
        refuse_same_tokens(encode, names[:3], ["missile"], "CLIP")
