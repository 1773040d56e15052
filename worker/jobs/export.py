"""The export job: a pruning as a model folder that transformers opens, an expansion as one that `load_expanded` opens."""

from __future__ import annotations

from pathlib import Path

import torch

from app.errors import Conflict
from app.schemas.model import Projection
from app.schemas.pruning import PruningSettings
from app.settings import Settings
from app.store import Store
from worker import device as devices
from worker.jobs import session as sessions
from worker.jobs import weights_file
from worker.jobs.live import live_progress
from worker.jobs.session import load_model
from worker.models import Change, export_expanded, export_pruned
from worker.progress import Progress

CPU = torch.device("cpu")


def export(run: str, variant: str) -> None:
    """The queued job."""
    settings = Settings()
    store = Store(settings.store)
    device = devices.prepare(settings)
    with live_progress(settings, store.id, str(device)) as progress:
        export_run(run, variant, settings, store, progress)


def export_run(run: str, variant: str, settings: Settings, store: Store, progress: Progress) -> Path:
    """Write the variant's model into the store's folder and return it; an older export is replaced.

    Raises Conflict for a variant without layers or a store that is no local folder, StoreFull, ModelError.
    """
    progress.check()
    record, folder = store.record(run), Path(store.variants.export_path(run, variant))
    if not store.variants.results(run, variant):
        raise Conflict(f"'{variant}' has no layer yet.", hint="Submit it and wait for its job first.")
    with sessions.guarded(record, settings, CPU):
        progress.phase(f"loading {record.model.title}")
        model = load_model(record, settings, CPU)
        changes = _Blocks(run, variant, store)

        def tell(share: float) -> None:
            progress.advance(share)
            progress.check()

        progress.phase("writing the model")
        store.variants.drop_export(run, variant)
        write = export_pruned if isinstance(changes.settings, PruningSettings) else export_expanded
        write(model.checkpoint, changes.of, folder, card(run, variant, store), tell)  # type: ignore[arg-type]
    progress.log(f"exported to {folder}")
    return folder


class _Blocks:
    """Changes by layer, one block in memory at a time."""

    def __init__(self, run: str, variant: str, store: Store) -> None:
        self._run, self._variant, self._store = run, variant, store
        self.settings = store.variants.record(run, variant).settings
        self._layer = -1
        self._changes: dict[str, Change] = {}

    def of(self, layer: int, projection: Projection) -> Change | None:
        """What takes a projection's place; None where it stays dense."""
        if layer != self._layer:
            self._changes = weights_file.changes(self._store, self._run, self._variant, layer, CPU)
            self._layer = layer
        return self._changes.get(projection.name)


def card(run: str, variant: str, store: Store) -> str:
    """The model card: what was done, on what, with which result."""
    record, facts = store.record(run), store.facts(run)
    settings = store.variants.record(run, variant).settings
    results = store.variants.results(run, variant)
    pruned = isinstance(settings, PruningSettings)
    use = (
        'AutoModelForCausalLM.from_pretrained("this folder")'
        if pruned
        else 'from worker.models import load_expanded\n\nmodel = load_expanded("this folder")'
    )
    whole = record.model.blocks * len(record.model.projections)
    versions = ", ".join(f"{name} {number}" for name, number in (facts.versions if facts else {}).items())
    lines = [
        f"# {record.model.title}, {settings.title}",
        "",
        f"Made by Wasserscope from `{record.model.source}` (fingerprint `{record.model.fingerprint}`).",
        "",
        "```python",
        use,
        "```",
        "",
        f"- {len(results)} of {whole} feed-forward layers are {'pruned' if pruned else 'expanded'}; attention and "
        "embeddings are dense.",
        f"- Calibrated on the first {record.request.tokens:,} tokens of {record.corpus_title or record.request.corpus}, "
        f"windows of {record.request.window}.",
        f"- Settings: `{settings.model_dump_json()}`",
        f"- Run `{run}`, `{variant}`; {versions}.",
        "",
        "| block | layer | zeros | relative output error |",
        "|---:|---|---:|---:|",
    ]
    lines += [
        f"| {r.layer} | {r.projection} | {100 * r.sparsity:.2f} % | "
        f"{'' if r.relative_error is None else f'{r.relative_error:.3f}'} |"
        for r in results
    ]
    return "\n".join(lines) + "\n"
