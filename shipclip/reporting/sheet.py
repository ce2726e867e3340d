"""A contact sheet: a page with images in it and words under them, which loads nothing else."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..features.images import BadImage, read_image

SIDE = 180  # pixels, the longer side of an image on the sheet
STYLE = """
:root { color-scheme: light dark; --ground: #f6f6f4; --card: #fff; --ink: #1d2125; --soft: #5a626a; --line: #d4d7da; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #14171a; --card: #1e2226; --ink: #e8eaec; --soft: #a6aeb6; --line: #3a4046; }
}
body { margin: 0 auto; max-width: 90rem; padding: 1rem; background: var(--ground); color: var(--ink);
  font: 16px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2rem 0 0; }
p { margin: .2rem 0 .8rem; color: var(--soft); }
.cards { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr)); }
figure { margin: 0; padding: .7rem; background: var(--card); border: 1px solid var(--line); border-radius: .5rem; }
.images { display: flex; gap: .5rem; } .images div { flex: 1; min-width: 0; }
.images img { width: 100%; height: 8rem; object-fit: contain; background: var(--ground); border-radius: .3rem; }
.path { font-size: .72rem; color: var(--soft); overflow-wrap: anywhere; line-height: 1.25; }
figcaption { font-size: .85rem; overflow-wrap: anywhere; margin-top: .4rem; } figcaption span { color: var(--soft); }
"""


@dataclass(frozen=True)
class Card:
    """Images (files, each with what is written under it), a title and a line of words."""

    images: Sequence[tuple[str, str]]
    title: str
    words: str


def contact_sheet(title: str, sections: Mapping[str, tuple[str, Sequence[Card]]]) -> str:
    """The page: sections by title, each with a line of words and cards."""
    parts = []
    for heading, (words, cards) in sections.items():
        body = "\n".join(map(_card, cards)) if cards else ""
        parts.append(f'<h2>{html.escape(heading)}</h2>\n<p>{html.escape(words)}</p>\n<div class="cards">{body}</div>')
    head = (
        '<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>"
    )
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>{head}</head>\n<body>\n<h1>{html.escape(title)}</h1>\n{body}\n'
        "</body>\n</html>\n"
    )


def _card(card: Card) -> str:
    images = "".join(f"<div>{_image(file)}<div class='path'>{_text(text)}</div></div>" for file, text in card.images)
    return (
        f'<figure><div class="images">{images}</div>'
        f"<figcaption>{_text(card.title)}<br><span>{_text(card.words)}</span></figcaption></figure>"
    )


def _image(path: str) -> str:
    try:
        image = read_image(path, upright=True)
    except BadImage:
        return ""
    image.thumbnail((SIDE, SIDE))
    content = io.BytesIO()
    image.save(content, "JPEG", quality=80)
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}">'


def _text(text: str) -> str:
    return html.escape(str(text).encode("utf-8", "backslashreplace").decode())
