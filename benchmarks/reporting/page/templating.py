"""The templates of pages, and how what they embed is written down."""

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks.core.text import visible

TEMPLATES = Path(__file__).with_name("templates")


def make_environment() -> Environment:
    """Make the templates' environment: it escapes all text, and shows what cannot be seen."""
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value, "\n") if type(value) is str else value,
    )


def hash_source(text: str) -> str:
    """Give what a Content-Security-Policy calls a script or a style by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def embed_data(content: bytes, kind: str) -> str:
    """Write a file of a kind such as `image/png` as a data URL."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
