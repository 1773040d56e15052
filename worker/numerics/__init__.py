"""Numerics: tensors in, frozen records out. No I/O, no queue, no web, no transformers."""
