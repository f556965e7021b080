"""One HTML file with pictures, videos, tables and words: opens offline, in any browser, for years."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from kinema.errors import InputError, UsageError
from kinema.io.files import read_bytes, write_bytes
from kinema.viz.pictures import checked_image

_VIDEO_TYPES = {".mp4": "video/mp4", ".m4v": "video/mp4", ".webm": "video/webm"}

# For those who told their system that moving pictures disturb them.
_STAY_STILL = "if (matchMedia('(prefers-reduced-motion: reduce)').matches) this.pause()"

_STYLE = """
:root { color-scheme: light dark; --page: #fbfbfa; --card: #ffffff; --ink: #1d2125; --soft: #5d6670;
  --line: #e2e4e6; --accent: #b3401f; --code: #f1f1ef; }
@media (prefers-color-scheme: dark) { :root { --page: #15181b; --card: #1d2125; --ink: #e6e8ea;
  --soft: #9aa4ae; --line: #30363c; --accent: #ff9d73; --code: #22272c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); line-height: 1.55;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 3rem 1.25rem 4rem; }
h1 { font-size: clamp(1.7rem, 4vw, 2.4rem); line-height: 1.15; letter-spacing: -0.02em; margin: 0; }
h2 { font-size: 1.25rem; letter-spacing: -0.01em; margin: 3rem 0 0.4rem; }
p { max-width: 44rem; margin: 0.5rem 0 1rem; }
.lead { font-size: 1.1rem; color: var(--soft); margin-top: 0.8rem; }
.facts { display: flex; flex-wrap: wrap; gap: 0.75rem 2.5rem; margin: 1.75rem 0 2rem; padding: 0; }
.facts div { display: flex; flex-direction: column-reverse; }
.facts dt { color: var(--soft); font-size: 0.875rem; }
.facts dd { margin: 0; font-size: 1.6rem; font-weight: 600; letter-spacing: -0.02em; line-height: 1.2;
  font-variant-numeric: tabular-nums; }
.row { display: grid; gap: 1.25rem; margin: 1.25rem 0; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, var(--least, 18rem)), 1fr)); }
figure { margin: 0; min-width: 0; }
figure img, figure video, .compare { display: block; width: 100%; height: auto; border-radius: 8px;
  border: 1px solid var(--line); background: var(--card); }
figure.small { display: flex; gap: 1rem; align-items: center; }
figure.small img { width: 7.5rem; flex: none; }
figure.small figcaption { margin: 0; max-width: 17rem; }
figure.small b { display: block; }
figcaption { color: var(--soft); font-size: 0.875rem; line-height: 1.4; margin-top: 0.5rem; }
figcaption b { color: var(--ink); font-weight: 600; }
.compare { position: relative; overflow: hidden; --at: 50%; }
.compare img { border: 0; border-radius: 0; }
.compare .over { position: absolute; inset: 0; clip-path: inset(0 calc(100% - var(--at)) 0 0); }
.compare .bar { position: absolute; top: 0; bottom: 0; left: var(--at); width: 2px; margin-left: -1px;
  background: #fff; box-shadow: 0 0 0 1px #0008; pointer-events: none; }
.compare .knob { position: absolute; top: 50%; left: 50%; width: 30px; height: 30px; margin: -15px;
  border-radius: 50%; background: #fff; box-shadow: 0 0 0 1px #0006, 0 1px 5px #0006; color: #222;
  font: 600 15px/30px system-ui, sans-serif; text-align: center; }
.compare span.name { position: absolute; top: 0.6rem; padding: 0.1rem 0.55rem; border-radius: 99px;
  background: #000a; color: #fff; font-size: 0.8rem; pointer-events: none; }
.compare input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0;
  cursor: ew-resize; touch-action: pan-y; }
.compare:focus-within { outline: 2px solid var(--accent); outline-offset: 2px; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; min-width: min(100%, 34rem); }
caption { text-align: left; color: var(--soft); font-size: 0.875rem; padding-bottom: 0.5rem; }
th, td { padding: 0.45rem 1.6rem 0.45rem 0; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; font-weight: 500; }
thead th { color: var(--soft); font-weight: 500; font-size: 0.875rem; vertical-align: bottom; }
pre { background: var(--code); border: 1px solid var(--line); border-radius: 8px; padding: 0.9rem 1.1rem;
  overflow-x: auto; font: 0.875rem/1.7 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
footer { margin-top: 3.5rem; padding-top: 1rem; border-top: 1px solid var(--line); color: var(--soft);
  font-size: 0.8rem; }
@media print { main { padding: 0; max-width: none; } figure, table, pre { break-inside: avoid; } }
"""


@dataclass(frozen=True, eq=False)
class Figure:
    """A picture with what it shows.

    Attributes:
        image: uint8 (H, W, 3) RGB or (H, W) grey.
        alt: what there is to see, for those who cannot see it.
        title: the first words of the caption, set bold.
        caption: the rest of it.
        small: a legend: shown small, with the caption beside it.
        photo: stored as JPEG; flat pictures such as flow are smaller and exact as PNG.
    """

    image: np.ndarray
    alt: str
    title: str = ""
    caption: str = ""
    small: bool = False
    photo: bool = False


class HtmlReport:
    """Builds one self-contained page from top to bottom; all text is escaped.

    Args:
        title: of the page.
        lead: a sentence or two below it.
    """

    def __init__(self, title: str, *, lead: str = "") -> None:
        self._title = title
        self._parts = [f"<h1>{html.escape(title)}</h1>"]
        if lead:
            self._parts.append(f'<p class="lead">{html.escape(lead)}</p>')

    def heading(self, text: str) -> None:
        """Begin a section.

        Args:
            text: its title.
        """
        self._parts.append(f"<h2>{html.escape(text)}</h2>")

    def paragraph(self, text: str) -> None:
        """Add a paragraph.

        Args:
            text: plain text.
        """
        self._parts.append(f"<p>{html.escape(text)}</p>")

    def facts(self, facts: Sequence[tuple[str, str]]) -> None:
        """Add the few numbers to see first, large.

        Args:
            facts: (what it is, the number with its unit).
        """
        items = (f"<div><dt>{html.escape(n)}</dt><dd>{html.escape(v)}</dd></div>" for n, v in facts)
        self._parts.append(f'<dl class="facts">{"".join(items)}</dl>')

    def figures(self, figures: Sequence[Figure], *, least_width: int = 18) -> None:
        """Add pictures side by side; where the page is narrow they go below one another.

        Args:
            figures: the pictures.
            least_width: of a column, in letters' heights (rem).
        """
        small = {True: ' class="small"', False: ""}
        items = "".join(
            f"<figure{small[f.small]}>{_img(f)}{_caption(f.title, f.caption)}</figure>" for f in figures
        )
        self._parts.append(f'<div class="row" style="--least: {int(least_width)}rem">{items}</div>')

    def comparison(self, left: Figure, right: Figure, *, caption: str = "") -> None:
        """Add two pictures of one size on top of each other, with a bar to move between them.

        Without scripts the bar stays in the middle.

        Args:
            left: shown left of the bar; its title names it.
            right: shown right of the bar.
            caption: below them.

        Raises:
            UsageError: when the pictures differ in size.
        """
        if left.image.shape[:2] != right.image.shape[:2]:
            raise UsageError(f"pictures of {left.image.shape[:2]} and {right.image.shape[:2]} do not compare")
        names = "".join(
            f'<span class="name" style="{side}:0.6rem">{html.escape(figure.title)}</span>'
            for side, figure in (("left", left), ("right", right))
        )
        spoken = html.escape(f"how much of {left.title} is shown over {right.title}", quote=True)
        self._parts.append(
            f'<figure><div class="compare">{_img(right)}{_img(left, css="over")}{names}'
            f'<div class="bar"><div class="knob" aria-hidden="true">&#8596;</div></div>'
            f'<input type="range" min="0" max="100" value="50" aria-label="{spoken}" '
            "oninput=\"this.parentNode.style.setProperty('--at', this.value + '%')\"></div>"
            f"{_caption('', caption)}</figure>"
        )

    def video(self, path: Path, *, alt: str, title: str = "", caption: str = "") -> None:
        """Embed a short video, repeated without sound.

        Args:
            path: an .mp4 or .webm of a few megabytes at most: the page holds all of it.
            alt: what there is to see.
            title: the first words of the caption.
            caption: the rest of it.

        Raises:
            InputError: when the file cannot be read or is of another kind.
        """
        kind = _VIDEO_TYPES.get(path.suffix.lower())
        if kind is None:
            raise InputError(f"{path}: a page can show {', '.join(_VIDEO_TYPES)}")
        source = _data_uri(kind, read_bytes(path))
        self._parts.append(
            f'<figure class="row"><div><video src="{source}" aria-label="{html.escape(alt, quote=True)}" '
            f'controls autoplay loop muted playsinline onloadeddata="{_STAY_STILL}"></video>'
            f"{_caption(title, caption)}</div></figure>"
        )

    def table(
        self, columns: Sequence[str], rows: Sequence[Sequence[str | float | None]], *, caption: str = ""
    ) -> None:
        """Add a table of numbers.

        Args:
            columns: the heads; the first column holds the rows' names.
            rows: text as it is, numbers with three digits or more, None as a dash.
            caption: above it: what the numbers are, and in which unit.

        Raises:
            UsageError: when a row has another length than the heads.
        """
        if any(len(row) != len(columns) for row in rows):
            raise UsageError(f"every row of this table needs {len(columns)} cells")
        head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in columns)
        body = "".join(
            f"<tr>{''.join(_cell(value, first=index == 0) for index, value in enumerate(row))}</tr>"
            for row in rows
        )
        above = f"<caption>{html.escape(caption)}</caption>" if caption else ""
        whole = f"<table>{above}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        self._parts.append(f'<div class="scroll">{whole}</div>')

    def commands(self, lines: Sequence[str]) -> None:
        """Add lines to be typed.

        Args:
            lines: one command each; lines that begin with # are remarks.
        """
        self._parts.append(f"<pre><code>{html.escape(chr(10).join(lines))}</code></pre>")

    def footer(self, text: str) -> None:
        """Add the small print; the last thing to add.

        Args:
            text: plain text.
        """
        self._parts.append(f"<footer>{html.escape(text)}</footer>")

    def html(self) -> str:
        """Put the page together.

        Returns:
            The HTML document.
        """
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{html.escape(self._title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
            + "\n".join(self._parts)
            + "\n</main>\n</body>\n</html>\n"
        )

    def save(self, path: Path, *, overwrite: bool = True) -> None:
        """Write the page, whole or not at all.

        Args:
            path: the .html file.
            overwrite: whether an existing file may be replaced.

        Raises:
            OutputError: when it exists and may not be replaced, or cannot be written.
        """
        write_bytes(path, self.html().encode("utf-8", "replace"), overwrite=overwrite)


def _caption(title: str, caption: str) -> str:
    if not title and not caption:
        return ""
    bold = f"<b>{html.escape(title)}</b> " if title else ""
    return f"<figcaption>{bold}{html.escape(caption)}</figcaption>"


def _cell(value: str | float | None, *, first: bool) -> str:
    text = value if isinstance(value, str) else "–" if value is None else f"{value:#.3g}".rstrip(".")
    tag, scope = ("th", ' scope="row"') if first else ("td", "")
    return f"<{tag}{scope}>{html.escape(text)}</{tag}>"


def _img(figure: Figure, *, css: str = "") -> str:
    height, width = figure.image.shape[:2]
    kind, data = _encoded(figure.image, photo=figure.photo)
    style = f' class="{css}"' if css else ""
    alt = html.escape(figure.alt, quote=True)
    return f'<img src="{_data_uri(kind, data)}" alt="{alt}" width="{width}" height="{height}"{style}>'


def _encoded(image: np.ndarray, *, photo: bool) -> tuple[str, bytes]:
    picture = checked_image(image)
    stored = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    settings = [cv2.IMWRITE_JPEG_QUALITY, 92] if photo else [cv2.IMWRITE_PNG_COMPRESSION, 9]
    done, data = cv2.imencode(".jpg" if photo else ".png", stored, settings)
    if not done:
        raise InputError(f"an image of shape {image.shape} cannot be stored in a page")
    return ("image/jpeg" if photo else "image/png"), data.tobytes()


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
