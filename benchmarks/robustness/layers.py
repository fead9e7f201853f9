"""A layer that several of the benchmarks' networks are made of."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class EncoderLayer(nn.Module):
    """Pre-norm self-attention and feed-forward of `growth` times the width."""

    def __init__(self, width: int, heads: int, *, growth: int = 2, eps: float = 1e-5) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.feed_norm = nn.LayerNorm(width, eps=eps), nn.LayerNorm(width, eps=eps)
        self.queries_keys_values, self.projection = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.expand, self.act, self.contract = (
            nn.Linear(width, growth * width),
            nn.GELU(),
            nn.Linear(growth * width, width),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        rows, count, width = tokens.shape
        mixed = self.queries_keys_values(self.attention_norm(tokens))
        mixed = mixed.reshape(rows, count, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(mixed[0], mixed[1], mixed[2])
        tokens = tokens + self.projection(attended.transpose(1, 2).reshape(rows, count, width))
        result: Tensor = tokens + self.contract(self.act(self.expand(self.feed_norm(tokens))))
        return result
