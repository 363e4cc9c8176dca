"""Pairs a second of the critic and seconds to load it, beside transformers' own BERT layers on the same pairs.

Both read the same tokens at the same positions with the same weights. Ours multiplies integers, so that the
probabilities differ a little; both must give the same verdict on 98 % of the pairs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from personatune.data.pair_files import hand_written_pairs, hand_written_scenes, read_pairs
from personatune.data.persona_pairs import SentencePair
from personatune.judging.critic import Critic, shipped_folder
from personatune.judging.critic_files import read_weights
from personatune.judging.critic_network import BERT_NAMES, MAX_TOKENS, CriticNetwork
from personatune.judging.eight_bits import integers_pay
from personatune.judging.encoder import load_encoder
from sides.command import benchmark

_LOAD = (
    "from personatune.judging.critic import load_judge; load_judge().probabilities([('i have a dog', 'no dogs here')])"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=Path, help="premise⇥hypothesis⇥label lines; default: the package's own")
    parser.add_argument("--count", type=int, default=1000, help="pairs of each kind")
    arguments = parser.parse_args()
    sets = {
        "persona pairs": hand_written_pairs()[: arguments.count],
        "scenes, in SNLI's manner": hand_written_scenes()[: arguments.count],
        "scenes, no sentence twice": _no_sentence_twice(hand_written_scenes())[: arguments.count],
    }
    if arguments.pairs:
        sets = {arguments.pairs.name: read_pairs(arguments.pairs).pairs[: arguments.count]}
    table = Table(
        "pairs", "n", "distinct sentences", "critic, pairs/s", "transformers, pairs/s", "ratio", "same verdict"
    )
    critic = Critic(shipped_folder())
    for name, labelled in sets.items():
        pairs = sorted({(pair.premise, pair.hypothesis) for pair in labelled}, key=lambda pair: sum(map(len, pair)))
        ours, seconds = _timed(lambda pairs=pairs: Critic(shipped_folder()).probabilities(pairs))
        theirs, peer = _timed(lambda pairs=pairs: _plain(critic, pairs))
        same = float((torch.from_numpy(ours).argmax(1) == theirs.argmax(1)).float().mean())
        assert same >= 0.98, f"not the same work: only {same:.1%} of the verdicts agree"
        table.add_row(
            name,
            str(len(pairs)),
            str(len({text for pair in pairs for text in pair})),
            f"{len(pairs) / seconds:.0f}",
            f"{len(pairs) / peer:.0f}",
            f"{peer / seconds:.2f}",
            f"{same:.1%}",
        )
    console = Console()
    console.print(table)
    console.print(f"Products of {'8-bit integers' if integers_pay() else 'the same integers as float32'}.")
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", _LOAD], check=True)
    fresh = time.perf_counter() - started
    _, again = _timed(lambda: Critic(shipped_folder()))
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    alone = time.perf_counter() - started
    console.print(
        f"From a cold start to the first verdict {fresh:.1f} s, of which `import torch` takes {alone:.1f} s; loading "
        f"alone {again:.2f} s. {torch.get_num_threads()} threads, torch {torch.__version__}."
    )


def _no_sentence_twice(pairs: list[SentencePair]) -> list[SentencePair]:
    """Pairs whose sentences stand in no other: nothing that was read can be read again from memory."""
    seen: set[str] = set()
    kept = []
    for pair in pairs:
        if not seen & {pair.premise, pair.hypothesis}:
            seen |= {pair.premise, pair.hypothesis}
            kept.append(pair)
    return kept


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started


def _plain(critic: Critic, pairs: list[tuple[str, str]]) -> torch.Tensor:
    """The same network by transformers' layers: every sentence read anew for every pair it stands in."""
    network = CriticNetwork("embedded", critic.card["alone"]).eval()
    network.load_trained_state(read_weights(shipped_folder() / "critic.safetensors"))
    _, encoder = load_encoder("embedded")
    layers = encoder.encoder.layer
    for number, layer in enumerate(network.upper, start=len(network.lower)):
        _copy(layer, layers[number])
    rows = []
    with torch.inference_mode():
        for start in range(0, len(pairs), 64):
            batch = pairs[start : start + 64]
            sides = [network.tokenizer.encode_batch([pair[side] for pair in batch]) for side in (0, 1)]
            hidden, masks = [], []
            for role, side in enumerate(sides):
                ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row.ids) for row in side], batch_first=True)
                mask = torch.arange(ids.shape[1])[None] < torch.tensor([len(row.ids) for row in side])[:, None]
                places = (torch.arange(ids.shape[1]) + role * MAX_TOKENS).expand_as(ids)
                read = encoder.embeddings(input_ids=ids, token_type_ids=torch.full_like(ids, role), position_ids=places)
                hidden.append(_run(layers[: len(network.lower)], read, mask))
                masks.append(mask)
            together, split = torch.cat(hidden, dim=1), masks[0].shape[1]
            together = _run(layers[len(network.lower) :], together, torch.cat(masks, dim=1))
            means = [
                (part * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
                for part, mask in ((together[:, :split], masks[0]), (together[:, split:], masks[1]))
            ]
            features = [together[:, 0], *means, (means[0] - means[1]).abs(), means[0] * means[1]]
            logits = network.head(torch.cat(features, dim=-1)) / critic.card["temperature"]
            rows.append(torch.softmax(logits, dim=-1))
    return torch.cat(rows)


def _run(layers: torch.nn.ModuleList, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    bias = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(hidden.dtype).min)[:, None, None, :]
    for layer in layers:
        output = layer(hidden, bias)
        hidden = output[0] if isinstance(output, tuple) else output
    return hidden


def _copy(ours: torch.nn.Module, theirs: torch.nn.Module) -> None:
    """Give a transformers layer the weights of one of ours."""
    state = ours.state_dict()
    plain = {
        f"{name}.{part}": state[f"{own}.{part}"] for own, name in BERT_NAMES.items() for part in ("weight", "bias")
    }
    for part in ("weight", "bias"):
        chunks = state[f"qkv.{part}"].chunk(3)
        plain |= {
            f"attention.self.{name}.{part}": chunk
            for name, chunk in zip(("query", "key", "value"), chunks, strict=True)
        }
    theirs.load_state_dict(plain)


if __name__ == "__main__":
    benchmark(main)
