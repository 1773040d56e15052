"""Callbacks: each a few lines over the client and the pure functions of the other rooms."""
