"""Neurons: sorted lists of them, and everything about one."""

from __future__ import annotations

import io
from enum import StrEnum
from typing import Annotated

import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from fastapi import APIRouter, Query, Response
from pydantic import Field

from app.api.deps import (
    ExpansionQuery,
    LayerNumber,
    NeuronIndex,
    ProjectionName,
    PruningQuery,
    RunName,
    SettingsDep,
    StoreDep,
    check_limit,
)
from app.api.problems import answers
from app.schemas.distribution import NeuronDistributions
from app.schemas.neuron import NeuronDetail, NeuronQuery, NeuronRow
from app.schemas.page import Page
from app.schemas.sweep import SWEEP_PATTERN, NeuronSweep

router = APIRouter(prefix="/runs/{run}", tags=["neurons"])


class Format(StrEnum):
    """How a list is answered."""

    json = "json"
    csv = "csv"
    parquet = "parquet"


class NeuronListQuery(NeuronQuery):
    """Which neurons, and as what."""

    format: Format = Field(
        Format.json, description="`csv` and `parquet` hold all rows unless `limit` is given."
    )


_MEDIA = {Format.csv: "text/csv", Format.parquet: "application/vnd.apache.parquet"}
_FILES = {
    200: {"content": {media: {"schema": {"type": "string", "format": "binary"}} for media in _MEDIA.values()}}
}


@router.get(
    "/neurons",
    operation_id="listNeurons",
    response_model=Page[NeuronRow],
    responses={**_FILES, **answers(404, 409, 422)},  # type: ignore[dict-item]
)
def neurons(
    store: StoreDep, settings: SettingsDep, run: RunName, query: Annotated[NeuronListQuery, Query()]
) -> Page[NeuronRow] | Response:
    """Neurons of a run, filtered and sorted; by default those of highest WD first."""
    asked = NeuronQuery(**query.model_dump(exclude={"format"}))
    if query.format is Format.json:
        check_limit(query.limit, settings)
        return store.neurons(run, asked)
    if "limit" not in query.model_fields_set:
        asked = asked.model_copy(update={"limit": 2**62})
    table, sink = store.neurons_table(run, asked), io.BytesIO()
    if query.format is Format.csv:
        pa_csv.write_csv(table, sink)
    else:
        pq.write_table(table, sink, compression="zstd")
    name = f'attachment; filename="{run}-neurons.{query.format}"'
    return Response(sink.getvalue(), media_type=_MEDIA[query.format], headers={"Content-Disposition": name})


@router.get(
    "/layers/{layer}/{projection}/neurons/{index}", operation_id="getNeuron", responses=answers(404, 409, 422)
)
def neuron(
    store: StoreDep, run: RunName, layer: LayerNumber, projection: ProjectionName, index: NeuronIndex
) -> NeuronDetail:
    """One neuron: scores, distribution, tokens in their context, and what made the numbers."""
    return store.neuron(run, layer, projection, index)


@router.get(
    "/layers/{layer}/{projection}/neurons/{index}/distributions",
    operation_id="getDistributions",
    responses=answers(404, 409, 422),
)
def distributions(
    store: StoreDep,
    run: RunName,
    layer: LayerNumber,
    projection: ProjectionName,
    index: NeuronIndex,
    pruning: PruningQuery = None,
    expansion: ExpansionQuery = None,
) -> NeuronDistributions:
    """One neuron's outputs dense, Gaussian, pruned, expanded and expert by expert, all counted in the same bins, and
    the distances between them. No model is needed.
    """
    return store.distributions(run, layer, projection, index, pruning, expansion)


@router.get(
    "/layers/{layer}/{projection}/neurons/{index}/sweep",
    operation_id="getNeuronSweep",
    responses=answers(404, 409, 422),
)
def sweep(
    store: StoreDep,
    run: RunName,
    layer: LayerNumber,
    projection: ProjectionName,
    index: NeuronIndex,
    sweep: Annotated[
        str,
        Query(
            pattern=SWEEP_PATTERN,
            description="A finished sweep of the neuron's layer.",
            examples=["s-4f1c2a9be0d7"],
        ),
    ],
) -> NeuronSweep:
    """One neuron's outputs at every point of a sweep, counted in the same bins as the dense ones, with WD, error and
    relative improvement at each. No model is needed.
    """
    return store.neuron_sweep(run, layer, projection, index, sweep)
