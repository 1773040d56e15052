"""Any checkpoint as a stream of blocks: each block's weights are loaded once and let go."""

from worker.models.block import Block, ProjectionWeight
from worker.models.changes import Change, Experts
from worker.models.expanded import load_expanded
from worker.models.export import export_expanded, export_pruned
from worker.models.model import BlockModel, open_model
from worker.models.replay import Batch

__all__ = [
    "Batch",
    "Block",
    "BlockModel",
    "Change",
    "Experts",
    "ProjectionWeight",
    "export_expanded",
    "export_pruned",
    "load_expanded",
    "open_model",
]
