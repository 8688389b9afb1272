"""Store an ONNX network's weights as float16; it still computes in float32. Needs `pip install onnx`.

`python benchmarks/half_onnx.py ../shared/data/models/facemesh.onnx src/weights/face-mesh/facemesh.onnx`
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

logger = logging.getLogger("half_onnx")


def main() -> int:
    """Convert one file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    model = halved(onnx.load(options.source))
    onnx.checker.check_model(model)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_bytes(model.SerializeToString())
    logger.info("%s: %d bytes", options.output, options.output.stat().st_size)
    return 0


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace each float32 array of weights by a float16 one and a cast, which ONNX Runtime folds on loading.

    Raises:
        ValueError: A weight is too large for float16.
    """
    graph, casts = model.graph, []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size < 2:
            continue
        if np.abs(values).max() > np.finfo(np.float16).max:
            raise ValueError(
                f"{tensor.name} holds {np.abs(values).max()}, which float16 cannot: leave it out"
            )
        name, half = tensor.name, f"{tensor.name}_half"
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), half))
        casts.append(helper.make_node("Cast", [half], [name], name=f"{name}_cast", to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


if __name__ == "__main__":
    sys.exit(main())
