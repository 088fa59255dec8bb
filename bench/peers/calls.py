"""Calls of ours and of peers, made ready in a fresh process. Axes: T tokens, D hidden size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from bench.case import Case
from bench.peers.modes import CALLS, forget_gradients
from bench.peers.works import Works
from bench.presets import Preset
from bench.timing.group import PreparedCall
from bench.timing.interleave import Call
from bench.timing.ways import floating_tensors, prepared


class PeerCalls:
    """Makes the calls ready.

    Args:
        preset: with the sizes that inputs name.
        device: of tokens and weights.
        ways: names of `WAYS` in which calls are made.
    """

    def __init__(self, preset: Preset, device: str, ways: Sequence[str] = ()) -> None:
        self._works = Works(preset, device)
        self._ways = ways

    def ready(self, case: Case) -> PreparedCall:
        """A subject's call in the work's mode; the gradients that it leaves are let go after each."""
        kind = self._works.kind(case.input)
        subject = self._works.work(case.input).subject(case.router)
        tokens = self._works.tokens(case.input)
        forget = partial(forget_gradients, subject)

        def prepare() -> Call:
            call = CALLS[kind.mode](subject, tokens)
            return _forgetting(call, forget) if self._ways and kind.gradients else call

        with torch.set_grad_enabled(kind.gradients):
            made = prepared(prepare, self._ways, None if kind.gradients else _outcome)
        forget()
        return replace(made, reset=forget if kind.gradients else None)


def _forgetting(call: Call, forget: Call) -> Call:
    """A call that begins without gradients: a captured one would add to those of the calls before, which are gone."""

    def forgotten() -> object:
        forget()
        return call()

    return forgotten


def _outcome(call: Call) -> list[Tensor]:
    """What a call returns, of several tensors each."""
    found = call()
    return [tensor for each in (found if isinstance(found, tuple) else (found,)) for tensor in floating_tensors(each)]
