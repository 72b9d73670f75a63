"""The templates of pages, and how files are embedded in them."""

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks.core.text import plain, shorten, visible

TEMPLATES = Path(__file__).with_name("templates")
LONGEST = 60
"""Characters of a contender's name that are shown."""


@dataclass(frozen=True)
class EmbeddedImage:
    """An image as a data URL, its size in pixels, and its texts on the page."""

    source: str
    width: int
    height: int
    alt: str = ""
    heading: str = ""
    caption: str = ""


def render_page(template: str, script: str = "page.js", **context: Any) -> bytes:
    """Render a page from its template: HTML in UTF-8, with style and script embedded.

    All text is escaped, and signs that cannot be seen are replaced. Style and script are the only
    ones that the page's Content-Security-Policy allows, by their hashes.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value, "\n") if type(value) is str else value,
    )
    environment.filters.update(plain=plain, name=show_name)
    sources = {"style": (TEMPLATES / "page.css").read_text("utf-8")}
    sources["script"] = (TEMPLATES / script).read_text("utf-8") if script else ""
    digests = {name: hashlib.sha256(text.encode()).digest() for name, text in sources.items()}
    hashes = {name: f"sha256-{base64.b64encode(d).decode()}" for name, d in digests.items()}
    return environment.get_template(template).render(sources, hashes=hashes, **context).encode()


def embed_data(content: bytes, kind: str) -> str:
    """Return a file of a kind such as `image/png` as a data URL."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def show_name(name: str) -> str:
    """Return a contender's name as it is shown, in one line and not too long."""
    return shorten(plain(name), LONGEST)
