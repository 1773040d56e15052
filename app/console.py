"""What the command line shows: a job as it goes, neurons as a table, errors as sentences."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from app.client import Client
from app.doctor import Findings
from app.errors import QueueUnavailable, WasserscopeError
from app.schemas.job import Job, JobState
from app.schemas.neuron import NeuronRow
from app.schemas.run import Run

MOST_WIDTH = 400
"""Characters that a table may need, with the longest names of runs."""


def follow(client: Client, job: Job, console: Console, pause: Callable[[], None] | None = None) -> Job:
    """Show the job until it ends and return it. `pause` is called between looks, instead of sleeping."""
    if not console.is_terminal:
        return _follow_plain(client, job, console, pause)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=40),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[pace]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(_phase(job), total=1.0, pace="")
        for found in _looks(client, job, pause):
            bar.update(task, completed=found.progress.fraction, description=_phase(found), pace=_pace(found))
            job = found
    return job


def _follow_plain(client: Client, job: Job, console: Console, pause: Callable[[], None] | None) -> Job:
    said = ""
    for found in _looks(client, job, pause):
        job, phase = found, _phase(found)
        if phase != said:
            said = phase
            console.print(
                f"[{found.progress.fraction:4.0%}] {phase} {_pace(found)}".rstrip(),
                markup=False,
                highlight=False,
            )
    return job


def _looks(client: Client, job: Job, pause: Callable[[], None] | None) -> Iterable[Job]:
    if pause is None:
        yield from client.events(job.id)
        return
    while True:
        with contextlib.suppress(QueueUnavailable):  # Redis is being restarted; the job goes on
            job = client.job(job.id)
        yield job
        if job.state.final:
            return
        pause()


def _phase(job: Job) -> str:
    if job.state is JobState.queued:
        return f"queued at place {job.place}" if job.place else "queued"
    return job.progress.phase if job.state is JobState.running else job.state.value


def _pace(job: Job) -> str:
    parts = []
    if job.progress.tokens_per_second:
        parts.append(f"{job.progress.tokens_per_second:,.0f} tokens/s")
    if job.progress.eta_seconds:
        parts.append(f"{job.progress.eta_seconds:.0f} s left")
    return ", ".join(parts)


def print_neurons(console: Console, rows: Sequence[NeuronRow], run: Run, url: str) -> None:
    """Neurons with their scores and links. A link stays in one piece: it is below the table where lines are too short."""
    links = [f"{url}/runs/{run.id}/layers/{r.layer}/{r.projection}/neurons/{r.index}" for r in rows]
    floor = f"{run.gaussian_floor:.4f}" if run.gaussian_floor is not None else "not known yet"
    console.print(
        f"\nMost entangled neurons: {run.model.title}, {run.corpus_title}, {run.tokens:,} tokens, Gaussian floor {floor}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    wide = _table(rows, links)
    if not print_table(console, wide):
        console.print(_table(rows, None))
        for row, link in zip(rows, links, strict=True):
            console.print(f"{row.rank_model:>6}  {link}", markup=False, highlight=False, soft_wrap=True)


def print_table(console: Console, table: Table) -> bool:
    """Print a table if it fits, which it always does where lines may be as long as need be: a file or a pipe."""
    needed = Measurement.get(console, console.options.update(max_width=MOST_WIDTH), table).maximum
    if needed <= console.width:
        console.print(table)
    elif not console.is_terminal:
        Console(file=console.file, width=needed).print(table)
    else:
        return False
    return True


def _table(rows: Sequence[NeuronRow], links: Sequence[str] | None) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("rank", "block", "projection", "neuron", "WD", "MD"):
        table.add_column(name, justify="left" if name == "projection" else "right", no_wrap=True)
    if links is not None:
        table.add_column("link", no_wrap=True)
    for place, row in enumerate(rows):
        cells = [
            str(row.rank_model),
            str(row.layer),
            row.projection,
            str(row.index),
            digits(row.wd),
            digits(row.md),
        ]
        table.add_row(*cells, *([links[place]] if links is not None else []))
    return table


def print_findings(findings: Findings, console: Console) -> None:
    """What `wasserscope doctor` found, and the settings in effect."""
    for item in findings.items:
        mark = "ok  " if item.ok else "FAIL" if item.needed else "-   "
        console.print(f"{mark} {item.name}: {item.detail}", markup=False, highlight=False, soft_wrap=True)
        if item.hint:
            console.print(f"     {item.hint}", markup=False, highlight=False, soft_wrap=True)
    console.print("\nSettings", highlight=False)
    for name, value in findings.settings.items():
        shown = f"WASSERSCOPE_{name.upper()}={value}"
        console.print(shown, markup=False, highlight=False, soft_wrap=True)


def explain(error: WasserscopeError, console: Console) -> None:
    """An error as a sentence, and what to do."""
    console.print(
        f"{error.title}: {error.detail}", style="bold red", markup=False, highlight=False, soft_wrap=True
    )
    for one in error.errors:
        if one.message != error.detail:
            console.print(f"{one.field}: {one.message}", markup=False, highlight=False, soft_wrap=True)
    if error.hint:
        console.print(error.hint, markup=False, highlight=False, soft_wrap=True)


def as_json(value: Any, console: Console) -> None:
    """A record as JSON."""
    console.print_json(value.model_dump_json())


def digits(value: float | None) -> str:
    """Three significant digits; `-` for what there is not."""
    return "-" if value is None else f"{value:.3g}"
