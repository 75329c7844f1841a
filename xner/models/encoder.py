"""Loading pretrained encoders: a model folder in, weights and a fast tokenizer out.

Only safetensors are read and no code that comes with a model is run, so that a model is data.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from xner.errors import ConfigError

DEFAULT_WINDOW = 512

# The variable that Ray sets for its workers, and not for who connects to it.
_OF_RAY = "RAY_JOB_ID"

# What the variable that names a process's GPUs says where it is given none.
_NO_GPU = ("", "-1", "NoDevFiles")

Module = TypeVar("Module", bound=nn.Module)

logger = logging.getLogger(__name__)


def load_config(folder: Path) -> PretrainedConfig:
    """The folder's config.json. Raises ConfigError when it describes no model that we know."""
    with _broken(folder / "config.json", "cannot be loaded"):
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The folder's fast tokenizer, without truncation and padding of its own.

    Raises ConfigError where the folder has none or only one without character offsets.
    """
    with _broken(folder, "the tokenizer cannot be loaded"):
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    if not tokenizer.is_fast:
        raise ConfigError(
            f"{folder}: this tokenizer gives no character offsets; expected tokenizer.json"
        )
    for token in ("pad_token", "unk_token"):
        if getattr(tokenizer, token) is None:
            raise ConfigError(f"{folder}: the tokenizer has no {token}")
    # tokenizer.json may carry a truncation to, say, 128 sub-words: it would lose text silently.
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def load_weights(auto_class: Any, folder: Path) -> tuple[PreTrainedModel, frozenset[str]]:
    """`auto_class.from_pretrained` from safetensors, in fp32 on the CPU, with SDPA where supported.

    Also returns the names of the parameters that the folder lacks, which are newly initialised: it
    is the caller who knows whether they may be.
    """
    with _broken(folder, "the model cannot be loaded"), _quiet():
        model, info = auto_class.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    return model, frozenset(info["missing_keys"])


def save_weights(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write model and tokenizer as a Hugging Face folder (safetensors)."""
    with _quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


@contextmanager
def _broken(path: Path, what: str) -> Iterator[None]:
    """Reports whatever the libraries raise for files that are not as they wrote them."""
    try:
        yield
    # Of any class: tokenizers raises a bare Exception, a wrong type in a JSON leads to anything.
    except Exception as error:
        raise ConfigError(f"{path}: {what}: {type(error).__name__}: {error}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' progress bars, and its reports of weights that we look at ourselves."""
    verbosity = transformers_logging.get_verbosity()
    progress = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if progress:
            transformers_logging.enable_progress_bar()


def load_encoder(folder: Path) -> PreTrainedModel:
    """The bare encoder (no pooler, no head) of any model folder, in fp32 on the CPU."""
    encoder, missing = load_weights(AutoModel, folder)
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None
    lacking = [name for name in missing if not name.startswith("pooler.")]
    if lacking:
        raise ConfigError(
            f"{folder}: the weights lack {len(lacking)} parameters: {min(lacking)}, ..."
        )
    return encoder


def with_dropout(model: PreTrainedModel, share: float | None) -> PreTrainedModel:
    """The model itself, its dropout layers set to `share`; its config, which is saved, is not."""
    if share is not None:
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = share
            # ModernBERT's attention has a number and no layer.
            elif hasattr(module, "attention_dropout"):
                module.attention_dropout = share
    return model


def encoders_in(network: nn.Module) -> dict[str, PreTrainedModel]:
    """The Hugging Face models of a network by the prefix of their parameters' names.

    A model that is part of another one is not named: a tagger is one model, with its encoder in it.
    """
    found: dict[str, PreTrainedModel] = {}
    for name, module in network.named_modules():
        if isinstance(module, PreTrainedModel) and not name.startswith(tuple(found)):
            found[f"{name}." if name else ""] = module
    return found


def layers_of(encoder: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """The layers, the longest list of modules, and the prefix of their parameters' names.

    An encoder without such a list has none, under an empty prefix.
    """
    lists = {
        f"{name}.": module
        for name, module in encoder.named_modules()
        if isinstance(module, nn.ModuleList)
    }
    return max(lists.items(), key=lambda item: len(item[1]), default=("", nn.ModuleList()))


def pick_device(setting: str) -> torch.device:
    """`auto`: cuda if there, else cpu.

    Raises ConfigError for a cuda that is not there: asked for, or given to this process by Ray, as
    an actor gets the GPUs that it reserves.
    """
    if setting == "cpu" or torch.cuda.is_available():
        return torch.device("cpu" if setting == "cpu" else "cuda")
    if setting == "cuda":
        raise ConfigError("device = 'cuda', but torch finds no GPU here; 'auto' takes one if there")
    given = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if _OF_RAY in os.environ and given not in _NO_GPU:
        raise ConfigError(
            f"GPU {given} is reserved for this process (CUDA_VISIBLE_DEVICES), but torch "
            f"{torch.__version__} finds none: its build is without CUDA, or the driver does not "
            "suit it; to compute on CPUs, reserve no GPU, unset the variable, or set device = 'cpu'"
        )
    return torch.device("cpu")


def pick_precision(setting: str, device: torch.device) -> torch.dtype:
    """`auto`: bfloat16 where the hardware computes in it, else float32."""
    if setting == "auto":
        if device.type == "cuda":
            native = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            native = torch.backends.mkldnn.is_available() and (
                torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
            )
        return torch.bfloat16 if native else torch.float32
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[setting]


def compiled(module: Module, is_wanted: bool) -> Module:
    """The module, compiled for batches of any shape where that is wanted; it compiles when called.

    How long the first call took is logged.
    """
    if not is_wanted:
        return module
    compiled_forward = torch.compile(module.forward, dynamic=True)

    def first_forward(*arguments: Any, **named: Any) -> Any:
        started = time.perf_counter()
        result = compiled_forward(*arguments, **named)
        logger.info("compiled and called once in %.0f s", time.perf_counter() - started)
        module.forward = compiled_forward
        return result

    module.forward = first_forward
    return module


def window_length(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, wanted: int | None
) -> int:
    """Longest window in sub-words with special tokens: `wanted`, or else the limit up to 512.

    Raises ConfigError when `wanted` exceeds what the encoder's positions allow, or has no room for
    a sub-word of the text.
    """
    limit = min(
        getattr(model.config, "max_position_embeddings", None) or DEFAULT_WINDOW,
        tokenizer.model_max_length,
    )
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            # RoBERTa's kin count positions from the padding index on.
            unused = 0 if module.padding_idx is None else module.padding_idx + 1
            limit = min(limit, module.num_embeddings - unused)
    if wanted is not None and wanted > limit:
        raise ConfigError(
            f"max_length = {wanted}, but this encoder reads at most {limit} sub-words"
        )
    num_special = tokenizer.num_special_tokens_to_add()
    if wanted is not None and wanted <= num_special:
        raise ConfigError(
            f"max_length = {wanted} leaves no room beside {num_special} special tokens"
        )
    return wanted or min(limit, DEFAULT_WINDOW)
