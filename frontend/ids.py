"""Every id a callback, a script or a browser test refers to."""

from __future__ import annotations

URL = "url"
PAGE = "page"
RELOAD = "reload"
MADE_FOR = "made-for"
SET_VIEW = "set-view"
OPEN_ROW = "open-row"
BREADCRUMBS = "breadcrumbs"
RUN_SELECT = "run-select"
RUN_SHOWN = "run-shown"
JUMP = "jump"
JOBS_LINK = "jobs-link"
THEME_TOGGLE = "theme-toggle"
KEYS_BUTTON = "keys-button"
STATUS = "service-status"
STATUS_TICK = "service-status-tick"

MAP_GRAPH = "map-graph"
MAP_PANELS = "map-panels"
MAP_WHOLE = "map-whole"
SHARE_GRAPH = "share-graph"
SHARE_SLIDER = "share-slider"
SHARE_BODY = "share-body"
SHARE_RUN = "share-run"
TREND_GRAPH = "trend-graph"
TILES = "tiles"
NEURON_TABLE = "neuron-table"
NEURON_TABLE_QUERY = "neuron-table-query"
NEURON_TABLE_ERROR = "neuron-table-error"
RUNS_TABLE = "runs-table"

LAYER_GRAPH = "layer-graph"
LAYER_PLACE = "layer-place"
LAYER_HISTOGRAM = "layer-histogram"
LAYER_THRESHOLD = "layer-threshold"
LAYER_ROW = "layer-row"
LAYER_MARKS = "layer-marks"
LAYER_COUNT = "layer-count"
LAYER_SELECTED = "layer-selected"
LAYER_TOP = "layer-top"
LAYER_OPEN = "layer-open"
LAYER_SCATTER = "layer-scatter"
CORRELATION = "correlation"
NEURON_TABLE_GOTO = "neuron-table-goto"
NEURON_TABLE_PLACE = "neuron-table-place"

VARIANT_BAR = "variant-bar"
VARIANT_MISSING = "variant-missing"
RESULTS = "results"
EXPERTS = "experts"
EXPERTS_GRAPH = "experts-graph"
EXPERTS_TABLE = "experts-table"
EXPERT_EXAMPLES = "expert-examples"
COMPARISON = "comparison"

DISTRIBUTION_GRAPH = "distribution-graph"
DISTRIBUTION_TITLE = "distribution-title"
NUMBERS = "numbers"
TOKENS = "tokens"
PROVENANCE = "provenance"

PAIRS = "pairs"
PAIRS_GRAPH = "pairs-graph"
NEURON_PLACE = "neuron-place"
OUTPUTS_JOB = "outputs-job"
OUTPUTS_TICK = "outputs-tick"
BRUSH_ANSWER = "brush-answer"
INTERVAL_REMARK = "interval-remark"
RANGE_LOW = "range-low"
RANGE_HIGH = "range-high"
RANGE_SHOW = "range-show"
DOWNLOAD = "download"
DOWNLOAD_ERROR = "download-error"

NAV_PREVIOUS = "nav-previous"
NAV_NEXT = "nav-next"
NAV_UP = "nav-up"
NAV_DOWN = "nav-down"
NAV_RANDOM = "nav-random"

JOBS_TABLE = "jobs-table"
JOB_PANEL = "job-panel"
JOB_TICK = "job-tick"
JOB_LOG = "job-log"
JOB_MADE = "job-made"
LIVE_JOB = "live-job"

ERROR_PANEL = "error-panel"
UNFORESEEN = "unforeseen"
OFFLINE = "offline"
EMPTY_STATE = "empty-state"
NOT_FOUND = "not-found"

FORM = "explore-form"
FORM_MODEL = "form-model"
FORM_CORPUS = "form-corpus"
FORM_TOKENS = "form-tokens"
FORM_WINDOW = "form-window"
FORM_PAIRS = "form-pairs"
FORM_TOP_SHARE = "form-top-share"
FORM_SEED = "form-seed"
FORM_ESTIMATE = "form-estimate"
FORM_SUBMIT = "form-submit"
FORM_ANSWER = "form-answer"

DRAWER = "variant-drawer"
DRAWER_BODY = "variant-drawer-body"
VARIANT_PLACE = "variant-place"
VARIANT_ESTIMATE = "variant-estimate"
VARIANT_SUBMIT = "variant-submit"
VARIANT_ANSWER = "variant-answer"
VARIANT_BOTH = "variant-both"

VARIANTS_TABLE = "variants-table"
EXPORT_ANSWER = "export-answer"
EVALUATE_PLACE = "evaluate-place"
EVALUATE_ESTIMATE = "evaluate-estimate"
EVALUATE_SUBMIT = "evaluate-submit"
EVALUATE_ANSWER = "evaluate-answer"
EVALUATIONS = "evaluations"


def field(name: str) -> dict[str, str]:
    """A field of the form that prunes or expands."""
    return {"type": "variant-field", "name": name}


def flag(name: str) -> dict[str, str]:
    """A switch of that form."""
    return {"type": "variant-flag", "name": name}


def open_form(kind: str, where: str, settings: str = "") -> dict[str, str]:
    """A button that opens that form, filled in as the pruning or expansion `settings` was; `where` tells buttons apart."""
    return {"type": "open-form", "kind": kind, "where": where, "settings": settings}


def view(key: str, shown: str) -> dict[str, str]:
    """A selector whose value is kept in the query under `key`; it came with the value `shown`."""
    return {"type": "view", "key": key, "shown": shown}


def cancel(job: str) -> dict[str, str]:
    """The button that cancels `job`."""
    return {"type": "cancel", "job": job}


def store_outputs(where: str) -> dict[str, str]:
    """A button that stores the layer's outputs; `where` tells buttons apart."""
    return {"type": "store-outputs", "where": where}


def outputs_status(where: str) -> dict[str, str]:
    """Where the job that stores them is followed."""
    return {"type": "outputs-status", "where": where}


def csv(card: str) -> dict[str, str]:
    """The button that downloads what a card shows."""
    return {"type": "csv", "card": card}


def retry(job: str) -> dict[str, str]:
    """The button that tries `job` again."""
    return {"type": "retry", "job": job}


def export(variant: str) -> dict[str, str]:
    """The button that exports a pruning or expansion."""
    return {"type": "export", "variant": variant}


def evaluate(name: str) -> dict[str, str]:
    """A field of the form that evaluates."""
    return {"type": "evaluate-field", "name": name}


def number(name: str) -> str:
    """One number of the neuron page."""
    return f"number-{name}"


NAV_PIN = "nav-pin"
PINNED = "pinned"
COMPARE = "compare"
COMPARE_GRAPH = "compare-graph"
COMPARE_QUANTILES = "compare-quantiles"
COMPARE_MAP = "compare-map"
COMPARE_TREND = "compare-trend"
COMPARE_NUMBERS = "compare-numbers"
COMPARE_MOVED = "compare-moved"

SWEEP_GRAPH = "sweep-graph"
SWEEP_CURVES = "sweep-curves"
SWEEP_EXPERTS = "sweep-experts"
SWEEP_SLIDER = "sweep-slider"
SWEEP_DATA = "sweep-data"
SWEEP_WORDS = "sweep-words"
SWEEP_ESTIMATE = "sweep-estimate"
SWEEP_ANSWER = "sweep-answer"
SWEEP_SUBMIT = "sweep-submit"
SWEEP_LINK = "sweep-link"


def sweep_field(name: str) -> dict[str, str]:
    """A field of the form that starts a sweep."""
    return {"type": "sweep-field", "name": name}
