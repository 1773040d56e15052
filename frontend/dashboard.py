"""The dashboard: a Dash app on a FastAPI server, fed by the client alone. Callbacks are thin; the pages do the work."""

from __future__ import annotations

import logging
from pathlib import Path

import dash_mantine_components as dmc
from dash import Dash, set_props
from fastapi import FastAPI

from app.client import AsyncClient
from frontend import ids, theme
from frontend.callbacks import (
    evaluations,
    forms,
    jobs,
    layer,
    navigation,
    outputs,
    share,
    sweep,
    table,
    variants,
)
from frontend.components.common import error_panel
from frontend.components.shell import shell

log = logging.getLogger(__name__)
ASSETS = Path(__file__).with_name("assets")


class _Page(Dash):  # type: ignore[misc]
    """Dash whose document names its language, takes the width of its screen, and has the theme's colours."""

    def interpolate_index(self, **parts: str) -> str:
        parts["metas"] += '<meta name="viewport" content="width=device-width, initial-scale=1">'
        parts["css"] = f"<style>{theme.stylesheet()}</style>{parts['css']}"
        return str(super().interpolate_index(**parts)).replace("<html", '<html lang="en"', 1)


def create_dashboard(server: FastAPI, client: AsyncClient) -> Dash:
    """Build the dashboard on `server`; whatever is mounted there before keeps its paths."""
    dmc.pre_render_color_scheme()
    app = _Page(
        "wasserscope",
        server=server,
        assets_folder=str(ASSETS),
        title="Wasserscope",
        update_title=None,
        suppress_callback_exceptions=True,
        serve_locally=True,
        on_error=_unforeseen,
    )
    app.layout = shell()
    navigation.register(app, client)
    jobs.register(app, client)
    forms.register(app, client)
    variants.register(app, client)
    outputs.register(app, client)
    sweep.register(app, client)
    table.register(app, client)
    share.register(app, client)
    layer.register(app, client)
    evaluations.register(app, client)
    # Dash reads its assets at the first request of "/" alone: whoever came by a link to any other page before that
    # would get it without style and scripts.
    app._setup_server()
    return app


def _unforeseen(error: Exception) -> None:
    """A mistake of the dashboard itself: in the log for whoever runs it, and on the screen instead of nothing."""
    log.error("a callback failed", exc_info=error)
    title, detail = "The dashboard met an error of its own", f"{type(error).__name__}: {error}"
    hint = "The server's log has more. Load the page again, or go on elsewhere."
    set_props(ids.UNFORESEEN, {"children": error_panel(title, detail, hint)})
