"""Pretrained encoders: contextual embeddings, and an MoE layer in place of a feed-forward network."""
