"""Write docs/settings.md from `app.settings`; `--check` only compares."""

from __future__ import annotations

import sys
from pathlib import Path

from app.settings import Settings

TARGET = Path(__file__).parent.parent / "docs" / "settings.md"
HEAD = """# Settings

Read from the environment when a process starts. Options of `wasserscope up` win over the environment.
`REDIS_URL` is read too, when `WASSERSCOPE_REDIS_URL` is not set. Two instances on one machine need another port and another
store each, nothing more. Written by `scripts/settings.py`.

| variable | default | meaning |
|---|---|---|
"""


def table() -> str:
    """The page, one row a setting."""
    home = str(Path.home())
    rows = []
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else f"`{str(field.default).replace(home, '~')}`"
        rows.append(f"| `WASSERSCOPE_{name.upper()}` | {default} | {field.description} |")
    return HEAD + "\n".join(rows) + "\n"


def main() -> int:
    """Write or compare; 1 when the page is out of date."""
    if "--check" in sys.argv:
        current = TARGET.read_text(encoding="utf-8") if TARGET.exists() else ""
        if current == table():
            return 0
        sys.stderr.write("docs/settings.md is out of date: run python scripts/settings.py\n")
        return 1
    TARGET.write_text(table(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
