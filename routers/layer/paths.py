"""How a bank of experts computes: several ways to the same result. Axes: N rows, E experts, D hidden size, O outputs.

A path says where it can work; the first that can, in the order in which they are registered, does. None of them changes
what experts are: `use_experts_path` sets one by hand, for tests and benchmarks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.autograd.forward_ad import unpack_dual

from routers.layer.grouped_linear import grouped_linear, grouped_mm, takes_grouped_mm
from routers.layer.products import Blocks, GroupedLinear, linear

if TYPE_CHECKING:
    from routers.layer.experts import Experts


@dataclass(frozen=True)
class ExpertsPath:
    """One way.

    Attributes:
        name: for `use_experts_path`.
        suits: (experts, rows (N, D)) -> whether it can, and is the faster one where it can.
        run: (experts, rows (N, D), expert_index (N,) non-decreasing) -> (N, D).
    """

    name: str
    suits: Callable[[Experts, Tensor], bool]
    run: Callable[[Experts, Tensor, Tensor], Tensor]


MANY_EXPERTS = 32
"""From so many on, what an expert costs beside its products is seen, and products over the whole bank are faster."""

PATHS: dict[str, ExpertsPath] = {}
"""All paths by name, in the order in which they are asked."""
_chosen: list[ExpertsPath] = []


def register_experts_path(path: ExpertsPath) -> ExpertsPath:
    """Add a path behind the others.

    Raises:
        ValueError: the name is taken.
    """
    if PATHS.setdefault(path.name, path) is not path:
        raise ValueError(f"experts' path {path.name!r} is already registered")
    return path


@contextmanager
def use_experts_path(name: str) -> Iterator[None]:
    """Inside, all experts compute by the path of that name, whether it suits or not.

    Raises:
        ValueError: an unknown name; the message lists those that exist.
    """
    if name not in PATHS:
        raise ValueError(f"unknown experts' path {name!r}; there are: {', '.join(PATHS)}")
    _chosen.append(PATHS[name])
    try:
        yield
    finally:
        _chosen.pop()


def path_for(experts: Experts, rows: Tensor) -> ExpertsPath:
    """The path that is set, or the first that suits."""
    return _chosen[-1] if _chosen else next(path for path in PATHS.values() if path.suits(experts, rows))


def _through_maps(experts: Experts, rows: Tensor, index: Tensor, product: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The network of all experts at once, from a product with each row's own matrix."""

    def linear(x: Tensor, name: str) -> Tensor:
        found = product(x, getattr(experts, f"{name}_weight"))
        bias: Tensor | None = getattr(experts, f"{name}_bias", None)
        return found if bias is None else found + bias.index_select(0, index).to(found.dtype)

    return experts.network(rows, linear)


def _in_graph(experts: Experts, rows: Tensor, index: Tensor) -> Tensor:
    return _through_maps(experts, rows, index, lambda x, weight: grouped_linear(x, weight, index))


def _on_device(experts: Experts, rows: Tensor, index: Tensor) -> Tensor:
    return _through_maps(experts, rows, index, lambda x, weight: grouped_mm(x, weight, index))


def _whole_bank(experts: Experts, rows: Tensor, index: Tensor) -> Tensor:
    blocks = Blocks.of(index, experts.num_experts)
    return _through_maps(experts, rows, index, lambda x, weight: GroupedLinear.apply(x, weight, blocks))  # type: ignore[no-untyped-call]


def _each_expert(experts: Experts, rows: Tensor, index: Tensor) -> Tensor:
    blocks = Blocks.of(index, experts.num_experts)
    if not blocks.experts:  # of no row the result still belongs to the graph of the parameters
        blocks = Blocks([0], [0])
    # `pick` unbinds with gradients: its backward stacks the experts' gradients once instead of summing E full banks.
    banks = {name: blocks.pick(bank) for name, bank in experts.named_banks()}
    outputs = []
    for place, x in enumerate(blocks.split(rows)):

        def through(x: Tensor, name: str, place: int = place) -> Tensor:
            bias = banks.get(f"{name}_bias")
            return linear(x, banks[f"{name}_weight"][place], None if bias is None else bias[place])

        outputs.append(experts.network(x, through))
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def _suits_whole_bank(experts: Experts, rows: Tensor) -> bool:
    """A gradient is wanted, or many experts have few rows each, and nothing is in the way that sees operators.

    Autocast is, which would cast the experts without rows as well, and so are subclasses and dual numbers.
    """
    if not torch.is_grad_enabled():
        return MANY_EXPERTS <= experts.num_experts <= rows.shape[0] and not torch.is_autocast_enabled(rows.device.type)
    banks = [bank for _, bank in experts.named_banks()]
    return (
        (rows.requires_grad or any(bank.requires_grad for bank in banks))
        and not torch.is_autocast_enabled(rows.device.type)
        and type(rows) is Tensor
        and all(type(bank) in (Tensor, nn.Parameter) for bank in banks)
        and unpack_dual(rows).tangent is None  # type: ignore[no-untyped-call]
    )


def _on_gpu_by_offsets(experts: Experts, rows: Tensor) -> bool:
    return rows.device.type == "cuda" and all(
        takes_grouped_mm(rows, bank) for name, bank in experts.named_banks() if name.endswith("_weight")
    )


register_experts_path(ExpertsPath("graph", lambda *_: torch.compiler.is_compiling(), _in_graph))
register_experts_path(ExpertsPath("grouped_mm", _on_gpu_by_offsets, _on_device))
register_experts_path(ExpertsPath("whole_bank", _suits_whole_bank, _whole_bank))
register_experts_path(ExpertsPath("each_expert", lambda *_: True, _each_expert))
