"""Records of labelled photographs for tests that open no picture."""

from faceforward.datamodules.sources import LabelledPhoto
from faceforward.datamodules.stored_files import StoredFile


def photo(name: str, **changes: object) -> LabelledPhoto:
    """A three-year-old without landmarks; `changes` replace fields."""
    fields = {
        "name": name,
        "file": StoredFile(f"x/{name}.png", f"{name}.png"),
        "age": 3,
        "identity": name,
        **changes,
    }
    return LabelledPhoto(**fields)
