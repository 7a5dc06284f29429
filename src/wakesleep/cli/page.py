"""wakesleep page: the web page as a folder for any static host."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional


@dataclass(frozen=True)
class PageOptions:
    """Write the web page with a network as a folder that any static host can serve, under any path.

    The network runs in the browser. To look at it here: python -m http.server --directory page
    """

    run: Positional[Path | None] = None
    """A run folder or a model file; by default the model that ships with wakesleep."""
    out: Path = Path("page")
    """The folder to write: new, empty, or an earlier page."""


def run(args: PageOptions, command: str) -> int:
    """Do it; return the exit status."""
    from wakesleep.app import examples, site
    from wakesleep.app.loaded_model import LoadedModel
    from wakesleep.app.loaded_senses import open_shown

    model = open_shown(args.run)
    site.check(model)
    pictures = examples.find(model) if isinstance(model, LoadedModel) else None
    site.write(args.out, model, pictures=pictures)
    size = sum(path.stat().st_size for path in args.out.iterdir())
    print(f"{args.out}: {size / 1e6:.1f} MB; any static host can serve it, or")
    print(f"python -m http.server --directory {args.out}")
    return 0
