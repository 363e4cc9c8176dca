"""One frozen backbone, many branches: LoRA adapters on its top layers, each with a head of its own where it needs one.

The layers below the branches, the trunk, are the same function for every branch. `SplitModel.trunk` computes their
output once; `SplitModel.top` runs the layers above for the branch that is active. What is the reference policy?
The backbone with no branch active, exactly. A branch may have fewer layers than the others: it begins at what the
reference computes there, which `SplitModel.raising` takes from the reference's own pass.

How a model is split: its decoder is called as it is, so masks, positions and caches stay the library's business.
For the trunk, a hook takes the input of the first branch layer and ends the forward pass there. For the top, the
layers below are replaced by ones that hand that input on. Replies to one prompt share a row (`shared_prompts`).

Self-checks on construction compare both with plain forward passes: an architecture that can't be split runs whole
(`top_layers` = all layers), one that doesn't take such rows reads every reply behind a prompt of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from personatune.errors import UserError
from personatune.model.fused_lora import fuse_lora
from personatune.model.last_layer import only_at
from personatune.model.lora import branch_config, critic_layers, read_tensors, save_adapter, top_layers
from personatune.model.self_checks import narrows_exactly, shares_exactly, splits_exactly
from personatune.model.shared_prompts import SharedRows, look_back
from personatune.settings import BranchConfig
from personatune.storage import replacing

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

_HEAD_FILE = "head.safetensors"


@dataclass(frozen=True)
class Trunk:
    """A batch of rows as a branch gets it.

    Attributes:
        rows: B rows of T tokens with N replies.
        hidden: B × T × H, what the backbone's lowest ``below`` layers give; None when that is none of them.
    """

    rows: SharedRows
    hidden: Tensor | None
    below: int


class _TrunkDone(Exception):  # noqa: N818  (no error: a way out)
    """Ends a forward pass where the trunk ends."""


class _Inject(nn.Module):
    """Stands in for the layers below: gives the trunk's output instead of computing it."""

    def __init__(self, hidden: Tensor | None) -> None:
        super().__init__()
        self.hidden = hidden

    def forward(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return hidden if self.hidden is None else self.hidden


class SplitModel:
    """A frozen backbone with named branches on its top layers.

    Attributes:
        top_layers: how many layers branches change; below them lies the trunk.
        critic_layers: how many of them PPO's critic is to change.
        layers: how many of them each branch changes.
        shares_prompts: whether replies to one prompt share a row; False where the architecture doesn't take its mask.
        trunk_memory: bytes of trunk output that may stay in memory (see `TrunkCache`).
        notes: what this architecture can't do, one line each, for the user.
        last_part: what the last layer computes at the wanted places only (see `at`); None: it computes them all.
    """

    def __init__(self, backbone: PreTrainedModel, branch: BranchConfig, *, share_prompts: bool = True) -> None:
        """Prepare a backbone for branches on its top ``branch.layers`` layers; all its own weights are frozen.

        Raises:
            UserError: more layers than there are, or an architecture without a list of layers.
        """
        self.backbone = backbone.requires_grad_(False)
        self.peft: PeftModel | None = None
        self.heads: dict[str, nn.Linear] = {}
        self.layers: dict[str, int] = {}
        layers = self._decoder_layers()
        self.top_layers = top_layers(branch, len(layers))
        self.critic_layers = critic_layers(branch, len(layers))
        self.total_layers = len(layers)
        self.trunk_memory = branch.trunk_memory_gb * 2**30
        self.notes: list[str] = []
        kind = self.backbone.config.model_type
        if not splits_exactly(self):
            self.top_layers = self.critic_layers = self.total_layers
            self.notes.append(f"{kind}: this architecture can't be split, so every branch computes all layers")
        self.shares_prompts = share_prompts and shares_exactly(self)
        if share_prompts and not self.shares_prompts:
            self.notes.append(
                f"{kind}: replies to one prompt can't share its encoding, so each reads a prompt of its own"
            )
        self.last_part: nn.Module | None = getattr(layers[-1], "mlp", None)
        if self.last_part is not None and not narrows_exactly(self):
            self.last_part = None
        self._branch = branch
        self._fingerprints: dict[int, str] = {}

    @property
    def trunk_layers(self) -> int:
        """How many layers lie below the branches."""
        return self.total_layers - self.top_layers

    @property
    def device(self) -> torch.device:
        return next(self.backbone.parameters()).device

    def add_branch(self, name: str, *, head: bool, seed: int, layers: int | None = None) -> None:
        """Add a branch that changes nothing yet; a head gives one number a token, zero at first.

        Args:
            layers: how many of the top layers it changes; None: all that branches may.
        """
        self.layers[name] = layers or self.top_layers
        settings = branch_config(self.backbone, self._decoder_layers()[self.below(name) :], self._branch)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            if self.peft is None:
                from peft import get_peft_model

                self.peft = get_peft_model(self.backbone, settings, adapter_name=name)
            else:
                self.peft.add_adapter(name, settings)
            fuse_lora(self.backbone)
        if head:
            self.heads[name] = nn.Linear(self.backbone.config.hidden_size, 1, device=self.device)
            nn.init.zeros_(self.heads[name].weight)
            nn.init.zeros_(self.heads[name].bias)

    def below(self, name: str) -> int:
        """Return how many layers lie below a branch."""
        return self.total_layers - self.layers[name]

    def parameters(self, name: str) -> list[nn.Parameter]:
        """Return what training a branch changes: its LoRA matrices and its head."""
        own = [weight for key, weight in self.backbone.named_parameters() if f".{name}." in key]
        return own + (list(self.heads[name].parameters()) if name in self.heads else [])

    @contextmanager
    def active(self, name: str | None) -> Iterator[None]:
        """Make one branch active inside the block; None is the backbone itself (the reference policy)."""
        if name is None:
            if self.peft is None:
                yield
            else:
                with self.peft.disable_adapter():
                    yield
            return
        if self.peft is None:
            raise KeyError(name)
        self.peft.set_adapter(name)
        yield

    def shares(self, tokens: int) -> bool:
        """Say whether a prompt and its longest reply, ``tokens`` together, may share a row with other replies."""
        return self.shares_prompts and tokens <= look_back(self.backbone.config)

    def trunk(self, rows: SharedRows) -> Trunk:
        """Run the layers that all branches share, without gradients."""
        if self.trunk_layers == 0:
            return Trunk(rows, None, 0)
        caught: list[Tensor] = []

        def stop(hidden_B_T_H: Tensor) -> None:
            caught.append(hidden_B_T_H)
            raise _TrunkDone

        with torch.no_grad(), suppress(_TrunkDone), self._reaching(self.trunk_layers, stop):
            self._decoder()(input_ids=rows.input_ids, use_cache=False, **rows.inputs(self.backbone.dtype))
        return Trunk(rows, caught[0], self.trunk_layers)

    @contextmanager
    def raising(self, trunk: Trunk, below: int) -> Iterator[list[Trunk]]:
        """Inside the block, let passes over a trunk leave it as they have it above ``below`` layers, at least its own.

        Every branch that begins there may be run on that, if the pass was without a branch (the reference's).
        """
        found: list[Trunk] = []
        with self._reaching(below, lambda hidden: found.append(Trunk(trunk.rows, hidden if below else None, below))):
            yield found

    @contextmanager
    def _reaching(self, layer: int, look: Callable[[Tensor], None]) -> Iterator[None]:
        """Inside the block, show ``look`` what comes into a layer, B × T × H."""

        def show(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            look(args[0] if args else kwargs["hidden_states"])

        hook = self._decoder_layers()[layer].register_forward_pre_hook(show, with_kwargs=True)
        try:
            yield
        finally:
            hook.remove()

    def top(self, trunk: Trunk) -> Tensor:
        """Run the layers above a trunk for the active branch; returns the last hidden states, B × T × H."""
        decoder = self._decoder()
        inputs: dict[str, Any] = {"use_cache": False, **trunk.rows.inputs(self.backbone.dtype)}
        if trunk.hidden is None:
            return decoder(input_ids=trunk.rows.input_ids, **inputs).last_hidden_state
        name, layers = self._layer_list()
        below = [_Inject(trunk.hidden), *(_Inject(None) for _ in range(trunk.below - 1))]
        setattr(decoder, name, nn.ModuleList([*below, *layers[trunk.below :]]))
        try:
            return decoder(inputs_embeds=trunk.hidden, **inputs).last_hidden_state
        finally:
            setattr(decoder, name, layers)

    def predicting(self, trunk: Trunk) -> Tensor:
        """Return the active branch's hidden states that predict the replies' tokens, M × H."""
        return self.at(trunk, trunk.rows.reading)

    def at_ends(self, trunk: Trunk) -> Tensor:
        """Return the active branch's hidden states at the replies' last tokens, N × H."""
        return self.at(trunk, trunk.rows.ends)

    def at(self, trunk: Trunk, places: Tensor) -> Tensor:
        """Return the active branch's hidden states at places among the B · T; the last layer computes no others."""
        with nullcontext() if self.last_part is None else only_at(self.last_part, places):
            return self.top(trunk).flatten(0, 1)[places]

    @property
    def token_bytes(self) -> int:
        """Return what the hidden state of one token takes."""
        return int(self.backbone.config.hidden_size * self.backbone.dtype.itemsize)

    def fingerprint(self, below: int) -> str:
        """Return a SHA-256 of what the lowest ``below`` layers compute with: frozen weights, and how many layers."""
        if below not in self._fingerprints:
            above = {id(weight) for layer in self._decoder_layers()[below:] for weight in layer.parameters()}
            found = hashlib.sha256(f"{self.backbone.config.model_type} {below}".encode())
            for name, weight in self._decoder().named_parameters():
                if id(weight) not in above and ".lora_" not in name:
                    own = name.replace(".base_layer.", ".")  # whether a branch adapts it or not
                    found.update(f"{own} {weight.dtype} {tuple(weight.shape)}".encode())
                    found.update(weight.detach().contiguous().cpu().flatten().view(torch.uint8).numpy())
            self._fingerprints[below] = found.hexdigest()
        return self._fingerprints[below]

    def logits(self, hidden: Tensor) -> Tensor:
        """Return next-token logits, … × V, of hidden states … × H; call it on the positions that need them only."""
        return self.backbone.get_output_embeddings()(hidden)

    def scalar(self, name: str, hidden: Tensor) -> Tensor:
        """Return a branch's head on hidden states: … × H → …"""
        return self.heads[name](hidden.float()).squeeze(-1)

    def save_branch(self, name: str, folder: Path) -> None:
        """Write a branch (adapter in PEFT's format, head as safetensors); all or nothing."""
        from safetensors.torch import save_file

        if self.peft is None:
            raise KeyError(name)
        with replacing(folder) as temporary:
            save_adapter(self.peft, temporary, name)
            if name in self.heads:
                save_file(self.heads[name].state_dict(), temporary / _HEAD_FILE, metadata={"format": "pt"})

    def load_branch(self, name: str, folder: Path) -> None:
        """Load a saved branch into one added under ``name``, head included, and verify that it is what was saved.

        Raises:
            UserError: no branch there, a file is damaged or missing, or it belongs to another backbone.
        """
        weights = read_tensors(folder / "adapter_model.safetensors")
        saved = {key.removeprefix("base_model.model."): value for key, value in weights.items()}
        if name in self.heads:
            saved |= {f"head.{key}": value for key, value in read_tensors(folder / _HEAD_FILE).items()}
        state = self.branch_tensors(name)
        if {key: value.shape for key, value in saved.items()} != {key: value.shape for key, value in state.items()}:
            raise UserError(
                f"{folder}: this branch was made for another backbone or other branch settings; "
                f"delete the stage's folder to train it again"
            )
        self.restore_branch(name, saved)

    def branch_tensors(self, name: str) -> dict[str, Tensor]:
        """Return a branch's weights by name (PEFT's names without the branch), for checkpoints; not copies."""
        tensors = {
            key.replace(f".{name}.", "."): weight.data
            for key, weight in self.backbone.named_parameters()
            if f".{name}." in key
        }
        if name in self.heads:
            tensors |= {f"head.{key}": value for key, value in self.heads[name].state_dict().items()}
        return tensors

    def restore_branch(self, name: str, tensors: dict[str, Tensor]) -> None:
        """Put back what `branch_tensors` gave."""
        with torch.no_grad():
            for key, weight in self.branch_tensors(name).items():
                weight.copy_(tensors[key])

    def _decoder(self) -> Any:
        return self.backbone.get_decoder()

    def _decoder_layers(self) -> nn.ModuleList:
        return self._layer_list()[1]

    def _layer_list(self) -> tuple[str, nn.ModuleList]:
        wanted = self.backbone.config.num_hidden_layers
        for name, module in self._decoder().named_children():
            if isinstance(module, nn.ModuleList) and len(module) == wanted:
                return name, module
        kind = self.backbone.config.model_type
        raise UserError(
            f"{kind}: no list of {wanted} decoder layers found in this architecture; use another base model"
        )


def pad_batch(sequences: Sequence[Sequence[int]], pad_id: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Right-pad token lists; returns ``input_ids`` and ``attention_mask``, both B × T."""
    width = max(len(sequence) for sequence in sequences)
    ids = torch.full((len(sequences), width), pad_id, dtype=torch.long)
    mask = torch.zeros((len(sequences), width), dtype=torch.long)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence, dtype=torch.long)
        mask[row, : len(sequence)] = 1
    return ids.to(device), mask.to(device)
