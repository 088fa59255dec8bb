"""GPTQ models: made, loaded whole or refused."""
