"""How much GPU memory a vision-language model needs under vLLM, and how it may be divided: pure arithmetic.

In: an `Architecture` (the numbers of a model's config.json), a `Format` of its weights. Out: `Memory` per GPU, and the
numbers of GPUs that can share the model; `core.gpu_fit` finds settings with it.

The rule, per GPU, in bytes:

    weights   matrices of the language model at the format's bytes, everything else at 2, divided by the GPUs that
              share the model; the vision tower whole on each GPU (vLLM's --mm-encoder-tp-mode data)
    cache     2 (keys and values) × layers × KV heads of this GPU × head size × 2 bytes × tokens
    overhead  1.5 × the largest intermediate results of one step, and 1 GiB for CUDA graphs and libraries, another
              one for the communication buffers when GPUs share a model

Weights and cache are exact: a public start log of vLLM 0.10.2 with LLaVA-v1.6-mistral-7b says 14.08 GiB and 451,744
tokens in 55.15 GiB, the rule 14.09 GiB and 451,789. The overhead is an upper bound: the same log has 2.71 GiB in all
(1.97 activations, 0.07 libraries, 0.67 graphs), the rule 4.1; Qwen3-235B-A22B-FP8 on four H100
(github.com/vllm-project/vllm/issues/21348) leaves 8.11 GiB of 71.3 for the cache beside 55 GiB of weights, 8.2 in all,
the rule 8.5. What it
never does: promise. Other processes on the GPU are not known here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

GIB = 1 << 30
MIB = 1 << 20
PLAIN_BYTES = 2
"""Of a bfloat16 or float16 number: unquantised weights, activations, the cache."""
LOGIT_BYTES = 4
SAMPLER_COPIES = 5
"""Logits of every running request, in float32: themselves, sorted, the order (8 bytes), probabilities."""
SAFETY = 1.5
GRAPHS = GIB
COMMUNICATION = GIB
DRIVER = GIB
"""Of what nvidia-smi calls a card's memory, never there for PyTorch: 0.3 GiB (RTX 4090) to 0.9 GiB (A100, H100)."""
PARALLEL_SIZES = (1, 2, 4, 8)
"""GPUs that share a model: those of one node."""
BATCHED_TOKENS = (8192, 2048)
"""vLLM's defaults for one step on cards from 70 GiB, and on others (EngineArgs.get_batch_defaults, 0.32)."""

# nvidia-smi's memory.total in MiB of the smallest card sold under a size in GB: T4, A10, A100-40G, L40S, H100, H200.
KNOWN_CARDS_MIB = {16: 15360, 24: 23028, 40: 40960, 48: 46068, 80: 81559, 141: 143771}
CARDS_GB = (16, 24, 40, 80, 141)
"""The sizes that tables are made for."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """What a model is made of; the names are those of its config.json where it has one."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    """Of the dense MLP."""
    vocabulary: int
    context: int
    """Tokens it was made for: max_position_embeddings."""
    tied: bool
    """Input and output embeddings are one matrix."""
    vision_parameters: int
    """Vision tower and what connects it."""
    vision_hidden: int
    vision_intermediate: int
    image_patches: int
    """Of the largest image the preprocessor lets through."""
    image_tokens: int
    """Of that image, in the prompt."""
    qk_norm: bool = False
    qkv_bias: bool = False
    deepstack: int = 0
    """Layers of the vision tower whose features go to the language model beside the last one's."""
    experts: int = 0
    active_experts: int = 0
    expert_intermediate: int = 0

    @property
    def embeddings(self) -> int:
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def attention_matrices(self) -> int:
        """Parameters of one layer's attention: queries, keys, values, output."""
        return self.hidden * self.head_dim * 2 * (self.heads + self.kv_heads)

    @property
    def matrices(self) -> int:
        """Parameters in the matrices of all layers: what a quantised format makes smaller."""
        mlp = self.experts * self.expert_intermediate if self.experts else self.intermediate
        return self.layers * (self.attention_matrices + 3 * self.hidden * mlp)

    @property
    def small(self) -> int:
        """Parameters of norms, biases and the experts' router."""
        norms = 2 * self.hidden + (2 * self.head_dim if self.qk_norm else 0)
        biases = (self.heads + 2 * self.kv_heads) * self.head_dim if self.qkv_bias else 0
        return self.layers * (norms + biases + self.hidden * self.experts) + self.hidden

    @property
    def parameters(self) -> int:
        return self.embeddings + self.matrices + self.small + self.vision_parameters

    @property
    def active_parameters(self) -> int:
        """Those that one token of text passes through."""
        if not self.experts:
            return self.parameters
        idle = self.layers * 3 * self.hidden * (self.experts - self.active_experts) * self.expert_intermediate
        return self.parameters - idle


@dataclass(frozen=True, slots=True)
class Format:
    """How the matrices of the language model are stored; all else stays at 2 bytes."""

    matrix_bytes: float
    """Per parameter, scales and zero points included."""
    block: int
    """Inputs that share a scale: GPUs that share a matrix get whole blocks. 1: not quantised."""
    capability: float
    """Least compute capability of a GPU that vLLM runs it on."""
    fast_capability: float
    """Least compute capability that computes in it; below it, only the weights are stored so."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on each GPU."""

    weights: int
    cache: int
    overhead: int

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.overhead


def card_bytes(gigabytes: float) -> int:
    """The memory of a card sold as one of so many GB, as nvidia-smi reports it. A size that is not in the table counts
    as decimal gigabytes, which no card is below by more than the driver's share."""
    known = KNOWN_CARDS_MIB.get(int(gigabytes)) if float(gigabytes).is_integer() else None
    return known * MIB if known else int(gigabytes * 10**9)


def weight_bytes(model: Architecture, form: Format) -> int:
    """Of the whole model."""
    rest = model.embeddings + model.small + model.vision_parameters
    return math.ceil(model.matrices * form.matrix_bytes) + rest * PLAIN_BYTES


def weight_bytes_per_gpu(model: Architecture, form: Format, tensor_parallel: int) -> int:
    vision = model.vision_parameters * PLAIN_BYTES
    return math.ceil((weight_bytes(model, form) - vision) / tensor_parallel) + vision


def cache_bytes_per_token(model: Architecture, tensor_parallel: int) -> int:
    """On each GPU. A head is never split: GPUs beyond the number of KV heads hold copies."""
    heads = max(1, model.kv_heads // tensor_parallel)
    return 2 * model.layers * heads * model.head_dim * PLAIN_BYTES


def overhead_bytes(model: Architecture, tensor_parallel: int, sequences: int, batched_tokens: int) -> int:
    """Beside weights and cache, on each GPU; an upper bound.

    The largest of: the vision tower on the largest image (or as many small ones as go into one step); the language
    model on one step's tokens while the images' features wait, and the sampler.
    """
    if model.experts:  # experts are spread over the GPUs or split: the hidden states of every choice are there anyway
        mlp = model.active_experts * (2 * model.hidden + 3 * math.ceil(model.expert_intermediate / tensor_parallel))
    else:
        mlp = 3 * math.ceil(model.intermediate / tensor_parallel)
    language = batched_tokens * (4 * model.hidden + mlp) * PLAIN_BYTES
    patches = max(model.image_patches, batched_tokens * model.image_patches // model.image_tokens)
    vision = patches * (model.vision_intermediate + 7 * model.vision_hidden) * PLAIN_BYTES
    image_tokens = max(model.image_tokens, batched_tokens)
    features = image_tokens * model.hidden * (1 + model.deepstack) * PLAIN_BYTES
    sampler = sequences * model.vocabulary * LOGIT_BYTES * SAMPLER_COPIES
    largest = max(vision + features, features + language + sampler)
    return math.ceil(SAFETY * largest) + GRAPHS + (COMMUNICATION if tensor_parallel > 1 else 0)


def memory_needed(
    model: Architecture,
    form: Format,
    *,
    tokens: int,
    tensor_parallel: int = 1,
    sequences: int = 16,
    batched_tokens: int = BATCHED_TOKENS[-1],
) -> Memory:
    """Per GPU, with ``tokens`` in the cache (of all requests together)."""
    return Memory(
        weight_bytes_per_gpu(model, form, tensor_parallel),
        tokens * cache_bytes_per_token(model, tensor_parallel),
        overhead_bytes(model, tensor_parallel, sequences, batched_tokens),
    )


def needs_expert_parallel(model: Architecture, form: Format, tensor_parallel: int) -> bool:
    """Whether quantised experts must be spread whole over the GPUs: split ones would cut blocks (192 inputs of each
    expert of the 235B on 8 GPUs; vLLM refuses that, validate_fp8_block_shape_moe)."""
    return bool(model.experts) and form.block > 1 and tensor_parallel > 1


def parallel_sizes(model: Architecture, form: Format) -> tuple[int, ...]:
    """Numbers of GPUs that can share the model: query heads divide evenly, KV heads divide or are copied evenly
    (vLLM's ModelConfig.verify_with_parallel_config), and no block of a quantised matrix is cut."""
    return tuple(size for size in PARALLEL_SIZES if _can_share(model, form, size))


def _can_share(model: Architecture, form: Format, size: int) -> bool:
    if model.heads % size or (model.kv_heads % size and size % model.kv_heads):
        return False
    if model.experts and needs_expert_parallel(model, form, size):
        return model.experts % size == 0
    inputs = (model.intermediate, model.heads * model.head_dim)
    return all(one % (size * form.block) == 0 for one in inputs) or size == 1
