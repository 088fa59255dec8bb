"""Fine-tunes a Mixture-of-Experts language model with its routers replaced: LoRA on the attention, routers in full."""
