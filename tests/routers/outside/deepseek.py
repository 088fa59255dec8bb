"""DeepSeek-V3's rule behind a linear scorer, with its bias away from zero. Axes: E experts."""

import torch

from routers.scorers.linear import LinearRouter


class OutsideDeepSeekRouter(LinearRouter):
    """Sigmoid scores, a bias in the ranking, two of four groups."""

    def __init__(self, *, selection="deepseek_v3", num_groups=4, groups_kept=2, **sizes_and_options):
        super().__init__(selection=selection, num_groups=num_groups, groups_kept=groups_kept, **sizes_and_options)
        if self.selection.has_bias:
            self.selection_bias.copy_(torch.linspace(-0.3, 0.3, self.num_experts))
