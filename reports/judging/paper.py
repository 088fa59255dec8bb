"""What the paper prints (arXiv 2506.16419), as strings, so that the unit of the last digit is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

TITLE = "Optimizing MoE Routers"
NUMBER = "2506.16419"
"""On arXiv."""
ADDRESS = f"https://arxiv.org/abs/{NUMBER}"
HARDWARE = "NVIDIA A100 40 GB (III-E1)"


@dataclass(frozen=True)
class Printed:
    """A number as it stands in the paper."""

    text: str
    definition_open: bool = False

    @property
    def value(self) -> float:
        """The number itself."""
        return float(self.text.replace(",", ""))

    @property
    def half_unit(self) -> float:
        """Half a unit of the last printed digit: what rounding may have taken or added."""
        _, _, decimals = self.text.partition(".")
        return 0.5 * 10.0 ** -len(decimals)


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper: where it stands, at which sizes, and quantity -> our router name -> printed number."""

    locator: str
    sizes: Mapping[str, int]
    values: Mapping[str, Mapping[str, Printed]]

    def get(self, quantity: str, router: str) -> Printed | None:
        """The printed number, or None where the paper has none."""
        return self.values[quantity].get(router)

    @property
    def routers(self) -> tuple[str, ...]:
        """Our names of the routers in the table."""
        return tuple(dict.fromkeys(router for column in self.values.values() for router in column))


@dataclass(frozen=True)
class Curve:
    """Training losses that the paper prints in its text: where, and step -> printed number."""

    locator: str
    losses: Mapping[int, Printed]


# Our names -> the paper's. Its parameter table says “Hadamard” where its other tables say “MLP-Hadamard”.
NAMES = {
    "linear": "Linear",
    "attention": "Attention",
    "mlp": "MLP",
    "hybrid": "Hybrid",
    "mlp_hadamard": "MLP-Hadamard",
    "hash": "Hash",
    "self_supervised": "Self-Supervised",
}

_RANDOM_ROUTERS = ("linear", "attention", "mlp", "hybrid", "mlp_hadamard", "hash")
_SUPPLEMENTAL_ROUTERS = ("linear", "attention", "mlp", "hybrid", "hash", "self_supervised")


def _column(routers: tuple[str, ...], numbers: str, open_for: tuple[str, ...] = ()) -> dict[str, Printed]:
    printed = zip(routers, numbers.split(), strict=True)
    return {router: Printed(text, definition_open=router in open_for) for router, text in printed}


PARAMETERS = PaperTable(
    locator="section IV, table of parameter sizes",
    sizes={"hidden_size": 768, "num_experts": 8},
    values={"parameters": _column(_RANDOM_ROUTERS, "6,144 49,664 101,000 55,810 101,000 0")},
)

RANDOM_INPUT = PaperTable(
    locator="section IV-1, table “Random Initialization”",
    sizes={"hidden_size": 768, "num_experts": 8, "top_k": 2},
    values={
        "latency_ms": _column(_RANDOM_ROUTERS, "0.07 0.29 0.23 0.58 0.88 85.0"),
        "token_entropy": _column(_RANDOM_ROUTERS, "1.9513 2.0793 2.0769 2.0476 1.1003 0.0000"),
        "mean_top_2_prob": _column(_RANDOM_ROUTERS, "0.2129 0.1273 0.1361 0.1686 0.4152 0.5000"),
    },
)

# The paper does not give this table's sizes: 32 tokens of width 64 are our inference, so the width is not compared.
SUPPLEMENTAL = PaperTable(
    locator="supplemental table",
    sizes={"num_experts": 8, "top_k": 2},
    values={
        "token_entropy": _column(_SUPPLEMENTAL_ROUTERS, "2.0680 2.0793 2.0793 2.0767 0.0000 0.6146"),
        "mean_top_2_prob": _column(_SUPPLEMENTAL_ROUTERS, "0.1486 0.1271 0.1277 0.1368 0.5000 0.5000"),
        "output_std": _column(
            _SUPPLEMENTAL_ROUTERS, "0.03083 0.02950 0.06820 0.03197 0.03213 0.02987", open_for=_SUPPLEMENTAL_ROUTERS
        ),
        "aux_loss": _column(
            _SUPPLEMENTAL_ROUTERS,
            "0.00126 0.00125 0.00125 0.00126 0.00229 0.00218",
            open_for=("hash", "self_supervised"),
        ),
    },
)


def _curve(locator: str, numbers: str) -> Curve:
    return Curve(locator, {10 * (place + 1): Printed(text) for place, text in enumerate(numbers.split())})


# Qwen1.5-MoE with LoRA, 100 lines of Tiny Shakespeare; learning rates and LoRA's alpha are not given.
FINE_TUNING = {
    "linear": _curve("V-A", "1.9086 0.1569 0.0027 0.0009 0.0006"),
    "attention": _curve("V-B", "9.645 6.0565 3.5086 1.7095 0.7318"),
}
