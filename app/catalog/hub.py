"""The model hub: what a repository holds, its headers without its weights, and a snapshot of it.

A reachable hub is asked first, with a short limit, because the hub library's own downloads try again for many seconds;
an unreachable one is answered from the local cache, or at once with HubUnreachable. Code and pickles are never fetched.
`HF_HOME`, `HF_HUB_CACHE`, `HF_HUB_OFFLINE`, `HF_ENDPOINT` and `HF_TOKEN` count as everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.catalog.headers import INDEX, TensorInfo, read_folder, read_json
from app.errors import CorruptFile, HubUnreachable, ModelError, ModelNotFound, UnsafeFile

ANSWER_SECONDS = 5.0
PATTERNS = ["*.safetensors", "*.json", "tokenizer*", "*.model", "merges.txt", "vocab.txt"]
"""Files that are fetched: weights as safetensors, configuration, tokenizer. Nested folders are left out."""
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack")
OFFLINE_HINT = (
    "Connect this machine (HF_ENDPOINT for a mirror), or put the model into the local cache elsewhere "
    "('hf download {repo}') and copy it, or use 'demo' or 'path:folder'."
)


@dataclass(frozen=True)
class HubModel:
    """A repository at one commit; `folder` is its local snapshot, None when only headers were read."""

    commit: str
    folder: Path | None
    config: dict[str, Any]
    tensors: dict[str, TensorInfo]
    files: tuple[Path, ...] = ()


def split_name(name: str) -> tuple[str, str | None]:
    """`org/name@revision` as (repository, revision or None). Raises ModelNotFound when it is no such name."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    repo, _, revision = name.partition("@")
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise ModelNotFound(
            f"'{repo}' is no name on the hub.", hint="Such names look like 'org/name'."
        ) from error
    if ".." in revision:
        raise ModelNotFound(f"'{revision}' is no revision.", hint="Give a branch, a tag or a commit.")
    return repo, revision or None


def hub_model(name: str, *, download: bool) -> HubModel:
    """The repository `name`: its snapshot when `download` or when the cache has it, else its headers alone.

    Raises ModelNotFound, HubUnreachable, UnsafeFile (pickles only) or CorruptFile.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repo, revision = split_name(name)
    try:
        info = HfApi().model_info(repo, revision=revision, timeout=ANSWER_SECONDS)
    except GatedRepoError as error:
        raise ModelNotFound(
            f"'{repo}' is gated: its owner must grant access.",
            hint="Ask for access on its page, and set HF_TOKEN.",
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        what = "no model" if isinstance(error, RepositoryNotFoundError) else f"no revision '{revision}' of"
        raise ModelNotFound(
            f"The hub has {what} '{repo}'.", hint="Check the name; for a private model set HF_TOKEN."
        ) from error
    except HfHubHTTPError as error:
        return _cached(repo, revision, error)
    except Exception as error:
        if not is_unreachable(error):
            raise
        return _cached(repo, revision, error)
    commit = str(info.sha)
    names = [sibling.rfilename for sibling in info.siblings or []]
    refuse_pickles(names, repo)
    snapshot = _snapshot(repo, commit)
    if snapshot is None and not download:
        return _headers(repo, commit)
    if snapshot is None:
        snapshot = _download(repo, commit, names)
    return _local(snapshot, repo)


def is_unreachable(error: BaseException) -> bool:
    """Whether `error` means that the hub did not answer: no name, no connection, time is up, or offline mode."""
    if isinstance(error, OSError):  # offline mode and connection errors are of its kind
        return True
    return any(cls.__name__ in {"TransportError", "HTTPError"} for cls in type(error).__mro__)


def refuse_pickles(names: list[str], title: str) -> None:
    """Raise UnsafeFile when there are pickled weights and no safetensors, ModelNotFound when there are none at all."""
    if any(name.endswith(".safetensors") for name in names):
        return
    pickled = sorted(name for name in names if name.endswith(PICKLES))
    if pickled:
        raise UnsafeFile(
            f"'{title}' has its weights only as '{pickled[0]}', a format that can run code when it is opened.",
            hint="Use a revision with safetensors (on the hub often '@refs/pr/N'), or convert the model once.",
        )
    raise ModelNotFound(
        f"'{title}' has no safetensors files.", hint="A model is a folder with config.json and *.safetensors."
    )


def cached_models() -> list[str]:
    """Names of the repositories whose snapshot of some revision is complete in the local cache."""
    from huggingface_hub import constants

    names = []
    for folder in sorted(Path(constants.HF_HUB_CACHE).glob("models--*")):
        repo = folder.name.removeprefix("models--").replace("--", "/")
        main = folder / "refs" / "main"
        if main.is_file() and _snapshot(repo, "main") is not None:
            names.append(repo)
    return names


def _cached(repo: str, revision: str | None, error: BaseException) -> HubModel:
    snapshot = _snapshot(repo, revision)
    if snapshot is None:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise HubUnreachable(
            f"The hub cannot be reached ({reason}), and the local cache does not have '{repo}'"
            f"{f' at {revision!r}' if revision else ''}.",
            hint=OFFLINE_HINT.format(repo=repo),
        ) from error
    return _local(snapshot, repo)


def _snapshot(repo: str, revision: str | None) -> Path | None:
    """The complete snapshot in the local cache, or None."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(repo, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    if not (folder / "config.json").is_file():
        return None
    try:
        files, _ = read_folder(folder)
    except CorruptFile:
        return None if (folder / INDEX).is_file() and not _all_shards(folder) else folder
    return folder if files or _has_pickles(folder) else None


def _all_shards(folder: Path) -> bool:
    shards = set(read_json(folder / INDEX).get("weight_map", {}).values())
    return all((folder / str(shard)).is_file() for shard in shards)


def _has_pickles(folder: Path) -> bool:
    return any(path.name.endswith(PICKLES) for path in folder.iterdir())


def _local(folder: Path, repo: str) -> HubModel:
    refuse_pickles([path.name for path in folder.iterdir()], repo)
    files, tensors = read_folder(folder)
    return HubModel(folder.name, folder, read_json(folder / "config.json"), tensors, files)


def _headers(repo: str, commit: str) -> HubModel:
    """Configuration and safetensors headers, a few hundred kilobytes, by range requests."""
    from huggingface_hub import HfApi, hf_hub_download

    try:
        config = read_json(Path(hf_hub_download(repo, "config.json", revision=commit)))
        found = HfApi().get_safetensors_metadata(repo, revision=commit)
    except Exception as error:
        raise _failed(repo, error) from error
    tensors = {
        name: TensorInfo(tensor.dtype, tuple(tensor.shape), file)
        for file, metadata in found.files_metadata.items()
        for name, tensor in metadata.tensors.items()
    }
    return HubModel(commit, None, config, tensors)


def _download(repo: str, commit: str, names: list[str]) -> Path:
    """The snapshot, without folders inside the repository (other formats) and without a second copy of the weights."""
    from huggingface_hub import snapshot_download

    ignored = ["*/*"]
    if "model.safetensors" in names or INDEX in names:
        ignored.append("consolidated*.safetensors")
    try:
        return Path(
            snapshot_download(repo, revision=commit, allow_patterns=PATTERNS, ignore_patterns=ignored)
        )
    except Exception as error:
        raise _failed(repo, error) from error


def _failed(repo: str, error: Exception) -> ModelError:
    """The failure of a fetch that had begun."""
    if isinstance(error, ModelError):
        return error
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, NotASafetensorsRepoError

    missing = isinstance(error, (EntryNotFoundError, NotASafetensorsRepoError))
    if missing and not isinstance(error, LocalEntryNotFoundError):
        return ModelNotFound(
            f"'{repo}' lacks config.json or safetensors.", hint="It is no transformers model."
        )
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return HubUnreachable(
        f"Fetching '{repo}' from the hub failed ({reason}).",
        hint="Try again: what has arrived is kept. Check the network and the free space of HF_HOME.",
    )
