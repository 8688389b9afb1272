"""Weights from the network, when the user asks for them."""

from __future__ import annotations

import logging
import shutil
import urllib.request
from http.client import HTTPException
from pathlib import Path

from tqdm import tqdm

from faceforward.atomic import atomic_file
from faceforward.diffusion.weight_files import files_of
from faceforward.errors import WeightsUnavailableError
from faceforward.pretrained import folder_of, locate, require, sha256_of
from faceforward.registry import Weights, entry

logger = logging.getLogger(__name__)

TIMEOUT = 30  # seconds without a byte before a download is given up


def destination(item: Weights) -> Path:
    """The folder that a download goes to.

    Args:
        item: Of the kind `hub` or `url`.

    Raises:
        WeightsUnavailableError: The registry names no folder for it.
    """
    if item.kind == "hub":
        from huggingface_hub.constants import HF_HUB_CACHE

        return Path(HF_HUB_CACHE)
    folder = folder_of(item)
    if folder is None:
        raise WeightsUnavailableError(f"{item.name}: the registry names no folder to put it; report this")
    return folder


def download(weights: str | Weights) -> Path:
    """Fetch weights because the user asked for it; nothing is fetched when they are already there.

    Args:
        weights: Registry name or entry.

    Returns:
        As `pretrained.locate`.

    Raises:
        WeightsUnavailableError: It cannot be fetched from here; the message says why and what to do instead.
    """
    item = weights if isinstance(weights, Weights) else entry(weights)
    found = locate(item)
    if found is not None:
        return found
    if item.kind == "hub":
        _fetch_from_hub(item)
    elif item.kind == "url":
        _fetch_first(item)
    else:
        raise WeightsUnavailableError(f"{item.name} cannot be downloaded: {item.how}")
    return require(item)


def _fetch_from_hub(item: Weights) -> None:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
    )

    try:
        # What is taken is what the loader can read of what is there, once and in its best form.
        wanted = files_of(HfApi().list_repo_files(item.source[0]), item.name)
        snapshot_download(item.source[0], allow_patterns=wanted)
    except (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        OSError,
    ) as error:
        raise WeightsUnavailableError(_advice(item, f"the hub gave no {item.source[0]}: {error}")) from error


def _fetch_first(item: Weights) -> None:
    target, digest = destination(item) / item.files[0], item.sha256.get(item.files[0])
    failures = []
    for url in item.source:
        try:
            _fetch(url, target, digest)
        except (OSError, ValueError, HTTPException) as error:  # URLError, timeout, full disk: OSError
            failures.append(f"{url}: {error}")
        else:
            if digest is None:
                logger.warning("%s: no digest is known, so %s was not checked", item.name, target)
            return
    raise WeightsUnavailableError(_advice(item, "; ".join(failures), target))


def _fetch(url: str, target: Path, digest: str | None) -> None:
    """Write `url` to `target` in one step: a killed download leaves nothing that looks whole."""
    with urllib.request.urlopen(url, timeout=TIMEOUT) as reply:
        size = int(reply.headers.get("Content-Length") or 0)
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(target) as part:
            with (
                part.open("wb") as file,
                tqdm.wrapattr(file, "write", total=size or None, desc=target.name) as out,
            ):
                shutil.copyfileobj(reply, out)
            if size and part.stat().st_size != size:
                raise ValueError(f"{part.stat().st_size} of {size} bytes came")
            if digest is not None and (got := sha256_of(part)) != digest:
                raise ValueError(f"the file's SHA-256 is {got}, expected {digest}: not kept")


def _advice(item: Weights, reason: str, target: Path | None = None) -> str:
    by_hand = f" Or fetch it on another machine and put it at {target}." if target else ""
    other = f" Until then {item.substitute} takes its place." if item.substitute else ""
    return (
        f"{item.name} could not be downloaded ({reason}). Check the connection and try again.{by_hand}{other}"
    )
