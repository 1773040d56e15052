"""What a job makes, in words and as an address."""

from __future__ import annotations

from app.schemas.job import Job
from frontend import paths


def made_by(job: Job) -> tuple[str, str]:
    """Words and address of what a job makes: its run, a layer with the pruning chosen, an evaluation, an export."""
    whole = job.layer is None or job.projection is None
    page = (
        paths.run_path(job.run) if whole else paths.layer_path(job.run, job.layer or 0, job.projection or "")
    )
    if job.subject is None:
        return "Its map" if whole else "Its layer", page
    if job.kind == "evaluate":
        return "Its evaluation", paths.evaluation_path(job.run, job.subject)
    if job.kind == "sweep":
        neuron = paths.sweep_path(job.run, job.layer or 0, job.projection or "", 0)
        return "Its sweep", paths.with_query(page if whole else neuron, {"sweep": job.subject})
    name = "expansion" if job.subject.startswith("x-") else "pruning"
    if job.kind == "export":
        return "Its export", paths.with_query(paths.variants_path(job.run), {name: job.subject})
    return f"Its {name}", paths.with_query(page, {name: job.subject})
