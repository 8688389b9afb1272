"""Files and folders that are there complete or not at all."""

from __future__ import annotations

import os
import re
import shutil
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Nobody else's files end so: what is found under such a name was left by this program and may be removed.
_HALF, _OLD = ".faceforward-tmp", ".faceforward-old"
_LEFTOVER = re.compile(rf"\..+{re.escape(_HALF)}\d*")


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A hidden name beside `path`; what is written there takes the place of `path` when the block ends.

    Each process has a name of its own, so that several may write the same file. After an error nothing is
    left of the new file, and an older one stays.

    Args:
        path: The file; its folder must be there.

    Raises:
        OSError: It cannot take its place.
    """
    temporary = path.with_name(f".{path.name}{_HALF}{os.getpid()}")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):  # the first error is the one to tell
            temporary.unlink()
        raise


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that a reader, or a power cut, sees the old or the new one and nothing between.

    File names that are no UTF-8 have lone surrogates; as backslash escapes they are valid JSON.

    Raises:
        OSError: The disk is full or cannot be written.
    """
    with (
        atomic_file(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace") as stream,
    ):
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


@contextmanager
def atomic_folder(final: Path) -> Iterator[Path]:
    """An empty hidden folder beside `final`, which takes its place when the block ends.

    After an error nothing is left of the new folder, and an older one stays. Only one process may make it.

    Args:
        final: The folder; the one it lies in is made if need be.

    Raises:
        OSError: The disk is full or the folder cannot be written.
    """
    temporary = temporary_for(final)
    try:
        if temporary.exists():
            shutil.rmtree(temporary)
        temporary.mkdir(parents=True)
        yield temporary
        replace_folder(temporary, final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        with suppress(OSError):
            recover_folder(final)
        raise


def replace_folder(temporary: Path, final: Path) -> None:
    """Put a complete folder in the place of an older one.

    Raises:
        OSError: A folder cannot be moved or removed.
    """
    recover_folder(final)
    old = _old(final)
    if final.exists():
        final.replace(old)
    temporary.replace(final)
    if old.exists():
        shutil.rmtree(old)


def recover_folder(final: Path) -> None:
    """Put right what a kill in the middle of `replace_folder` left: the older folder, or the rest of it.

    Raises:
        OSError: A folder cannot be moved or removed.
    """
    old = _old(final)
    if old.exists() and not final.exists():
        old.replace(final)
    elif old.exists():
        shutil.rmtree(old)


def recover_folders(parent: Path) -> None:
    """Put right what a kill left of any folder in `parent`; see `recover_folder`."""
    for old in list(parent.glob(f".*{_OLD}")):
        recover_folder(parent / old.name.removeprefix(".").removesuffix(_OLD))


def temporary_for(final: Path) -> Path:
    """Where a folder is made before it takes its place: beside it, on the same disk, and hidden."""
    return final.with_name(f".{final.name}{_HALF}")


def _old(final: Path) -> Path:
    return final.with_name(f".{final.name}{_OLD}")


def remove_leftovers(folder: Path, *, older: float = 0) -> None:
    """Remove the half-made files and folders that killed processes left in a folder.

    Args:
        folder: Where to look; not in the folders in it.
        older: Least age in seconds, where another process may still be writing.

    Raises:
        OSError: Something cannot be removed.
    """
    for left in list(folder.glob(f".*{_HALF}*")):
        if not _LEFTOVER.fullmatch(left.name):
            continue
        with suppress(FileNotFoundError):  # whoever was writing is done
            if older and time.time() - left.stat().st_mtime <= older:
                continue
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink()
