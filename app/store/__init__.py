"""Runs and their artifacts, on a local folder or any fsspec URL. Data first, manifest last."""

from app.store.store import Store

__all__ = ["Store"]
