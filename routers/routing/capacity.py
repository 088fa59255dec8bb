"""How many rows an expert takes at most. Axes: T tokens, E experts, K experts per token."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from numbers import Real
from typing import overload

from torch import Tensor

FINEST = 10**6
"""The largest denominator of a factor, so that products of whole numbers stay within 64 bits."""


@dataclass(frozen=True)
class Capacity:
    """⌈factor · assignments / E⌉ rows for each expert (GShard, Lepikhin et al. 2020; Fedus et al. 2021, equation 3).

    In whole numbers: the factor is the decimal number that is written, 1.1 and not the float beside it, which would
    round a capacity of 11 up to 12. It is exact up to six decimals.

    Attributes:
        numerator, denominator: of the factor.
    """

    numerator: int
    denominator: int

    @classmethod
    def of(cls, factor: float | Fraction) -> Capacity:
        """Of a factor such as 1.25.

        Raises:
            ValueError: it is not finite, or not above 0.
        """
        if isinstance(factor, bool) or not isinstance(factor, Real) or not 0 < factor < math.inf:
            raise ValueError(f"capacity_factor is {factor}, expected a finite number above 0")
        exact = max(Fraction(str(factor)).limit_denominator(FINEST), Fraction(1, FINEST))
        return cls(exact.numerator, exact.denominator)

    @overload
    def rows(self, assignments: int, num_experts: int) -> int: ...

    @overload
    def rows(self, assignments: int | Tensor, num_experts: int) -> int | Tensor: ...

    def rows(self, assignments: int | Tensor, num_experts: int) -> int | Tensor:
        """Of each expert, for so many assignments: a number of the same kind, a tensor of whole numbers of a tensor."""
        return -(-assignments * self.numerator // (self.denominator * num_experts))

    def __str__(self) -> str:
        return str(self.numerator / self.denominator)
