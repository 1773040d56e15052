"""Write what the docs take from the code: docs/openapi.json and docs/settings.md. `--check` only compares."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from app.main import create_api
from app.settings import Settings

DOCS = Path(__file__).parent.parent / "docs"
SETTINGS_HEAD = """# Settings

Read from the environment when a process starts. Options of `wasserscope up` win over the environment.
`REDIS_URL` is read too, when `WASSERSCOPE_REDIS_URL` is not set. Two instances on one machine need another port and another
store each, nothing more. Written by `make reference`.

| variable | default | meaning |
|---|---|---|
"""


def openapi() -> str:
    """The OpenAPI document of the API below /api."""
    with tempfile.TemporaryDirectory() as folder:
        made = create_api(Settings(store=folder, redis_url=None)).openapi()
    return json.dumps(made | {"servers": [{"url": "/api"}]}, indent=1, sort_keys=True) + "\n"


def settings() -> str:
    """The table of settings, one row each."""
    home = str(Path.home())
    rows = []
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else f"`{str(field.default).replace(home, '~')}`"
        rows.append(f"| `WASSERSCOPE_{name.upper()}` | {default} | {field.description} |")
    return SETTINGS_HEAD + "\n".join(rows) + "\n"


PAGES = {"openapi.json": openapi, "settings.md": settings}


def main() -> int:
    """Write or compare; 1 when a page is out of date."""
    stale = []
    for name, make in PAGES.items():
        path, text = DOCS / name, make()
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
    if stale:
        sys.stderr.write(f"Out of date: {', '.join(stale)}. Run make reference.\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
