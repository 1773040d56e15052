"""Write docs/openapi.json from the API; `--check` only compares."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from app.main import create_api
from app.settings import Settings

TARGET = Path(__file__).parent.parent / "docs" / "openapi.json"


def document() -> str:
    """The OpenAPI document of the API below /api."""
    with tempfile.TemporaryDirectory() as folder:
        made = create_api(Settings(store=folder, redis_url=None)).openapi()
    return json.dumps(made | {"servers": [{"url": "/api"}]}, indent=1, sort_keys=True) + "\n"


def main() -> int:
    """Write or compare; 1 when the document is out of date."""
    if "--check" in sys.argv:
        if TARGET.exists() and TARGET.read_text(encoding="utf-8") == document():
            return 0
        sys.stderr.write("docs/openapi.json is out of date: run make openapi\n")
        return 1
    TARGET.write_text(document(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
