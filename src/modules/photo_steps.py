"""One photograph's turn in infer.py: its result, or a record of why there is none."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from faceforward.errors import ConfigurationError, UnusablePhotoError
from faceforward.records import Photo, Rejected

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)


def recorded(sample: Any, result: Callable[[Photo], Any]) -> Any:
    """What `predict_step` returns: whatever goes wrong with a photograph becomes its record.

    Args:
        sample: A `Photo`, or a list of samples; anything else is a record already and stays what it is.
        result: Makes a photograph's result.

    Raises:
        ConfigurationError: What was asked for cannot work for any photograph.
    """
    if isinstance(sample, list):
        return [recorded(each, result) for each in sample]
    if not isinstance(sample, Photo):
        return sample
    try:
        return result(sample)
    except ConfigurationError:
        raise
    except UnusablePhotoError as error:
        return Rejected(sample.id, sample.file, "skipped", str(error))
    except Exception as error:  # one photograph's fault must not cost the others their results
        logger.exception("%s failed", sample.file)
        return Rejected(sample.id, sample.file, "failed", f"{type(error).__name__}: {error}")
