"""Lets transformers record what a gate of ours gives as router logits, which its auxiliary loss is made of."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from harness.replacement.families import form_of
from harness.replacement.gate_hooks import refuse_lost_gradient

KEY = "router_logits"


def record_logits(gate: Any) -> None:
    """Have a gate's router logits recorded whenever a model records router logits; a second call does nothing.

    transformers finds its own gates by their class when it records for the first time, and hangs a hook on each. Ours
    hangs there from the beginning, before it is known whether anything will be recorded.
    """
    if gate.form.recorded is not None and _record not in gate._forward_hooks.values():
        gate.register_forward_hook(_record)


def record_original(gate: nn.Module) -> None:
    """Hang transformers' own hook on a gate of its own that was away when it hung the others; once."""
    from transformers.utils.output_capturing import install_output_capuring_hook

    hooks = [getattr(hook, "__name__", "") for hook in gate._forward_hooks.values()]
    recorded = form_of(gate).recorded
    if recorded is not None and "output_capturing_hook" not in hooks:
        install_output_capuring_hook(gate, KEY, recorded)


def _record(gate: Any, arguments: tuple[Any, ...], output: tuple[Tensor, ...] | Tensor) -> None:
    from transformers.utils.output_capturing import _active_collector

    # A recording that torch.compile has traced is a plain variable; one from outside is a context variable, which it
    # cannot read: asking it costs the model its one graph, so it is asked only where somebody records.
    if torch.compiler.is_compiling() and not _active_collector.compiling and not _recording_outside():
        return
    collected = _active_collector.get()  # type: ignore[no-untyped-call]  # transformers has no type for it
    if collected is not None and KEY in collected:
        logits = output if isinstance(output, Tensor) else output[gate.form.recorded]
        collected[KEY].append(refuse_lost_gradient(logits))


def _recording_outside() -> bool:
    from transformers.utils.output_capturing import _active_collector

    return _active_collector.context_var.get() is not None


# What `torch.compiler.assume_constant_result` does, which imports all of the compiler: a second of every process.
_recording_outside._dynamo_marked_constant = True  # type: ignore[attr-defined]  # a function of ours
