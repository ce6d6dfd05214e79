"""The tiny Qwen3-VL before its training: a tokenizer its configuration, the files around the weights.

In: sizes. Out: values of transformers, and a folder that transformers and vLLM both load. Nothing is downloaded. The
architecture is Qwen3-VL's own (`Qwen3VLForConditionalGeneration`); only the sizes are small.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import Qwen3VLConfig
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX, Qwen2Tokenizer

END_OF_TEXT, END_OF_TURN = "<|endoftext|>", "<|im_end|>"
SPECIALS = (
    END_OF_TEXT,
    "<|im_start|>",
    END_OF_TURN,
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
EXTRA_TEXTS = (
    "system user assistant You are a helpful assistant.",
    "How many shapes are there? one two three four",
    "The image shows a picture of the background on a gray left right top bottom.",
    "Question: which of the following best describes what is shown? Please answer the question with a single letter.",
)
"""For the tokenizer only, so that words of other prompts are no heaps of single bytes."""

IMAGE_PROCESSOR = {
    "size": {"shortest_edge": 32 * 32, "longest_edge": 512 * 512},
    "patch_size": 16,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
VIDEO_PROCESSOR = IMAGE_PROCESSOR | {"size": {"shortest_edge": 4096, "longest_edge": 512 * 512 * 2}}
SAMPLING = {"do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.0}
"""The defaults of Qwen3-VL-Instruct's generation_config.json: a client that sends no sampling gets these."""


def make_tokenizer(texts: Iterable[str], vocabulary: int, chat_template: str) -> Qwen2Tokenizer:
    """Byte-level BPE behind Qwen2's splitting into words; the text's tokens first, then the special ones."""
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.NFC()
    words = pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated")
    bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trained.pre_tokenizer = pre_tokenizers.Sequence([words, bytes_of])
    trained.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator([*EXTRA_TEXTS, *texts], trainer)
    model = json.loads(trained.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=model["vocab"],
        merges=[tuple(merge) for merge in model["merges"]],
        model_max_length=32768,
        eos_token=END_OF_TURN,
        pad_token=END_OF_TEXT,
        unk_token=END_OF_TEXT,
    )
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIALS[1:])})
    tokenizer.chat_template = chat_template
    return tokenizer


def make_config(
    tokenizer: Qwen2Tokenizer,
    dtype: str,
    *,
    hidden: int = 128,
    layers: int = 3,
    vision_hidden: int = 64,
    vision_depth: int = 2,
    head_dim: int = 32,
) -> Qwen3VLConfig:
    """``head_dim``: vLLM's attention on CPUs takes 32, 64, 80, 96, …; its half is what ``mrope_section`` adds up to."""
    ids = token_ids(tokenizer)
    third = head_dim // 2 // 3
    text = {
        "vocab_size": -(-len(tokenizer) // 64) * 64,
        "hidden_size": hidden,
        "intermediate_size": 3 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": head_dim,
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
        "bos_token_id": ids[END_OF_TEXT],
        "eos_token_id": ids[END_OF_TURN],
        "pad_token_id": ids[END_OF_TEXT],
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "mrope_interleaved": True,
            "mrope_section": [head_dim // 2 - 2 * third, third, third],
        },
    }
    vision = {
        "depth": vision_depth,
        "hidden_size": vision_hidden,
        "intermediate_size": 2 * vision_hidden,
        "num_heads": 2,
        "in_channels": 3,
        "patch_size": 16,
        "temporal_patch_size": 2,
        "spatial_merge_size": 2,
        "out_hidden_size": hidden,
        "num_position_embeddings": 256,
        "deepstack_visual_indexes": [0],
    }
    config = Qwen3VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    config.architectures = ["Qwen3VLForConditionalGeneration"]
    for part in (config, config.text_config, config.vision_config):
        part.dtype = dtype
    return config


def token_ids(tokenizer: Qwen2Tokenizer) -> dict[str, int]:
    return {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIALS}


def write_checkpoint(folder: Path, model: Any, tokenizer: Qwen2Tokenizer, config: Qwen3VLConfig) -> None:
    """Everything that a server needs, the weights included."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    described = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    _write_json(folder / "tokenizer_config.json", described | {"processor_class": "Qwen3VLProcessor"})
    of_processor = {"processor_class": "Qwen3VLProcessor"}
    image = {"image_processor_type": "Qwen2VLImageProcessorFast"}
    video = {"video_processor_type": "Qwen3VLVideoProcessor"}
    _write_json(folder / "preprocessor_config.json", IMAGE_PROCESSOR | of_processor | image)
    _write_json(folder / "video_preprocessor_config.json", VIDEO_PROCESSOR | of_processor | video)
    _write_json(folder / "chat_template.json", {"chat_template": tokenizer.chat_template})
    ids = token_ids(tokenizer)
    ends = {"eos_token_id": [ids[END_OF_TURN], ids[END_OF_TEXT]]}
    begin = {"bos_token_id": ids[END_OF_TEXT], "pad_token_id": ids[END_OF_TEXT]}
    _write_json(
        folder / "generation_config.json", begin | ends | SAMPLING
    )  # save_pretrained wrote one without sampling
    config.save_pretrained(folder)


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")
