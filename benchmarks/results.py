"""Perplexity, time and memory of pruned and expanded models: writes docs/results.md.

    make results

The demo model (SmolLM2-135M-Instruct), feed-forward layers only, the whole model in sequence: calibrated on the first
16,384 tokens of `python-docs` in windows of 512, perplexity on its last 8,192 tokens. Each variant is made in a process
of its own, which measures its time and its peak resident memory; what an interrupted run has made is kept in --store.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import torch

from app import catalog
from app.schemas.evaluation import EvaluationRequest, PerplexityResult
from app.schemas.expansion import Clusters, ExpansionSettings
from app.schemas.pruning import Method, PruningSettings
from app.schemas.run import RunModel, RunRequest
from app.settings import Settings
from app.store import Store
from worker import device as devices
from worker import guard
from worker.jobs.evaluate import evaluate_run
from worker.jobs.explore import explore_run
from worker.jobs.variant_jobs import change_run
from worker.numerics.controls import equal_nonzeros_sparsity
from worker.progress import LocalProgress

ROOT = Path(__file__).parents[1]
REQUEST = RunRequest(model="demo", corpus="python-docs", tokens=16_384, window=512)
EXPERTS = 16
AMOUNTS: dict[str, dict[str, object]] = {
    "50 %": {"sparsity": 0.5},
    "70 %": {"sparsity": 0.7},
    "2:4": {"pattern": "2:4"},
}
LAYERS = ((15, "up_proj"), (29, "gate_proj"), (15, "down_proj"))
"""Single layers shown at 90 %."""

OFFICIAL = {
    ("50 %", "magnitude"): "104.2",
    ("50 %", "Wanda"): "14.89",
    ("50 %", "SparseGPT"): "12.55 (92 s)",
    ("50 %", "16 experts"): "11.85 (603 s)",
    ("2:4", "magnitude"): "339.2",
    ("2:4", "Wanda"): "32.15",
    ("2:4", "SparseGPT"): "16.07 (119 s)",
    ("2:4", "16 experts"): "14.12 (537 s)",
    ("70 %", "SparseGPT"): "33.90 (95 s)",
    ("70 %", "16 experts"): "24.57 (564 s)",
}
"""Measured with the official pruner's class on two cores."""
NEARBY_DAMPINGS = (0.0099, 0.00995, 0.01005, 0.0101)
"""As good as the 0.01 of the table: what they differ by is how rounding falls, in thirty blocks one after the other."""
NEARBY = "70 %"


def plan() -> dict[tuple[str, str], PruningSettings | ExpansionSettings]:
    """Settings of every row, by amount and name."""
    rows: dict[tuple[str, str], PruningSettings | ExpansionSettings] = {}
    for amount, values in AMOUNTS.items():
        common = {**values, "propagate": True, "compare": False}
        target = PruningSettings.model_validate(common).target
        for method, name in (
            (Method.magnitude, "magnitude"),
            (Method.wanda, "Wanda"),
            (Method.sparsegpt, "SparseGPT"),
        ):
            rows[amount, name] = PruningSettings.model_validate({**common, "method": method})
        rows[amount, "random clusters"] = ExpansionSettings.model_validate(
            {**common, "experts": EXPERTS, "clusters": Clusters.random}
        )
        rows[amount, "equal non-zeros"] = PruningSettings(
            sparsity=equal_nonzeros_sparsity(target, EXPERTS), propagate=True, compare=False
        )
        rows[amount, "16 experts"] = ExpansionSettings.model_validate({**common, "experts": EXPERTS})
    return rows


def nearby() -> dict[tuple[str, str], PruningSettings | ExpansionSettings]:
    """SparseGPT at NEARBY with dampings that differ by a percent at most: how far a perplexity is chance."""
    common = {**AMOUNTS[NEARBY], "propagate": True, "compare": False}
    return {
        (NEARBY, f"SparseGPT, damping {damping:g}"): PruningSettings.model_validate(
            {**common, "damping": damping}
        )
        for damping in NEARBY_DAMPINGS
    }


def main() -> int:
    """Make what is missing, evaluate all of it, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", default=str(ROOT / ".results"), help="Folder that keeps what was made.")
    parser.add_argument("--out", default=str(ROOT / "docs" / "results.md"))
    parser.add_argument(
        "--only", nargs="+", default=[""], help="Rows whose amount and name contain one of these."
    )
    parser.add_argument("--one", nargs=2, metavar=("RUN", "VARIANT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = Settings(store=options.store)
    store, device = Store(settings.store), devices.prepare(settings)
    if options.one:
        return _make(*options.one, settings, store, device)
    run = _run(settings, store, device)
    rows = {
        key: value
        for key, value in {**plan(), **nearby()}.items()
        if any(part in " ".join(key) for part in options.only)
    }
    made = {key: _measured(run, value, settings, store) for key, value in rows.items()}
    request = EvaluationRequest(variants=list(dict.fromkeys(variant for variant, _ in made.values())))
    evaluation = store.evaluations.create(run, request)
    evaluate_run(run, evaluation, settings, store, device, LocalProgress())
    found = {result.variant: result for result in store.evaluations.get(run, evaluation).results}
    single = {(layer, name): _single(run, layer, name, settings, store, device) for layer, name in LAYERS}
    Path(options.out).write_text(_page(found, made, single, store, run))
    print(f"written: {options.out}")
    return 0


def _run(settings: Settings, store: Store, device: torch.device) -> str:
    """The run that everything starts from."""
    found = catalog.inspect_model(catalog.resolve(REQUEST.model, settings))
    title, text = catalog.corpus_text(REQUEST.corpus, settings, store.read_text)
    model = RunModel(**found.model_dump(include=set(RunModel.model_fields)))
    run = store.create_run(REQUEST, model, title, catalog.corpus_fingerprint(text))
    explore_run(run, settings, store, device, LocalProgress())
    return run


def _measured(
    run: str, settings: PruningSettings | ExpansionSettings, environment: Settings, store: Store
) -> tuple[str, dict[str, float]]:
    """The variant, made in a process of its own unless it is there, and that process's time and memory."""
    variant = store.variants.create(run, settings)
    kept = Path(environment.store) / "measures" / f"{variant}.json"
    if not kept.exists():
        print(f"--- {settings.title}", flush=True)
        command = [
            sys.executable,
            "-m",
            "benchmarks.results",
            "--store",
            environment.store,
            "--one",
            run,
            variant,
        ]
        subprocess.run(command, check=True, cwd=ROOT)
        store.variants.forget(run)
    return variant, json.loads(kept.read_text())


def _make(run: str, variant: str, settings: Settings, store: Store, device: torch.device) -> int:
    started, cpu = time.monotonic(), time.process_time()
    for result in store.variants.results(run, variant):  # from the start: its time is to be measured
        store.variants.drop_layer(run, variant, result.layer, result.projection)
    change_run(run, variant, None, settings, store, device, LocalProgress())
    measure = {
        "seconds": time.monotonic() - started,
        "cpu_seconds": time.process_time() - cpu,
        "peak_bytes": guard.peak_bytes(),
    }
    kept = Path(settings.store) / "measures" / f"{variant}.json"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(json.dumps(measure))
    return 0


def _single(
    run: str, layer: int, name: str, settings: Settings, store: Store, device: torch.device
) -> tuple[float, float]:
    """Relative output error of one layer at 90 %: SparseGPT and 16 experts, the rest of the model dense."""
    errors = []
    for chosen in (PruningSettings(sparsity=0.9), ExpansionSettings(sparsity=0.9, experts=EXPERTS)):
        variant = store.variants.create(run, chosen)
        change_run(run, variant, {layer: [name]}, settings, store, device, LocalProgress())
        manifest = store.variants.layer(run, variant, layer, name)
        errors.append(manifest.result.relative_error if manifest and manifest.result.relative_error else 0.0)
    return errors[0], errors[1]


def _page(
    found: dict[str | None, PerplexityResult],
    made: dict[tuple[str, str], tuple[str, dict[str, float]]],
    single: dict[tuple[int, str], tuple[float, float]],
    store: Store,
    run: str,
) -> str:
    lines = [
        "# Results",
        "",
        f"Written by `make results` on {datetime.now(UTC):%Y-%m-%d}: {platform.machine()}, {os.cpu_count()} cores, "
        f"torch {torch.__version__}.",
        "",
        (__doc__ or "").split("\n\n")[2].replace("\n", " "),
        "Perplexity with its 95 % bootstrap interval over the 16 windows. The last column is what the pruner's class of "
        "the paper's own code gave on two cores, for comparison.",
        "",
        "| | | perplexity | interval | zeros | non-zeros / dense | time | peak memory | official |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
        _row("", "dense", found[None], None, 1.0, ""),
    ]
    for (amount, name), (variant, measure) in made.items():
        if (amount, name) in nearby():
            continue
        results = store.variants.results(run, variant)
        weights = sum(r.weights * max(1, len(r.clusters)) - r.zeros for r in results)
        share = weights / sum(r.weights for r in results)
        lines.append(_row(amount, name, found[variant], measure, share, OFFICIAL.get((amount, name), "")))
    left_out = [" ".join(key) for key in plan() if key not in made]
    if left_out:
        lines += ["", f"Rows that were not asked for this time: {', '.join(left_out)}."]
    lines += [
        "",
        "*Random clusters* is the control that tells clustering from having more weights: 16 experts on clusters of the "
        "same sizes filled at random. *Equal non-zeros* is one layer with as many non-zeros as the 16 experts together: "
        "at these sparsities they have more than the dense layer has weights, so it is the dense layer.",
        *_spread(found, made),
        "",
        "## One layer at 90 %",
        "",
        "Squared output error over the outputs' variance on the calibration tokens, the rest of the model dense.",
        "",
        "| layer | SparseGPT | 16 experts |",
        "|---|---:|---:|",
    ]
    lines += [f"| block {layer} {name} | {a:.3f} | {b:.3f} |" for (layer, name), (a, b) in single.items()]
    return "\n".join(lines) + "\n"


def _spread(
    found: dict[str | None, PerplexityResult], made: dict[tuple[str, str], tuple[str, dict[str, float]]]
) -> list[str]:
    """How far the perplexity of one row is chance."""
    keys = [(NEARBY, "SparseGPT"), *nearby()]
    values = [found[made[key][0]].perplexity for key in keys if key in made]
    if len(values) < len(keys):
        return []
    mean = statistics.mean(values)
    return [
        "",
        f"## How far a perplexity is chance: SparseGPT at {NEARBY}",
        "",
        "Which of two nearly equal weights goes is decided by rounding, and thirty blocks carry that on. With dampings "
        f"of {', '.join(f'{d:g}' for d in sorted((0.01, *NEARBY_DAMPINGS)))} (nothing else differs) perplexity is "
        f"{', '.join(f'{value:.2f}' for value in sorted(values))}: mean {mean:.2f}, standard deviation "
        f"{statistics.stdev(values):.2f}. The official pruner's {OFFICIAL[NEARBY, 'SparseGPT'].split()[0]} is one such "
        "draw too: differences below that spread say nothing.",
    ]


def _row(
    amount: str,
    name: str,
    result: PerplexityResult,
    measure: dict[str, float] | None,
    share: float,
    official: str,
) -> str:
    cost = (
        f"{measure['seconds']:.0f} s | {measure['peak_bytes'] / 2**30:.2f} GiB"
        if measure is not None
        else " | "
    )
    interval = f"{result.low:.2f} to {result.high:.2f}"
    return (
        f"| {amount} | {name} | {result.perplexity:.2f} | {interval} | {100 * result.ffn_sparsity:.1f} % | "
        f"{share:.2f} | {cost} | {official} |"
    )


if __name__ == "__main__":
    sys.exit(main())
