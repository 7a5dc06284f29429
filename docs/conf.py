"""Settings of the documentation as a site: `make site` builds it and the page."""

import re
from pathlib import Path

from sphinx.application import Sphinx

import wakesleep
from wakesleep.app import examples, site
from wakesleep.app.loaded_model import open_model

project = "wakesleep"
release = wakesleep.__version__
extensions = ["myst_parser"]
html_theme = "furo"
html_title = f"wakesleep {release}"
html_copy_source = False
html_favicon = "../src/wakesleep/app/static/icon.svg"
myst_heading_anchors = 4  # so that a link to a heading is checked


LIVE = """
<p><a href="live/index.html">Open it in a window of its own</a></p>
<iframe src="live/index.html#draw" title="The page, live" loading="lazy"
 style="width: 100%; height: 860px; border: 1px solid #8884; border-radius: 12px"></iframe>
"""


def live_page(app: Sphinx, page: str, source: list[str]) -> None:
    """Show the page itself where its description says so."""
    source[0] = source[0].replace("<!-- live page -->", LIVE)


def write_live_page(app: Sphinx, error: Exception | None) -> None:
    """Write the page, with the model that ships, into the site."""
    if error is None:
        model = open_model()
        site.write(Path(app.outdir) / "live", model, pictures=examples.find(model))


def files_of_the_repository(app: Sphinx, page: str, source: list[str]) -> None:
    """Have links to Markdown outside docs/ lead to a copy of the file, which is no page here."""
    source[0] = re.sub(r"\]\(((?:\.\./)+(?!docs/)[^):#]+\.md)\)", r"](path:\1)", source[0])


def setup(app: Sphinx) -> None:
    """Sphinx calls this once the settings above are read."""
    app.connect("source-read", files_of_the_repository)
    app.connect("source-read", live_page)
    app.connect("build-finished", write_live_page)
