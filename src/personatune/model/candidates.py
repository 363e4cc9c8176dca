"""How likely a model finds each of many replies to one context: the context is encoded once, beginnings are shared.

The replies of a record hang behind their context as a tree: replies that begin alike ("i am a …") share the tokens they
begin with. One forward pass reads the tree as one row without padding; a 4D mask lets every token see the context and
its own reply, and its position is its depth. What the context of the record before had in common stays in the
key-value cache, so the next turn of a dialogue encodes only what is new.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from personatune.dialogue import RankingTask
from personatune.model.lean_decoder import lean_decoder
from personatune.model.prompts import PromptFormat
from personatune.model.row_cache import RowCache
from personatune.model.shared_prompts import additive_mask

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_ROW_TOKENS = 1024  # of replies in one row: the mask grows with the square of it
_LOGIT_ROWS = 256  # positions whose logits are held at once: V numbers each
_TOLERANCE = 1e-2  # nats; rounding in half precision stays below, a mask that is not honoured does not


class CandidateScorer:
    """Ranks replies by their mean token log-likelihood in context; it is a `personatune.dialogue.Rank`.

    The end token counts as a token of the reply: to answer in these words the model must also stop there. Replies are
    divided by their number of tokens, so long ones are not punished for being long.

    It belongs to the weights of the model it was made with: make a new one after a change of them.

    Attributes:
        shares_contexts: False where the architecture doesn't take a tree mask; then every reply is read on its own.
    """

    def __init__(self, model: PreTrainedModel, prompts: PromptFormat, *, share_contexts: bool = True) -> None:
        self.model = model
        self.prompts = prompts
        self._kept_prompt: list[int] = []
        self._kept_layers: list[tuple[Tensor, Tensor]] = []
        self._lean = lean_decoder(model) if share_contexts else None
        self._kept_row = RowCache(self._lean, 1) if self._lean else None
        self.shares_contexts = share_contexts and self._takes_tree_masks()

    def __call__(self, tasks: Sequence[RankingTask]) -> list[list[float]]:
        """Return the mean token log-likelihood in nats of every candidate of every task, in order.

        Old turns are dropped where context and longest candidate don't fit the model's length together: all
        candidates of a task are judged in the same context.

        Raises:
            UserError: a persona with a candidate takes more than the model's length.
        """
        return [self._scores(task) for task in tasks]

    def _scores(self, task: RankingTask) -> list[float]:
        replies = {text: tuple(self.prompts.encode_reply(text)) for text in task.candidates}
        prompt = self.prompts.encode_prompt(task.context, reserve=max(map(len, replies.values())))
        # Equal replies are scored once, so that rounding never tells duplicates apart: they tie.
        scores = self.score_tokens(prompt, list(dict.fromkeys(replies.values())))
        by_tokens = dict(zip(dict.fromkeys(replies.values()), scores, strict=True))
        return [by_tokens[replies[text]] for text in task.candidates]

    @torch.inference_mode()
    def score_tokens(self, prompt: Sequence[int], replies: Sequence[Sequence[int]]) -> list[float]:
        """Return the mean token log-likelihood of each reply (tokens with the end token) behind a prompt."""
        longest = max(map(len, replies))
        if not self.shares_contexts or len(prompt) + longest > self._window():
            return [self._plain(prompt, reply) for reply in replies]
        scores: list[float] = []
        begin = 0
        while begin < len(replies):
            end, tokens = begin, 0
            while end < len(replies) and (end == begin or tokens + len(replies[end]) <= _ROW_TOKENS):
                tokens += len(replies[end])
                end += 1
            scores += self._tree_scores(list(prompt), replies[begin:end])
            begin = end
        return scores

    def _plain(self, prompt: Sequence[int], reply: Sequence[int]) -> float:
        """Score one reply the textbook way: context and reply in one plain forward pass."""
        ids = torch.tensor([[*prompt, *reply]], device=self.model.device)
        logits_T_V = self.model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1].float()
        logprobs = torch.log_softmax(logits_T_V, dim=-1).gather(1, ids[0, len(prompt) :, None])
        return float(logprobs.mean())

    def _tree_scores(self, prompt: list[int], replies: Sequence[Sequence[int]]) -> list[float]:
        tree = _Tree.of(replies)
        hidden_T_H = self._lean_hidden(prompt, tree) if self._lean else self._library_hidden(prompt, tree)
        device = self.model.device
        rows = {-1: 0} | {node: row for row, node in enumerate(tree.inner, start=1)}  # -1 is the end of the context
        predicting = torch.tensor([rows[parent] for parent in tree.parents], device=device)
        logprobs = self._logprobs(hidden_T_H, predicting, torch.tensor(tree.tokens, device=device))
        return [float(np.mean(logprobs[path])) for path in tree.paths]

    def _lean_hidden(self, prompt: list[int], tree: _Tree) -> Tensor:
        """Return the hidden states at the end of the context and at the tree's inner nodes, (1 + inner) × H."""
        assert self._kept_row is not None
        kept = _common(self._kept_prompt, prompt)
        self._kept_prompt = []  # until the cache holds the new one
        self._kept_row.lengths = [kept]
        new = prompt[kept:]
        tokens = [*new, *(tree.tokens[node] for node in tree.inner)]
        depths = [tree.depths[node] for node in tree.inner]
        hidden_T_H = self._kept_row.read_tree(0, tokens, depths, torch.from_numpy(tree.mask(0, 0)))
        self._kept_prompt = prompt
        return hidden_T_H[len(new) - 1 :]

    def _library_hidden(self, prompt: list[int], tree: _Tree) -> Tensor:
        from transformers import DynamicCache

        kept = _common(self._kept_prompt, prompt)
        cache = DynamicCache()
        for layer, (keys, values) in enumerate(self._kept_layers if kept else []):
            cache.update(keys[:, :, :kept], values[:, :, :kept], layer)
        device = self.model.device
        new = prompt[kept:]
        ids = [*new, *(tree.tokens[node] for node in tree.inner)]
        positions = [*range(kept, len(prompt)), *(len(prompt) + tree.depths[node] for node in tree.inner)]
        seen = torch.from_numpy(tree.mask(kept, len(new)))
        hidden_T_H = (
            self.model.get_decoder()(
                input_ids=torch.tensor([ids], device=device),
                attention_mask=additive_mask(seen[None].to(device), self.model.dtype),
                position_ids=torch.tensor([positions], device=device),
                past_key_values=cache,
                use_cache=True,
            )
            .last_hidden_state[0, len(new) - 1 :]
        )  # fmt: skip
        self._kept_prompt = prompt
        self._kept_layers = [
            (layer.keys[:, :, : len(prompt)], layer.values[:, :, : len(prompt)]) for layer in cache.layers
        ]
        return hidden_T_H

    def _logprobs(self, hidden_T_H: Tensor, predicting_N: Tensor, tokens_N: Tensor) -> NDArray[np.float64]:
        """Return the log-probability of each of N tokens from the hidden state at the row that predicts it."""
        head = self._lean.logits if self._lean else self.model.get_output_embeddings()
        logprobs_N = torch.empty(len(tokens_N), dtype=torch.float64)
        for start in range(0, len(hidden_T_H), _LOGIT_ROWS):
            logits_R_V = head(hidden_T_H[start : start + _LOGIT_ROWS]).float()
            here = (predicting_N >= start) & (predicting_N < start + _LOGIT_ROWS)
            rows = predicting_N[here] - start
            logprobs = logits_R_V[rows, tokens_N[here]] - logits_R_V.logsumexp(dim=-1)[rows]
            logprobs_N[here.cpu()] = logprobs.double().cpu()
        return logprobs_N.numpy()

    def _window(self) -> float:
        """Return how many tokens a layer can look back on; a tree mask stands for full attention."""
        return getattr(self.model.config, "sliding_window", None) or float("inf")

    def _takes_tree_masks(self) -> bool:
        """Compare the tree with plain passes on a few tokens, in two calls so that the cache is tried too."""
        words = min(self.model.config.vocab_size, 97)
        prompt = [(7 * index + 3) % words for index in range(6)]
        replies = [[5 % words, 11 % words, 2 % words], [5 % words, 13 % words], [17 % words, 11 % words, 1 % words]]
        try:
            with torch.inference_mode():
                plain = [self._plain(start, reply) for start in (prompt, [*prompt, 4]) for reply in replies]
                tree = [score for start in (prompt, [*prompt, 4]) for score in self._tree_scores(start, replies)]
        except (TypeError, AttributeError, RuntimeError, ValueError, KeyError, IndexError, NotImplementedError):
            return False  # an architecture that wants another mask or another cache: replies are read one by one
        finally:
            self._kept_prompt, self._kept_layers = [], []
        return bool(np.allclose(plain, tree, rtol=0, atol=_TOLERANCE))


@dataclass
class _Tree:
    """Replies as a tree of N tokens: replies share the nodes of their common beginnings.

    Attributes:
        tokens: of each node.
        parents: node before each node; -1 is the end of the context.
        depths: 0 for first tokens.
        inner: nodes with something behind them: only these are read, the rest is only predicted.
        paths: the nodes of each reply, in order.
    """

    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    inner: list[int] = field(default_factory=list)
    paths: list[list[int]] = field(default_factory=list)

    @classmethod
    def of(cls, replies: Sequence[Sequence[int]]) -> _Tree:
        tree = cls()
        nodes: dict[tuple[int, int], int] = {}
        for reply in replies:
            path: list[int] = []
            for depth, token in enumerate(reply):
                parent = path[-1] if path else -1
                node = nodes.setdefault((parent, token), len(tree.tokens))
                if node == len(tree.tokens):
                    tree.tokens.append(token)
                    tree.parents.append(parent)
                    tree.depths.append(depth)
                path.append(node)
            tree.paths.append(path)
        tree.inner = sorted(set(tree.parents) - {-1})
        return tree

    def mask(self, kept: int, new: int) -> NDArray[np.bool_]:
        """Return who sees whom, (new + inner) × (kept + new + inner): context tokens first, then the tree."""
        context = kept + new
        seen = np.zeros((new + len(self.inner), context + len(self.inner)), dtype=np.bool_)
        seen[:new, :context] = np.tri(new, context, kept, dtype=np.bool_)
        seen[new:, :context] = True
        rows = {node: row for row, node in enumerate(self.inner)}
        for row, node in enumerate(self.inner):  # parents come before their children
            if self.parents[node] >= 0:
                seen[new + row, context:] = seen[new + rows[self.parents[node]], context:]
            seen[new + row, context + row] = True
        return seen


def _common(old: Sequence[int], new: Sequence[int]) -> int:
    """Return how many tokens both begin with; the last new token is always encoded, its hidden state is needed."""
    limit = min(len(old), len(new) - 1)
    return next((index for index in range(limit) if old[index] != new[index]), limit)
