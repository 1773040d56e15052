"""The command line. Exit codes: 0 done, 1 failed, 2 the request was wrong, 3 a service could not be reached, 130 interrupted."""

from __future__ import annotations

import sys
from typing import Any

import typer
from pydantic import ValidationError

from app import console as show
from app.cli import instance, jobs, runs, sweeps, variants
from app.cli.base import err
from app.errors import WasserscopeError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="See which neurons of a language model are entangled. Start with: wasserscope up --explore demo",
)
for command in (
    instance.up,
    instance.worker,
    runs.explore,
    runs.neurons,
    variants.prune,
    variants.expand,
    sweeps.sweep,
    variants.evaluate,
    variants.export,
    variants.prunings,
    variants.expansions,
    jobs.jobs,
    jobs.cancel,
    jobs.retry,
    instance.doctor,
):
    app.command()(command)

_UNREACHABLE = {"api-unreachable", "queue-unavailable", "hub-unreachable", "store"}
_WRONG = {
    "invalid-request",
    "model",
    "model-not-found",
    "corpus",
    "not-found",
    "unsafe-file",
    "too-large",
    "port-taken",
    "conflict",
}


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; errors become sentences and exit codes."""
    try:
        app(arguments, standalone_mode=True)
    except WasserscopeError as error:
        show.explain(error, err)
        sys.exit(_code(error))
    except ValidationError as error:
        for item in error.errors():
            where = ".".join(str(part) for part in item["loc"])
            what = item["msg"].removeprefix("Value error, ")
            err.print(f"{where}: {what}" if where else what, style="bold red", markup=False)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _code(error: WasserscopeError) -> int:
    return 3 if error.code in _UNREACHABLE else 2 if error.code in _WRONG else 1
