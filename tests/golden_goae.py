"""GOAE's weights from a salt, by the formula of shared/golden/README.md."""

import math

from golden_pipeline import draw

BUILT = ("relative_coords_table", "relative_position_index", "attn_mask", "num_batches_tracked")


def fill_goae(module, salt, shapes):
    """Give an encoder or AFA its weights; names and shapes must be the manifest's."""
    own = module.state_dict()
    assert set(own) == set(shapes)
    for name, shape in shapes.items():
        leaf = name.rsplit(".", 1)[-1]
        assert list(own[name].shape) == shape, name
        if leaf in BUILT:
            continue
        value = draw(salt, name, shape)
        if leaf == "running_var":
            value = 1 + 0.1 * value.abs()
        elif leaf == "running_mean":
            value = 0.1 * value
        elif leaf == "logit_scale":
            value = math.log(10) + 0.1 * value
        elif len(shape) >= 2:
            if not name.startswith("output_layer."):
                value = value * (0.8 / math.sqrt(math.prod(shape[1:])))
        elif leaf == "weight":
            value = 1 + 0.1 * value
        else:
            value = 0.1 * value
        own[name] = value
    module.load_state_dict(own)
    return module
