"""A finished run opened for more work: its model, its windows, its blocks' stored inputs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from app import catalog
from app.errors import Conflict, CorruptStore, ModelError, NotFound, NumericsError
from app.settings import Settings
from app.store import Store
from app.store.manifest import RunRecord
from worker import guard
from worker.jobs import memory
from worker.jobs.stream import Stream
from worker.jobs.tensors import split_file
from worker.models import BlockModel, open_model
from worker.numerics.bins import SharedBins, shared_bins
from worker.numerics.errors import NumericsFailure
from worker.progress import Progress


def load_model(record: RunRecord, settings: Settings, device: torch.device) -> BlockModel:
    """The run's model, once it is sure to be the one the run was made for. Raises ModelError."""
    checkpoint = catalog.resolve(record.request.model, settings, download=True)
    if checkpoint.fingerprint != record.model.fingerprint:
        raise ModelError(
            f"The files of '{record.request.model}' are not those the run was made for: their fingerprint is "
            f"{checkpoint.fingerprint}, not {record.model.fingerprint}.",
            hint="Submit the run's request again: it becomes a run of its own.",
        )
    return open_model(checkpoint, device, settings)


@contextlib.contextmanager
def guarded(record: RunRecord, settings: Settings, device: torch.device) -> Iterator[None]:
    """Within: no gradients, the memory limit, and memory that runs out said in words."""
    limit = settings.memory_limit_mebibytes if device.type == "cpu" else 0
    with (
        memory.translated(record.request, settings, device, lambda: None),
        guard.memory_limit(limit),
        torch.no_grad(),
    ):
        yield


@contextlib.contextmanager
def numerics(where: str) -> Iterator[None]:
    """Failures of numerics as NumericsError, beginning with `where`."""
    try:
        yield
    except NumericsFailure as failure:
        raise NumericsError(
            f"{where}: {failure.detail}", hint=failure.hint or "Check the model's weights."
        ) from failure


@dataclass
class Session:
    """A finished run, its model on a device, and how the job tells how far it is."""

    run: str
    record: RunRecord
    settings: Settings
    store: Store
    device: torch.device
    progress: Progress
    model: BlockModel
    start: Stream
    """The first block's input."""

    @classmethod
    def open(
        cls, run: str, settings: Settings, store: Store, device: torch.device, progress: Progress
    ) -> Session:
        """Load the model and embed the run's tokens. Raises Conflict for a run that is not finished."""
        record = store.record(run)
        if store.manifest(run) is None:
            raise Conflict(f"Run '{run}' is not finished.", hint="Submit it again and wait for its job.")
        progress.phase(f"loading {record.model.title}")
        model = load_model(record, settings, device)
        progress.phase("embedding")
        ids = torch.from_numpy(store.tokens(run)["token"].to_numpy().copy()).long()
        window = record.request.window
        windows = [ids[i : i + window] for i in range(0, len(ids), window)]
        return cls(run, record, settings, store, device, progress, model, Stream.of(model.embed(windows)))

    @property
    def blocks(self) -> int:
        """Blocks of the model."""
        return self.record.model.blocks

    def dense_inputs(self, layer: int) -> Stream:
        """A block's inputs in the dense model, as the run stored them. Raises CorruptStore when they are gone."""
        try:
            data = self.store.read_inputs(self.run, layer)
        except (CorruptStore, NotFound) as error:
            raise CorruptStore(
                f"The stored inputs of block {layer} of run '{self.run}' were deleted or altered. {error.detail}",
                hint="Prunings and expansions start from them: delete the run and submit it again.",
            ) from error
        return self.start.at(split_file(data, self.start.shapes, self.device))

    def fresh(self) -> Stream:
        """The first block's input, to be run through changed blocks."""
        return self.start.at(list(self.start.hidden))

    def bins(self, layer: int, projection: str) -> SharedBins:
        """The shared bins of a layer's neurons, from the ranges that the run found."""
        found = self.store.scores(self.run).columns(layer, projection, ["low", "high"])
        low, high = (torch.tensor(found[name], dtype=torch.float32) for name in ("low", "high"))
        return shared_bins(low, high)
