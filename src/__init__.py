"""faceforward: the present face of a long-missing person, from one old photograph."""

from faceforward.version import __version__

__all__ = ["__version__"]
