"""`wasserscope up`: all processes of one instance on one machine, started, watched and ended together."""

from app.supervisor.instance import Instance

__all__ = ["Instance"]
