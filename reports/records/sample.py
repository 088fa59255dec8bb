"""What the figures show of a router, typed: the JSON's `figures`."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field, model_validator

from reports.records.record import Amount, Count, Name, Number, Record, Text, expect_length
from reports.records.rules import above, falling, other_than, outside

PROBABILITIES_ROUNDING = 1e-5
"""Of each probability in a file's sample, which has five digits."""


class Histogram(Record):
    """Counts between edges, of which there is one more."""

    edges: tuple[Number, ...]
    counts: tuple[Amount, ...]

    def contradictions(self) -> Iterator[str | None]:
        """Bins lie side by side; a layer whose outputs are all equal has bins without width."""
        yield falling("edges", self.edges)

    @model_validator(mode="after")
    def _has_an_edge_more(self) -> Histogram:
        expect_length("edges", self.edges, len(self.counts) + 1)
        return self


class Sample(Record):
    """What the figures show: one sequence's probabilities and the layer's outputs, of the first seed."""

    sequence_probs: tuple[tuple[Number, ...], ...]
    sequence_tokens: tuple[Text, ...] | None = None
    outputs: dict[Name, Histogram] = Field(alias="output_histogram")
    pairs: tuple[tuple[Count, ...], ...] | None = Field(default=None, alias="expert_pairs")
    """(E, E) how many tokens have both experts, on the diagonal how many have one; None where that was not counted."""

    def contradictions(self) -> Iterator[str | None]:
        """A token's probabilities are shares of one whole, each rounded."""
        for index, row in enumerate(self.sequence_probs):
            path, rounding = f"sequence_probs[{index}]", PROBABILITIES_ROUNDING * len(row)
            yield from (outside(f"{path}[{place}]", prob, 0, 1, "0 and 1") for place, prob in enumerate(row))
            yield other_than(path, sum(row), 1, "the sum of a token's probabilities", tolerance=max(1e-4, rounding))
        pairs = self.pairs or ()
        for first, row in enumerate(pairs):
            expect_length(f"expert_pairs[{first}]", row, len(pairs))
            for second in range(first):
                path, found = f"expert_pairs[{first}][{second}]", row[second]
                yield other_than(path, found, pairs[second][first], "that of the two in the other order", tolerance=0)
                yield above(path, found, row[first], f"the number of tokens of expert {first}", tolerance=0)
                yield above(path, found, pairs[second][second], f"the number of tokens of expert {second}", tolerance=0)

    @model_validator(mode="after")
    def _has_a_row_a_token(self) -> Sample:
        if self.sequence_tokens:
            expect_length("sequence_tokens", self.sequence_tokens, len(self.sequence_probs))
        return self
