"""Class names, wherever they come from: read in one way, and refused where CLIP could not tell two of them apart."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from .errors import UserError
from .files import read_lines

COMMENT = re.compile(r"(?:^|\s)#(?:\s.*|$)")  # "cat  # a pet" is a cat, "unit #5" a unit


def read_names(file: Path, mend: str = "write a class name a line there") -> dict[str, str]:
    """Class names, a name a line, and where each of them stands ("names.txt, line 3").

    UTF-8, with or without a byte order mark, any line ends; # begins a comment; names are composed (NFC), as they would
    otherwise depend on the system that wrote them.

    Raises:
        MissingFile, UserError: not there, not in UTF-8 or empty; a name twice, or two that CLIP reads alike, by line.
    """
    found: dict[str, str] = {}
    for number, line in read_lines(file, mend):
        name = plain(COMMENT.sub("", plain(line)))
        if not name:
            continue
        if name in found:
            raise UserError(f"{file} names {name!r} twice, in lines {found[name]} and {number}: name each class once")
        found[name] = str(number)
    if not found:
        raise UserError(f"{file} holds no class name: write one a line")
    places = {name: f"{file.name}, line {number}" for name, number in found.items()}
    refuse_twins(list(found), file, places=places)
    return places


def plain(name: str) -> str:
    """A name without white space around it, composed (NFC), and without the byte order marks that files which were put
    together have in between."""
    return unicodedata.normalize("NFC", name.replace("\ufeff", "").strip())


def same(name: str) -> str:
    """What two names have in common that CLIP cannot tell apart: case, width (NFKC), underscores, white space and signs
    that nobody sees make no difference."""
    seen = "".join(c for c in unicodedata.normalize("NFKC", name) if unicodedata.category(c) != "Cf")
    return " ".join(seen.replace("_", " ").split()).casefold()


def numbered(names: Sequence[str]) -> list[tuple[str, int]]:
    """Each name with how often it came before: published sets may have two classes of one name."""
    count: Counter[str] = Counter()
    out = []
    for name in names:
        out.append((name, count[name]))
        count[name] += 1
    return out


def refuse_twins(
    names: Sequence[str],
    where: str | Path,
    keys: Sequence[str] | None = None,
    places: Mapping[str, str] | None = None,
) -> None:
    """Refuse names that CLIP cannot tell apart, and such as are no names.

    Args:
        names: of the classes.
        where: they come from.
        keys: what the classes are called there, if it is not their names.
        places: of a key, where exactly it stands.

    Raises:
        UserError: naming both, and where they come from.
    """
    first: dict[str, str] = {}

    def told(key: str) -> str:
        place = (places or {}).get(key)
        return f"{key!r} ({place})" if place else repr(key)

    for key, name in zip(keys or names, names, strict=True):
        if not same(name):
            raise UserError(f"{where} has an empty class name, {told(key)}: give every class a name")
        odd = [c for c in name if unicodedata.category(c) in ("Cc", "Cs") or c == "\N{REPLACEMENT CHARACTER}"]
        if odd:
            raise UserError(
                f"the class name {told(key)} in {where} holds {odd[0]!a}, which is no text: rename it (was the file "
                "saved as UTF-8?)"
            )
        if same(name) in first:
            raise UserError(
                f"the classes {told(first[same(name)])} and {told(key)} in {where} have the same name {name!r}, so "
                "CLIP cannot tell them apart: merge them, or name them differently (names.csv)"
            )
        first[same(name)] = key


def refuse_same_tokens(
    encode: Callable[[str], Sequence[int]], names: Sequence[str], own: Collection[str], backbone: str
) -> None:
    """Refuse names that are the same tokens to a backbone, as those are one class to it.

    Args:
        encode: the backbone's tokenizer.
        names: of the classes.
        own: those that the user gave; a published set may have two classes of one name (ImageNet has two missiles).
        backbone: its name.

    Raises:
        UserError: naming both.
    """
    first: dict[tuple[int, ...], str] = {}
    for name in names:
        tokens = tuple(encode(name.replace("_", " ")))
        if tokens in first and (name in own or first[tokens] in own):
            raise UserError(
                f"the classes {first[tokens]!r} and {name!r} are the same tokens to {backbone}, so it cannot tell them "
                "apart: merge them, or name them differently"
            )
        first[tokens] = name
