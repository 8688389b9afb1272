"""No library that is used here reports about its use."""

import os
import subprocess
import sys

PROGRAM = """
import faceforward
from faceforward.faces.age import DlibAgeEstimator
from faceforward.faces.mtcnn import MTCNNDetector
import numpy as np
grey = np.full((64, 64, 3), 128, np.uint8)
DlibAgeEstimator().estimate([grey])
MTCNNDetector().detect(grey)
"""


def test_onnx_runtime_keeps_no_device_id(tmp_path):
    home = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment = {name: value for name, value in os.environ.items() if "TELEMETRY" not in name}
    subprocess.run([sys.executable, "-c", PROGRAM], env=environment | home, check=True)
    assert [path for path in tmp_path.rglob("*") if "deviceid" in path.name or "mat-debug" in path.name] == []
