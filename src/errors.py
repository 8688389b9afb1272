"""The errors that separate a bad photograph from a fault of our own."""

from __future__ import annotations


class FaceforwardError(Exception):
    """Base of the errors that faceforward raises on purpose; the message says what, where and the fix."""


class UnusablePhotoError(FaceforwardError):
    """The input cannot be used: no image, no face, too small. The photograph is recorded as `skipped`."""


class ConfigurationError(FaceforwardError):
    """The user asked for something that cannot work, before any photograph was touched: exit status 2."""


class WeightsUnavailableError(ConfigurationError):
    """Weights or a package that a backend needs are not on this machine; the message says how to get them."""


class TrainingError(FaceforwardError):
    """A training cannot go on; its checkpoints stay: exit status 1."""
