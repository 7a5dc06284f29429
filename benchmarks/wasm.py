"""Assemble the page's products in WebAssembly from their source: static/products.wat.

    python -m benchmarks.wasm

Needs wasmtime, which the extra `dev` brings. The page has the assembled file; nobody who uses or
serves it needs this.
"""

from __future__ import annotations

from wakesleep.app.site import STATIC


def assemble() -> bytes:
    """Return the module that products.wat describes."""
    import wasmtime

    return bytes(wasmtime.wat2wasm((STATIC / "products.wat").read_text(encoding="utf-8")))


if __name__ == "__main__":
    (STATIC / "products.wasm").write_bytes(assemble())
