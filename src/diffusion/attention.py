"""Attention control: one processor for a UNet's attention layers, put in for an edit and always taken out."""

from __future__ import annotations

import logging
import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from faceforward.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diffusers import UNet2DConditionModel
    from diffusers.models.attention_processor import Attention

    from faceforward.diffusion.blending import LocalBlend

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Layer:
    """Where an attention layer stands.

    Attributes:
        cross: Whether it attends to the text.
        level: How often the latents were halved before it.
        middle: Whether it belongs to the UNet's middle block.
    """

    cross: bool
    level: int
    middle: bool


def attention_layers(unet: UNet2DConditionModel) -> dict[Attention, Layer]:
    """All attention layers of a Stable Diffusion 1.x or 2.x UNet.

    Raises:
        ConfigurationError: A layer is of a kind that these models do not have.
    """
    levels = len(unet.config.block_out_channels)
    layers = {}
    for name in unet.attn_processors:
        path = name.removesuffix(".processor")
        module = unet.get_submodule(path)
        unknown = [
            part
            for part in ("group_norm", "spatial_norm", "norm_q", "norm_k", "add_k_proj", "norm_cross")
            if getattr(module, part, None) is not None
        ]
        block, *rest = path.split(".")
        if unknown or module.residual_connection or not path.endswith(("attn1", "attn2")):
            raise ConfigurationError(
                f"the UNet's attention layer {path} is of a kind ({', '.join(unknown) or 'residual'}) that "
                "no Stable Diffusion 1.x or 2.x has: prompt-to-prompt is not defined for it"
            )
        if block == "mid_block":
            level = levels - 1
        else:
            level = int(rest[0]) if block == "down_blocks" else levels - 1 - int(rest[0])
        layers[module] = Layer(path.endswith("attn2"), level, block == "mid_block")
    return layers


def side_at(side: int, level: int) -> int:
    """Positions along a side of the latents after `level` halvings, rounded as strided convolutions do."""
    for _ in range(level):
        side = (side + 1) // 2
    return side


def blend_level(layers: dict[Attention, Layer], blend: LocalBlend, size: tuple[int, int]) -> int:
    """The level whose cross-attention LocalBlend looks at; the middle block is not asked.

    Raises:
        ConfigurationError: No layer has the wanted side and `blend.missing` is `error`, or there is none.
    """
    levels = sorted({layer.level for layer in layers.values() if layer.cross and not layer.middle})
    wanted = blend.side * size[0]
    if not levels:
        raise ConfigurationError(
            "the UNet has no cross-attention outside its middle block: set local_blend to null"
        )
    level = min(levels, key=lambda candidate: abs(math.log(side_at(size[0], candidate) / wanted)))
    if side_at(size[0], level) != round(wanted):
        sides = ", ".join(str(side_at(size[0], candidate)) for candidate in levels)
        message = (
            f"LocalBlend wants cross-attention of side {wanted:g} ({blend.side:g} of {size[0]}); "
            f"the UNet has {sides}"
        )
        if blend.missing == "error":
            raise ConfigurationError(f"{message}: set local_blend.side, or local_blend.missing to nearest")
        logger.warning("%s: taking %d", message, side_at(size[0], level))
    return level


class AttentionControl:
    """Attention of prompt-to-prompt (Hertz et al., arXiv 2208.01626) for sources and their targets.

    The batch is `[unconditional rows, M sources, N targets]`; the unconditional rows are never touched. A
    target whose map is replaced gets `(P T) V = P (T V)`, with its source's map `P`, the token mapper `T`
    (self-attention has none) and its own values `V`: a source's map is computed once for all its targets, and
    their queries and keys never. Layers whose maps nobody needs run the fused kernel.

    Args:
        layers: The UNet's attention layers.
        mappers: `(N, S, S)` from the source's tokens to each target's, reweighting included.
        owners: `(N,)` int64: the source of each target; None where all have the only one.
        max_self_positions: Self-attention is replaced in layers of at most so many positions.
        words: `(M + N, S)`, 1 at the tokens of the blend words, sources first; None without LocalBlend.
        level: The level whose cross-attention is recorded.
    """

    def __init__(
        self,
        layers: dict[Attention, Layer],
        mappers: torch.Tensor,
        *,
        owners: torch.Tensor | None = None,
        max_self_positions: int,
        words: torch.Tensor | None = None,
        level: int | None = None,
    ) -> None:
        self._sources = 1 if owners is None else int(owners.max()) + 1
        identity = torch.eye(mappers.shape[-1]).to(mappers).expand(self._sources, -1, -1)
        self._layers = layers
        self._mappers = torch.cat([identity, mappers])
        #: The source of each row, a source being its own; None where there is one source.
        self._owners = None
        if self._sources > 1:
            assert owners is not None  # only then are there several
            self._owners = torch.cat([torch.arange(self._sources).to(owners), owners])
        self._max_self_positions = max_self_positions
        self._words = words
        self._mapped_words = None if words is None else torch.einsum("nst,nt->ns", self._mappers, words)
        self._level = level
        self._cast: dict[torch.dtype, torch.Tensor] = {}
        self.replace_cross = False
        self.replace_self = False
        self.active = False
        self.free_rows = 0
        self.attention: torch.Tensor | None = None

    def begin_step(self, *, replace_cross: bool, replace_self: bool, free_rows: int, active: bool) -> None:
        """Say what the next evaluation of the UNet holds.

        Args:
            replace_cross: Targets take their source's cross-attention.
            replace_self: Targets take their source's self-attention.
            free_rows: How many unconditional rows lead the batch.
            active: Whether the batch holds the sources at all; without it nothing is replaced or recorded.
        """
        self.replace_cross = replace_cross
        self.replace_self = replace_self
        self.free_rows = free_rows
        self.active = active

    def __call__(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Attention of one layer, `(B, L, C)` to `(B, L, C)`; the signature is diffusers'."""
        layer = self._layers[attn]
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        positions = hidden_states.shape[1]
        replaced = (
            self.replace_cross if layer.cross else self.replace_self and positions <= self._max_self_positions
        )
        recorded = layer.cross and not layer.middle and self._words is not None and layer.level == self._level
        if self.active and (replaced or recorded):
            attended = self._controlled(
                attn, hidden_states, context, layer, replaced=replaced, recorded=recorded
            )
        else:
            query = _heads(attn.to_q(hidden_states), attn)
            key, value = _heads(attn.to_k(context), attn), _heads(attn.to_v(context), attn)
            attended = F.scaled_dot_product_attention(query, key, value, scale=attn.scale).transpose(1, 2)
        output = attn.to_out[0](attended.flatten(2))
        return output / attn.rescale_output_factor

    def _controlled(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        context: torch.Tensor,
        layer: Layer,
        *,
        replaced: bool,
        recorded: bool,
    ) -> torch.Tensor:
        """Attention of a layer that is replaced, recorded or both; `(B, L, heads, d)`."""
        free = self.free_rows
        # Replaced targets ask no questions.
        asking = slice(0, free + self._sources) if replaced else slice(None)
        query = _heads(attn.to_q(hidden_states[asking]), attn)
        key = _heads(attn.to_k(context[asking]), attn)
        value = _heads(attn.to_v(context), attn)
        maps = _maps(query[free:], key[free:], attn)
        shared = value[free:]
        if replaced:
            if layer.cross:
                shared = torch.einsum("nst,nhtd->nhsd", self._mappers_as(shared.dtype), shared)
            if self._owners is None:
                attended = torch.einsum("hls,nhsd->nlhd", maps[0], shared)
            else:
                attended = (maps[self._owners] @ shared).transpose(1, 2)
        else:
            attended = (maps @ shared).transpose(1, 2)
        if recorded:
            self._record(maps, replaced=replaced)
        if free:
            others = F.scaled_dot_product_attention(query[:free], key[:free], value[:free], scale=attn.scale)
            attended = torch.cat([others.transpose(1, 2), attended])
        return attended

    def _record(self, maps: torch.Tensor, *, replaced: bool) -> None:
        """Add the attention to the blend words after replacement, summed over heads: `(M + N, L)`."""
        if replaced and self._owners is None:
            seen = torch.einsum("ls,ns->nl", maps[0].float().sum(0), self._mapped_words)
        elif replaced:
            seen = torch.einsum("nls,ns->nl", maps.float().sum(1)[self._owners], self._mapped_words)
        else:
            seen = torch.einsum("nls,ns->nl", maps.float().sum(1), self._words)
        self.attention = seen if self.attention is None else self.attention + seen

    def _mappers_as(self, dtype: torch.dtype) -> torch.Tensor:
        if dtype not in self._cast:
            self._cast[dtype] = self._mappers.to(dtype)
        return self._cast[dtype]

    @contextmanager
    def installed(self, unet: UNet2DConditionModel) -> Iterator[AttentionControl]:
        """Put this processor into every attention layer; the former ones come back however the block ends."""
        former = dict(unet.attn_processors)
        try:
            unet.set_attn_processor(self)
            yield self
        finally:
            unet.set_attn_processor(former)


def _heads(projected: torch.Tensor, attn: Attention) -> torch.Tensor:
    """`(B, L, heads d)` to `(B, heads, L, d)`."""
    return projected.unflatten(2, (attn.heads, -1)).transpose(1, 2)


def _maps(query: torch.Tensor, key: torch.Tensor, attn: Attention) -> torch.Tensor:
    """Softmax over the keys, in float32 as in the fused kernels: `(B, heads, L, S)` in the query's type."""
    dtype = query.dtype
    if attn.upcast_attention:  # Stable Diffusion 2.1 overflows in half precision
        query, key = query.float(), key.float()
    scores = (query * attn.scale) @ key.transpose(2, 3)
    return torch.softmax(scores, dim=-1, dtype=torch.float32).to(dtype)
