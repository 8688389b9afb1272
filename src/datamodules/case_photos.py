"""Photographs, or the aged pictures that an earlier run left in its folder."""

from __future__ import annotations

from pathlib import Path

from faceforward.datamodules.listing import Entry, case_ids, list_photos
from faceforward.datamodules.photos import Photos
from faceforward.errors import ConfigurationError

CASES, AGED = "cases", "aged"


class CasePhotos(Photos):
    """As `Photos`; and the folder of an earlier `infer age` stands for the aged pictures of its cases."""

    @staticmethod
    def listed(
        photos: str | Path,
        *,
        output: str | Path | None = None,
        recursive: bool = False,
        beside: list[str] | None = None,
    ) -> list[Entry]:
        """The pictures that the user means.

        Args:
            photos: As `list_photos` takes it, or a folder with `cases/<id>/aged/<age>.png`.
            output: The folder of results.
            recursive: As `list_photos` takes it.
            beside: Likewise.

        Raises:
            ConfigurationError: As `list_photos`; or the earlier run has no aged picture.
        """
        root = Path(photos)
        if not (root / CASES).is_dir():
            return list_photos(photos, output=output, recursive=recursive, beside=beside)
        found = [
            (file, case.name)
            for case in sorted((root / CASES).iterdir())
            if case.is_dir() and not case.name.startswith(".")
            for file in sorted((case / AGED).glob("*.png"), key=lambda file: (len(file.stem), file.stem))
            if file.stem.isdigit()
        ]
        if not found:
            raise ConfigurationError(
                f"--photos {root} holds cases of an earlier run, but none has an aged picture "
                f"({CASES}/NAME/{AGED}/AGE.png)"
            )
        ids = case_ids([f"{case}-{file.stem}" for file, case in found])
        return [
            Entry(id=name, file=str(file), path=file, case=case, which=file.stem)
            for name, (file, case) in zip(ids, found, strict=True)
        ]
