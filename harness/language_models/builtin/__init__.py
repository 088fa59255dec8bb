"""The language model that needs no hub: a dense model out of a GGUF file, upcycled into experts."""
