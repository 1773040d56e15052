"""Names of files that users give, held below a configured root."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from app.errors import UnsafeFile, WasserscopeError


def below_root(root: Path | None, name: str, setting: str, missing: type[WasserscopeError]) -> Path:
    """The existing path that `name` means below `root`, symbolic links resolved.

    Raises `missing` when there is no root (naming `setting`) or no such file, and UnsafeFile for an absolute name, `..`,
    or a symbolic link that leads out of the root.
    """
    if root is None:
        raise missing(
            f"'{name}' cannot be looked up: no folder is configured for it.",
            hint=f"Set {setting} to the folder below which such files may lie.",
        )
    pure = PurePosixPath(name.replace("\\", "/"))
    if pure.is_absolute() or Path(name).is_absolute() or ".." in pure.parts or "\x00" in name:
        raise UnsafeFile(
            f"'{name}' is not a path below the configured folder.",
            hint=f"Give a path relative to {setting}, without '..'.",
        )
    path = (root / name).resolve()
    ensure_below(root, [path], setting)
    if not path.exists():
        raise missing(f"There is no '{name}' below {setting}.", hint="Check the name; it is case-sensitive.")
    return path


def ensure_below(root: Path, paths: Iterable[Path], setting: str) -> None:
    """Raise UnsafeFile when one of `paths` leads out of `root` through a symbolic link."""
    home = root.resolve()
    for path in paths:
        if not path.resolve().is_relative_to(home):
            raise UnsafeFile(
                f"'{path.name}' leads out of the configured folder.",
                hint=f"Symbolic links must stay below {setting}.",
            )
