"""Evaluations of a run's variants: made, finished, listed, deleted."""

from __future__ import annotations

from datetime import UTC, datetime

from app.errors import NotFound
from app.schemas.evaluation import Evaluation, EvaluationRequest, PerplexityResult
from app.store import keys
from app.store.manifest import EvaluationRecord, EvaluationResult
from app.store.parsing import parsed
from app.store.records import Records
from app.store.variants import Variants


class Evaluations:
    """The evaluations of all runs. Raises what `Store` does."""

    def __init__(self, records: Records, variants: Variants) -> None:
        self._runs, self._variants, self._files = records, variants, records.files

    def create(self, run: str, request: EvaluationRequest, corpus_fingerprint: str = "") -> str:
        """The id of the evaluation of this request; its record is written if there is none yet.

        `corpus_fingerprint`: of the text, where it is at hand; without one the corpus' name stands for its content.
        """
        for variant in request.variants:
            self._variants.record(run, variant)
        # What a variant covers is part of what is evaluated: with more layers done it is another evaluation.
        content = {
            "request": request.model_dump(mode="json"),
            "corpus": corpus_fingerprint,
            "layers": [sorted(self._variants.done(run, variant)) for variant in request.variants],
        }
        evaluation = keys.fingerprint("e", run, content)
        record = EvaluationRecord(request=request, created_at=datetime.now(UTC))
        self._files.create(
            keys.evaluation(run, evaluation, "record.json"), record.model_dump_json(indent=1).encode()
        )
        return evaluation

    def get(self, run: str, evaluation: str) -> Evaluation:
        """An evaluation, with its results once they are there. Raises NotFound."""
        self._runs.record(run)
        key = keys.evaluation(run, evaluation, "record.json")
        raw = self._files.read(key)
        if raw is None:
            raise NotFound(
                f"Run '{run}' has no evaluation '{evaluation}'.",
                hint=f"GET /api/v1/runs/{run}/evaluations lists them.",
            )
        record = parsed(EvaluationRecord, raw, key)
        made = self._files.read(keys.evaluation(run, evaluation, "result.json"))
        result = parsed(EvaluationResult, made, key).model_dump() if made is not None else {}
        return Evaluation(
            id=evaluation,
            run=run,
            request=record.request,
            created_at=record.created_at,
            finished=made is not None,
            **result,
        )

    def all(self, run: str) -> list[Evaluation]:
        """All evaluations of a run, the newest first."""
        self._runs.record(run)
        found = []
        for name in self._files.names(keys.run(run, "evaluations")):
            try:
                found.append(self.get(run, name))
            except NotFound:
                continue
        return sorted(found, key=lambda evaluation: evaluation.created_at, reverse=True)

    def finish(
        self,
        run: str,
        evaluation: str,
        results: list[PerplexityResult],
        *,
        tokens: int,
        windows: int,
        seconds: float,
    ) -> None:
        """Write the results: from here on the evaluation is finished."""
        result = EvaluationResult(results=results, tokens=tokens, windows=windows, seconds=seconds)
        self._files.write(
            keys.evaluation(run, evaluation, "result.json"), result.model_dump_json(indent=1).encode()
        )

    def delete(self, run: str, evaluation: str) -> None:
        """Remove an evaluation. Raises NotFound."""
        self.get(run, evaluation)
        self._files.delete(keys.evaluation(run, evaluation))
