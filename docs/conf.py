"""Settings of the documentation as a site: `make site` builds it into site/."""

import re

from sphinx.application import Sphinx

import wakesleep

project = "wakesleep"
release = wakesleep.__version__
extensions = ["myst_parser"]
html_theme = "furo"
html_title = f"wakesleep {release}"
html_copy_source = False
myst_heading_anchors = 4  # so that a link to a heading is checked


def files_of_the_repository(app: Sphinx, page: str, source: list[str]) -> None:
    """Have links to Markdown outside docs/ lead to a copy of the file, which is no page here."""
    source[0] = re.sub(r"\]\(((?:\.\./)+(?!docs/)[^):#]+\.md)\)", r"](path:\1)", source[0])


def setup(app: Sphinx) -> None:
    """Sphinx calls this once the settings above are read."""
    app.connect("source-read", files_of_the_repository)
