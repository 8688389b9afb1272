"""faceforward: the present face of a long-missing person, from one old photograph."""

import os

from faceforward.version import __version__

__all__ = ["__version__"]

# Nothing leaves the machine unasked, not even word of its use. ONNX Runtime 1.30 keeps a device id and
# reports to its maker unless this is set before it is imported; the hub's client counts calls.
for _switch in ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "DISABLE_TELEMETRY"):
    os.environ.setdefault(_switch, "1")
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # W&B's client reports crashes and its use
