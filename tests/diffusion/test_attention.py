import dataclasses
import logging

import pytest
import torch
from diffusers import UNet2DConditionModel

from faceforward.diffusion.attention import AttentionControl, attention_layers, blend_level, side_at
from faceforward.diffusion.blending import LocalBlend
from faceforward.diffusion.pipeline import load_pipeline
from faceforward.diffusion.tokens import replacement_mapper, word_indicator
from faceforward.errors import ConfigurationError

PROMPTS = ("photo of 32 year old man", "photo of 8 year old boy", "photo of 60 year old man")


@pytest.fixture(scope="module")
def model(tiny_sd):
    return load_pipeline(tiny_sd)


@pytest.fixture(scope="module")
def mappers(model):
    weights = torch.ones(2, 24)
    weights[1] += word_indicator(model.tokenizer, PROMPTS[2], [2])  # twice the age's attention
    pairs = [replacement_mapper(model.tokenizer, PROMPTS[0], target) for target in PROMPTS[1:]]
    return torch.stack(pairs) * weights.unsqueeze(1)


@pytest.fixture(scope="module")
def words(model):
    return torch.stack([word_indicator(model.tokenizer, prompt, (2, 5)) for prompt in PROMPTS])


@pytest.fixture(scope="module")
def inputs(model):
    """Two unconditional rows, the source and two targets."""
    latents = torch.randn(5, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    return latents, 501, model.encode_prompts(["", "", *PROMPTS])


class Published:
    """Prompt-to-prompt as written down: whole maps, replaced in place, then multiplied with the values."""

    def __init__(self, names, mappers, words, *, cross, itself):
        self.names, self.mappers, self.words = names, mappers, words
        self.cross, self.itself = cross, itself
        self.seen = 0

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None):
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context)
        query, key, value = (x.unflatten(2, (attn.heads, -1)).transpose(1, 2) for x in (query, key, value))
        maps = (query @ key.transpose(2, 3) / query.shape[-1] ** 0.5).softmax(-1)
        if encoder_hidden_states is None:
            if self.itself and maps.shape[2] <= 16:
                maps[3:] = maps[2]
        else:
            if self.cross:
                maps[3:] = torch.einsum("hls,nst->nhlt", maps[2], self.mappers)
            if maps.shape[2] == 16 and "mid_block" not in self.names[attn]:
                self.seen = self.seen + torch.einsum("nhlt,nt->nl", maps[2:], self.words)
        return attn.to_out[0]((maps @ value).transpose(1, 2).flatten(2))


@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("itself", [False, True])
def test_same_as_the_published_computation(model, mappers, words, inputs, cross, itself):
    unet = model.unet
    names = {unet.get_submodule(name.removesuffix(".processor")): name for name in unet.attn_processors}
    reference = Published(names, mappers, words, cross=cross, itself=itself)
    former = dict(unet.attn_processors)
    unet.set_attn_processor(reference)
    with torch.no_grad():
        expected = model.predict(*inputs)
    unet.set_attn_processor(former)

    control = AttentionControl(attention_layers(unet), mappers, max_self_positions=16, words=words, level=1)
    with torch.no_grad(), control.installed(unet):
        control.begin_step(replace_cross=cross, replace_self=itself, free_rows=2, active=True)
        ours = model.predict(*inputs)
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(control.attention, reference.seen, rtol=1e-4, atol=1e-5)
        model.predict(*inputs)
    torch.testing.assert_close(
        control.attention, 2 * reference.seen, rtol=1e-4, atol=1e-5
    )  # summed over steps


def test_an_idle_control_changes_nothing(model, mappers, words, inputs):
    with torch.no_grad():
        expected = model.predict(*inputs)
    control = AttentionControl(
        attention_layers(model.unet), mappers, max_self_positions=16, words=words, level=1
    )
    with torch.no_grad(), control.installed(model.unet):
        control.begin_step(replace_cross=True, replace_self=True, free_rows=0, active=False)
        torch.testing.assert_close(model.predict(*inputs), expected)
    assert control.attention is None


def test_half_precision_and_upcast(tiny_sd, mappers, words, inputs):
    """The maps are computed in float32 where the UNet's config asks for it, as in Stable Diffusion 2.1."""
    outputs = []
    for dtype in (torch.float32, torch.bfloat16):
        model = load_pipeline(tiny_sd, dtype=dtype)
        layers = attention_layers(model.unet)
        for layer in layers:
            layer.upcast_attention = True
        control = AttentionControl(layers, mappers, max_self_positions=64, words=words, level=1)
        with torch.no_grad(), control.installed(model.unet):
            control.begin_step(replace_cross=True, replace_self=True, free_rows=2, active=True)
            outputs.append((model.predict(*inputs), control.attention))
    for half, full in zip(outputs[1], outputs[0], strict=True):
        assert half.dtype == torch.float32
        assert ((half - full).norm() / full.norm()) < 0.02


def test_the_former_processors_come_back(model, mappers):
    former = dict(model.unet.attn_processors)
    control = AttentionControl(attention_layers(model.unet), mappers, max_self_positions=16)
    with control.installed(model.unet):
        assert set(model.unet.attn_processors.values()) == {control}
    assert model.unet.attn_processors == former
    with pytest.raises(RuntimeError, match="in the middle"), control.installed(model.unet):
        raise RuntimeError("in the middle")
    assert model.unet.attn_processors == former


def test_layers_of_stable_diffusion(tiny_sd):
    """The layout of 1.5: LocalBlend looks at the last two layers going down and the first three going up."""
    config = UNet2DConditionModel.load_config(tiny_sd / "unet")
    unet = UNet2DConditionModel.from_config(
        {
            **config,
            "sample_size": 64,
            "block_out_channels": (8, 8, 8, 8),
            "attention_head_dim": 2,
            "norm_num_groups": 4,
            "layers_per_block": 2,
            "down_block_types": (*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"),
            "up_block_types": ("UpBlock2D", *["CrossAttnUpBlock2D"] * 3),
        }
    )
    layers = attention_layers(unet)
    assert len(layers) == 32
    names = {unet.get_submodule(name.removesuffix(".processor")): name for name in unet.attn_processors}
    level = blend_level(layers, LocalBlend(missing="error"), (64, 64))
    chosen = [
        names[m] for m, layer in layers.items() if layer.cross and not layer.middle and layer.level == level
    ]
    assert [name.split(".transformer")[0] for name in chosen] == [
        "down_blocks.2.attentions.0",
        "down_blocks.2.attentions.1",
        "up_blocks.1.attentions.0",
        "up_blocks.1.attentions.1",
        "up_blocks.1.attentions.2",
    ]
    with torch.no_grad():  # and the levels are what the positions say
        sizes = {}
        for module in layers:
            module.register_forward_pre_hook(lambda m, args: sizes.__setitem__(m, args[0].shape[1]))
        unet(torch.zeros(1, 4, 64, 64), 1, torch.zeros(1, 3, 64))
    assert all(sizes[module] == side_at(64, layer.level) ** 2 for module, layer in layers.items())


def test_odd_sides_are_rounded_up():
    assert [side_at(13, level) for level in range(4)] == [13, 7, 4, 2]


def test_the_nearest_layer_is_taken_and_said(model, caplog):
    layers = attention_layers(model.unet)  # sides 8 and 4 of latents of side 8
    with caplog.at_level(logging.WARNING):
        assert blend_level(layers, LocalBlend(side=0.5), (8, 8)) == 1
        assert not caplog.records
        assert blend_level(layers, LocalBlend(side=0.25), (8, 8)) == 1
    assert "side 2 (0.25 of 8); the UNet has 8, 4: taking 4" in caplog.text
    with pytest.raises(ConfigurationError, match=r"the UNet has 8, 4: set local_blend\.side"):
        blend_level(layers, LocalBlend(side=0.25, missing="error"), (8, 8))
    assert blend_level(layers, LocalBlend(side=1), (8, 8)) == 0


def test_no_layer_to_look_at(model):
    middle = {
        module: dataclasses.replace(layer, middle=True)
        for module, layer in attention_layers(model.unet).items()
    }
    with pytest.raises(ConfigurationError, match="set local_blend to null"):
        blend_level(middle, LocalBlend(), (8, 8))


def test_layers_of_other_unets(tiny_sd):
    config = UNet2DConditionModel.load_config(tiny_sd / "unet")
    unet = UNet2DConditionModel.from_config({**config, "mid_block_type": "UNetMidBlock2DSimpleCrossAttn"})
    with pytest.raises(ConfigurationError, match=r"mid_block.*no Stable Diffusion"):
        attention_layers(unet)
