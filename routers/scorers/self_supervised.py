"""Self-supervised router, equations (20) to (22). Axes: T tokens, D hidden size, E experts, N pairs, F feature size."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from routers.logit_router import LogitRouter
from routers.parameters import normal_linear
from routers.precision import as_parameter_dtype
from routers.products import expert_product, in_blocks
from routers.registry import register_router


@register_router("self_supervised")
class SelfSupervisedRouter(LogitRouter):
    """s = g(x), p = softmax(W s + b) kept on its K largest and renormalised; g learns from InfoNCE.

    The paper leaves g open. Here it is LayerNorm, Linear(D, M), GELU, Linear(M, F): as wide as the MLP router, with
    features of the attention router's size. It is pre-trained with `pretrain`, or jointly with the model by adding
    `info_nce_loss` of two augmented views to the training loss.

    2·D + D·M + M + M·F + F + F·E + E parameters.

    Args:
        width: M.
        feature_size: F.
        **sizes_and_options: see `Router`.
    """

    weights_sum_to_one = True
    masks_logits = True

    def __init__(self, *, width: int = 128, feature_size: int = 64, **sizes_and_options: Any) -> None:
        super().__init__(**sizes_and_options)
        if width < 1 or feature_size < 1:
            raise ValueError(f"width is {width} and feature_size {feature_size}, expected both at least 1")
        self.features = nn.Sequential(
            nn.LayerNorm(self.hidden_size),
            normal_linear(self.hidden_size, width, bias=True),
            nn.GELU(),
            normal_linear(width, feature_size, bias=True),
        )
        self.logit_proj = normal_linear(feature_size, self.num_experts, bias=True)

    def extract(self, hidden_states: Tensor) -> Tensor:
        """Features s = g(x), equation (20): (…, D) -> (…, F)."""
        return self.features(as_parameter_dtype(hidden_states, self.logit_proj.weight))  # type: ignore[no-any-return]  # nn.Module calls are Any

    def unmasked_logits(self, hidden_states: Tensor) -> Tensor:
        """W s + b of equation (21) before its mask, (…, D) -> (…, E)."""
        return in_blocks(self._block_logits, hidden_states)

    def _block_logits(self, hidden_states: Tensor) -> Tensor:
        return expert_product(self.extract(hidden_states), self.logit_proj.weight, self.logit_proj.bias)

    def compute_router_logits(self, hidden_states: Tensor) -> Tensor:
        """(…, D) -> (…, E), −∞ outside the K largest: their softmax is the masked and renormalised distribution.

        That mask is a selection; where another rule selects, it has all logits.
        """
        logits = self.unmasked_logits(hidden_states)
        if not self.selection.is_softmax_top_k:
            return logits
        largest = logits.topk(self.top_k, dim=-1)
        return torch.full_like(logits, -torch.inf).scatter(-1, largest.indices, largest.values)


def info_nce_loss(features: Tensor, positives: Tensor, temperature: float = 0.1) -> Tensor:
    """Equation (22), mean over N pairs, with cosine similarity; a pair's negatives are the other pairs' positives.

    Shapes: (N, F), (N, F) -> ().
    """
    similarity = F.normalize(features, dim=-1) @ F.normalize(positives, dim=-1).T / temperature
    return F.cross_entropy(similarity, torch.arange(len(features), device=features.device))


def augment(
    hidden_states: Tensor, *, noise: float = 0.5, dropout: float = 0.1, generator: torch.Generator | None = None
) -> Tensor:
    """A view of each token, (N, D) -> (N, D): features dropped at random, noise in proportion to each one's spread."""
    spread = hidden_states.std(dim=0, correction=0)
    kept = torch.rand(hidden_states.shape, generator=generator, dtype=hidden_states.dtype) >= dropout
    disturbance = torch.randn(hidden_states.shape, generator=generator, dtype=hidden_states.dtype)
    return hidden_states * kept.to(hidden_states.device) + noise * spread * disturbance.to(hidden_states.device)


def pretrain(
    router: SelfSupervisedRouter,
    hidden_states: Tensor,
    *,
    steps: int = 100,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    temperature: float = 0.1,
    seed: int = 0,
) -> list[float]:
    """Train g on hidden states (T, D) so that two views of a token have like features and other tokens unlike ones.

    The head stays as it is. Same seed, same batches, same result.

    Returns:
        the InfoNCE loss of each step.

    Raises:
        ValueError: fewer than two tokens, or a batch size below two, which leave no negative.
    """
    if len(hidden_states) < 2:
        raise ValueError(f"pretrain needs at least 2 tokens, got {len(hidden_states)}")
    if batch_size < 2:
        raise ValueError(f"batch_size is {batch_size}, expected at least 2")
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(router.features.parameters(), lr=learning_rate)
    losses = []
    for _ in range(steps):
        choice = torch.randperm(len(hidden_states), generator=generator)[:batch_size]
        batch = hidden_states[choice.to(hidden_states.device)].detach()
        first, second = (router.extract(augment(batch, generator=generator)) for _ in range(2))
        loss = info_nce_loss(first, second, temperature)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimiser.step()
        losses.append(loss.item())
    return losses
