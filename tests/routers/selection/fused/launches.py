"""What reaches a card's driver when the kernels are started again and again: a driver stands in that only takes notes.

Prints a line a launch: how often Triton looked for the kernel so far, and whether all of its arguments are those that
Triton gave the first time, but for the tensors, which are those of this time.

Axes: T tokens, E experts, K experts per token.
"""

import contextlib
from types import SimpleNamespace

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

from routers import get_selection_rule
from routers.selection.fused import launch
from routers.selection.fused.plan import plan_of

T, E, K = 5, 24, 2
launched, looked_for = [], []


class Launcher:
    """Takes what a compiled kernel is started with: grid, stream and handles first, then all parameters."""

    def __init__(self, source, metadata):
        self.parameters = len(source.fn.arg_names)

    def __call__(self, *arguments):
        launched.append((arguments[:3], arguments[-self.parameters :]))


CARD = SimpleNamespace(
    launcher_cls=Launcher,
    utils=SimpleNamespace(
        load_binary=lambda *_: (1, 1, 32, 0, 1024), get_device_properties=lambda _: {"max_shared_mem": 232448}
    ),
    get_current_target=lambda: GPUTarget("cuda", 90, 32),
    get_current_device=lambda: 0,
    get_current_stream=lambda _: 0,
)


def seen(run):
    """JITFunction.run, counted."""

    def counted(self, *arguments, **options):
        looked_for.append(self)
        return run(self, *arguments, **options)

    return counted


def main():
    driver.set_active(CARD)
    JITFunction.run = seen(JITFunction.run)
    torch.cuda.device_of = lambda tensor: contextlib.nullcontext()
    shifted = torch.empty(T * E + 1)[1:].view(T, E)  # not divisible by 16
    for name in ("softmax", "deepseek_v3", "gemma4"):
        rule = get_selection_rule(name)
        plan = plan_of(rule, E, K)
        bias = torch.zeros(E) if rule.has_bias else None
        factors = torch.ones(E) if rule.expert_scale else None
        for logits in (torch.randn(T, E), torch.randn(T, E), shifted, torch.randn(T, E).bfloat16(), torch.randn(T, E)):
            launched.clear()
            looked_for_before = len(looked_for)
            selected, weights = launch.select(plan, logits, bias, factors)
            grid, arguments = launched[-1]
            tensors = [logits, bias, factors, selected, weights]
            same = all(one is other for one, other in zip(arguments[: len(tensors)], tensors, strict=True))
            given = launch.constants(plan, logits.dtype, logits.dtype if bias is None else torch.float32, T)
            names = launch.select_forward.arg_names
            expected = [given[each] for each in names[len(tensors) + 1 :]]
            same &= list(arguments[len(tensors) :]) == [T, *expected] and grid == (T, 1, 1)
            launch.gradients(plan, logits, factors, selected, torch.randn_like(weights))
            looked = len(looked_for) - looked_for_before
            print(f"rule={name} dtype={logits.dtype} aligned={logits.data_ptr() % 16 == 0} looked={looked} same={same}")


if __name__ == "__main__":
    main()
