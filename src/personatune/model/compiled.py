"""Compiled decoder layers: one graph for all of them, so that compiling takes seconds and not minutes.

All layers of a model run the same code on weights of the same shapes. Compiled one by one they share one graph, of
which the batch and the length are free; the whole model would be thirty times the graph. What it saves is the passes
over memory between the matrix products.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from personatune.errors import UserError
from personatune.model.backbone import cache_folder

if TYPE_CHECKING:
    from transformers import PreTrainedModel

COMPILE_FLOPS = 20e12
"""Work from which on `auto` compiles.

Compiling a layer takes about 25 seconds of a slow core, once for a kind of model; it saves about a fifth of a step. At
the 100 GFLOP/s that two cores reach it has earned itself back after 1e13 operations; twice that leaves a gain. A rule
of planned work and not of a stopwatch, so that the same command always trains the same weights.
"""


@dataclass(frozen=True)
class CompileChoice:
    """Whether to compile, and why."""

    compile: bool
    reason: str


def choose_compilation(setting: Literal["auto", "on", "off"], planned_flops: float) -> CompileChoice:
    """Decide whether a run's layers are compiled.

    Raises:
        UserError: ``setting`` is "on" and there is no compiler.
    """
    if setting == "off":
        return CompileChoice(False, "sft.compile = off")
    if setting == "auto" and torch.cuda.is_available():
        return CompileChoice(False, "not measured on GPUs; sft.compile = on tries it")
    if setting == "auto" and planned_flops < COMPILE_FLOPS:
        return CompileChoice(
            False, f"{planned_flops / 1e12:.0f} TFLOP planned, compiling pays from {COMPILE_FLOPS / 1e12:.0f} on"
        )
    missing = _missing_compiler()
    if missing and setting == "on":
        raise UserError(f"sft.compile = on: {missing}; install a C++ compiler (g++ or clang++) or set sft.compile=auto")
    if missing:
        return CompileChoice(False, f"{missing}; with a C++ compiler training would be faster")
    return CompileChoice(True, "sft.compile = on" if setting == "on" else f"{planned_flops / 1e12:.0f} TFLOP planned")


def compile_layers(model: PreTrainedModel) -> None:
    """Let every decoder layer run compiled from its next call on; `eagerly` suspends it.

    The kernels are kept in the project's cache folder (``PERSONATUNE_CACHE``): a later run of the same kind of model
    needs no compiler any more.
    """
    from torch._functorch import config as autograd_config

    # One folder for each torch and personatune: their code is part of what was compiled.
    folder = cache_folder() / "compiled" / f"torch-{torch.__version__}-personatune-{version('personatune')}"
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
    autograd_config.enable_autograd_cache = True
    # The first layer's input would be the only one without a gradient, and cost a graph of its own.
    model.enable_input_require_grads()
    for layer in decoder_layers(model):
        layer.compile(dynamic=True)


def release_layers(model: PreTrainedModel) -> None:
    """Undo `compile_layers`."""
    model.disable_input_require_grads()
    for layer in decoder_layers(model):
        layer._compiled_call_impl = None


@contextmanager
def eagerly() -> Iterator[None]:
    """Run compiled layers uncompiled inside the block: for evaluation and sampling, which would need other graphs."""
    with torch.compiler.set_stance("force_eager"):
        yield


def decoder_layers(model: PreTrainedModel) -> nn.ModuleList:
    """Return the layers of a model's decoder.

    Raises:
        UserError: an architecture without a list of them.
    """
    wanted = model.config.get_text_config().num_hidden_layers
    for module in model.get_decoder().children():
        if isinstance(module, nn.ModuleList) and len(module) == wanted:
            return module
    raise UserError(f"{model.config.model_type}: no list of {wanted} decoder layers found; set sft.compile=off")


def _missing_compiler() -> str | None:
    """Say what torch.compile lacks on this machine, or None."""
    if torch.cuda.is_available():
        from torch.utils._triton import has_triton

        return None if has_triton() else "Triton isn't installed"
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except (InvalidCxxCompiler, RuntimeError):
        return "no C++ compiler found"
    return None
