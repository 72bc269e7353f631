"""The sample post that the demonstration illustrates, and the page that shows it."""

import html
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

TITLE = "Three days along the lighthouse coast"


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    text: str
    prompt: str
    alt_text: str
    role: str
    position: int
    aspect_ratio: str


SECTIONS = (
    Section(
        "The first evening",
        "We reached the coast as the light was going. The road ends at a car park and a bench;"
        " from there the path climbs to the lighthouse, and nobody spoke until we stood below it.",
        "A lighthouse above a calm sea at sunset, gulls, golden clouds",
        "A lighthouse on a headland against a golden evening sky",
        "hero",
        1,
        "21:9",
    ),
    Section(
        "Fog in the hills",
        "In the morning the valley was full of fog. We waited for it to lift, gave up, and walked"
        " into it; an hour later the ridge came out above us like an island.",
        "Misty forest hills at dawn, layers of fog between the ridges",
        "Wooded ridges rising out of morning fog",
        "inline",
        1,
        "16:9",
    ),
    Section(
        "The lake by night",
        "On the last night it was clear. We left the lamps off and sat at the water until the"
        " mountains had gone from blue to black and the stars stood twice, above and below.",
        "Snowy mountains reflected in a lake at night, stars and aurora",
        "A starry sky with northern lights mirrored in a mountain lake",
        "inline",
        2,
        "3:2",
    ),
)


class Illustrated(Protocol):
    section: Section
    slot: dict[str, Any]
    path: str


_CREDIT = "The pictures were painted offline by sketch, by rules and chance. They are not AI."

_STYLE = """
:root { color-scheme: light dark; font: 1.05rem/1.6 Georgia, serif; }
body { max-width: 46rem; margin: 3rem auto; padding: 0 1.2rem; }
h1 { font-size: 2.1rem; line-height: 1.15; }
figure { margin: 1.6rem 0; }
img { width: 100%; height: auto; display: block; border-radius: 3px; }
"""


def write_page(path: Path, illustrations: Iterable[Illustrated]) -> Path:
    """Write the illustrated post as one page that needs no server; return its path."""
    parts = []
    for one in illustrations:
        picture = ""
        if one.path:
            source = html.escape(os.path.relpath(one.path, path.parent))
            alt = html.escape(one.slot["alt_text"] or "")
            picture = (
                f'<figure><img src="{source}" alt="{alt}" width="{one.slot["width"]}"'
                f' height="{one.slot["height"]}"></figure>'
            )
        heading = f"<h2>{html.escape(one.section.title)}</h2>"
        text = f"<p>{html.escape(one.section.text)}</p>"
        hero = one.section.role == "hero"
        parts.append(picture + heading + text if hero else heading + picture + text)
    path.write_text(
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{TITLE}</title>"
        f"<style>{_STYLE}</style><h1>{TITLE}</h1>{''.join(parts)}<footer><p><small>{_CREDIT}</small></p></footer></html>\n",
        encoding="utf-8",
    )
    return path
