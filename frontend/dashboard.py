"""The dashboard: a Dash app on a FastAPI server, fed by the client alone. Callbacks are thin; the pages do the work."""

from __future__ import annotations

from pathlib import Path

import dash_mantine_components as dmc
from dash import Dash
from fastapi import FastAPI

from app.client import AsyncClient
from frontend.callbacks import forms, jobs, navigation
from frontend.components.shell import shell

ASSETS = Path(__file__).with_name("assets")


def create_dashboard(server: FastAPI, client: AsyncClient) -> Dash:
    """Build the dashboard on `server`; whatever is mounted there before keeps its paths."""
    dmc.pre_render_color_scheme()
    app = Dash(
        "wasserscope",
        server=server,
        assets_folder=str(ASSETS),
        title="Wasserscope",
        update_title=None,
        suppress_callback_exceptions=True,
        serve_locally=True,
    )
    app.layout = shell()
    navigation.register(app, client)
    jobs.register(app, client)
    forms.register(app, client)
    return app
