"""Batch captioning and VQA evaluation on GPU clusters."""

__version__ = "0.1.0"
