"""Where the policies that ship are: beside the code in a checkout, inside the package once it is installed."""

from __future__ import annotations

from pathlib import Path

from .errors import BadInput

_PACKAGE = Path(__file__).resolve().parent
FOLDERS = (_PACKAGE.parents[1] / "policies", _PACKAGE / "policies")


def shipped_policy(name: str) -> Path:
    """The file of the policy ``name``; BadInput naming those that ship where there is none."""
    found = {path.stem: path for folder in reversed(FOLDERS) for path in folder.glob("*.onnx")}
    if name not in found:
        raise BadInput(f"no policy {name!r} ships with this version (known: {', '.join(sorted(found)) or 'none'})")
    return found[name]
