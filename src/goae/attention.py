"""Cross-attention as GOAE has it (arXiv 2303.12326, 3.2)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class CrossAttention(nn.Module):
    """Queries look at keys, then a feed-forward layer; normed in between, without scale and shift.

    Dropout is an option of the training alone and has no parameters.

    Args:
        channels: Of queries and keys.
        heads: Of attention.
        hidden: Width of the feed-forward layer.
        dropout: Share of values dropped while training.
    """

    def __init__(self, channels: int, *, heads: int = 4, hidden: int = 1024, dropout: float = 0.0) -> None:
        super().__init__()
        self.multihead_attn = nn.MultiheadAttention(channels, heads, dropout=dropout, batch_first=True)
        self.linear1 = nn.Linear(channels, hidden)
        self.linear2 = nn.Linear(hidden, channels)
        self.dropout = dropout

    def forward(self, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """`(N, Q, C)` and `(N, K, C)` to `(N, Q, C)`."""
        seen = self.multihead_attn(queries, keys, keys, need_weights=False)[0]
        x = F.layer_norm(queries + self._dropped(seen), queries.shape[-1:])
        return x + self._dropped(self.linear2(self._dropped(F.relu(self.linear1(x)))))

    def _dropped(self, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(x, self.dropout, self.training)
