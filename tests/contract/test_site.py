"""The documentation as a site: it builds without a warning, and no link in it leads nowhere."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]


class Page(HTMLParser):
    """The links of a page of HTML and the anchors it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif name in ("href", "src") and value:
                self.links.append(value)


def broken(folder: Path) -> list[str]:
    """Return the links under `folder` that lead to no file or anchor, or have no known form."""
    pages = {
        path.resolve(): Page(path.read_text(encoding="utf-8")) for path in folder.rglob("*.html")
    }
    assert pages
    actual = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                good = parts.scheme in ("http", "https", "data", "mailto")
            else:
                target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
                good = target.exists() and (
                    not parts.fragment
                    or target not in pages
                    or unquote(parts.fragment) in pages[target].anchors
                )
            if not good:
                actual.append(f"{path.name}: {link}")
    return actual


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_every_link_leads_somewhere(tmp_path: Path) -> None:
    pytest.importorskip("furo", reason="the site needs the extra docs")
    pytest.importorskip("myst_parser", reason="the site needs the extra docs")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    done = subprocess.run(
        [*command, "-d", str(tmp_path / "doctrees"), "docs", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert broken(tmp_path / "site") == []
    assert (tmp_path / "site" / "live" / "model.safetensors").exists()


def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<a href="b.html#there"></a><a href="https://x.org"></a>')
    (tmp_path / "b.html").write_text('<p id="there"><a href="#not"></a><a href="c.html"></a>')
    assert broken(tmp_path) == ["b.html: #not", "b.html: c.html"]
