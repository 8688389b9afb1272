"""EG3D's weights from a salt, by the formula of shared/golden/README.md."""

import numpy as np
import torch

from golden_pipeline import draw


def fill_eg3d(module, salt, shapes, *, skip=("resample_filter",)):
    """Give a generator or discriminator its weights; the names must be the manifest's."""
    own = module.state_dict()
    assert set(own) == set(shapes)
    for name, shape in shapes.items():
        leaf = name.rsplit(".", 1)[-1]
        assert list(own[name].shape) == shape, name
        if leaf in skip:
            continue
        value = torch.as_tensor(draw(salt, name, shape))
        if leaf == "bias":
            value = 0.1 * value + (1 if ".affine." in name else 0)
        elif "mapping.fc" in name and leaf == "weight":
            value = 100 * value
        elif leaf == "noise_strength":
            value = 0.05 * value
        elif leaf == "w_avg":
            value = 0.1 * value
        own[name] = value
    module.load_state_dict(own)
    return module


def away(found, expected):
    """Root mean square of the difference, relative."""
    found = found.detach().numpy()
    assert found.shape == expected.shape
    return float(np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2)))
