"""The trunk cache: the same bits from memory and disk, an interrupted one goes on, another model's is refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from personatune.errors import UserError
from personatune.model.branches import SplitModel, Trunk
from personatune.model.shared_prompts import SharedRows
from personatune.model.shared_replies import Filed, SharedReplies
from personatune.model.trunk_cache import TrunkCache
from personatune.settings import BranchConfig

if TYPE_CHECKING:
    from tests.conftest import TinyModels

ITEMS = [([5 + number % 4] * (5 + number % 4 * 3), [9 + number] * (1 + number % 6)) for number in range(40)]
SMALL = 40  # tokens a batch: several files


class Counting(SplitModel):
    """Counts the passes through the trunk."""

    passes = 0

    def trunk(self, rows: SharedRows) -> Trunk:
        self.passes += 1
        return super().trunk(rows)


def split_of(tiny: TinyModels, *, memory_gb: float, seed: int = 0, family: str = "llama") -> Counting:
    branch = BranchConfig(layers=2, rank=4, alpha=8, trunk_memory_gb=memory_gb)
    split = Counting(tiny.model(family, layers=4, seed=seed), branch)
    split.passes = 0
    return split


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = SharedReplies.buckets
    monkeypatch.setattr(SharedReplies, "buckets", lambda self, units=None, tokens=SMALL: plain(self, units, tokens))


def read(cache: TrunkCache) -> list[Tensor]:
    """Everything in the cache, in batches that take prompts apart."""
    batches = [list(range(start, len(ITEMS), 7)) for start in range(7)]
    found = [cache.batch(numbers).hidden for numbers in batches]
    assert all(hidden is not None for hidden in found)
    return [hidden for hidden in found if hidden is not None]


@pytest.mark.parametrize("share", [0.0, 0.5])  # everything on disk, half of it
def test_a_spilled_cache_gives_the_same_bits_as_one_in_memory(
    tiny: TinyModels, tmp_path: Path, family: str, share: float
) -> None:
    memory = split_of(tiny, memory_gb=2.0, family=family)
    in_memory = TrunkCache(memory, ITEMS, 0, folder=tmp_path / "none")
    assert not (tmp_path / "none").exists()
    size = in_memory.tokens * memory.token_bytes
    disk = split_of(tiny, memory_gb=share * size / 2**30, family=family)
    on_disk = TrunkCache(disk, ITEMS, 0, folder=tmp_path / "trunk")
    kept = sum(isinstance(piece.kept[2], Tensor) for piece in on_disk.pieces)
    assert kept == 0 if share == 0 else 0 < kept < len(on_disk.pieces)
    for mine, theirs in zip(read(on_disk), read(in_memory), strict=True):
        assert torch.equal(mine, theirs)
    on_disk.clear()
    assert not (tmp_path / "trunk").exists()


def test_what_is_cached_is_what_is_computed(tiny: TinyModels, family: str) -> None:
    split = split_of(tiny, memory_gb=2.0, family=family)
    cache, anew = TrunkCache(split, ITEMS, 0), SharedReplies(split, ITEMS, 0)
    for numbers in ([3, 1, 39, 7], [0], list(range(40))):
        mine, theirs = cache.batch(numbers), anew.batch(numbers)
        assert mine.hidden is not None
        assert theirs.hidden is not None
        assert torch.equal(mine.rows.input_ids, theirs.rows.input_ids)
        seen = mine.rows.segments >= 0
        assert torch.allclose(mine.hidden[seen], theirs.hidden[seen], atol=1e-4)


def test_the_trunk_runs_once_however_often_it_is_read(tiny: TinyModels) -> None:
    split = split_of(tiny, memory_gb=2.0)
    told: list[int] = []
    cache = TrunkCache(split, ITEMS, 0, advance=told.append)
    assert split.passes == len(cache.buckets()) == len(told)
    assert sum(told) == len(ITEMS)
    for _ in range(3):
        read(cache)
    assert split.passes == len(told)


@pytest.mark.parametrize("share", [0.0, 1.25, 2.0])  # of one height: all on disk, a part of the upper one, nothing
def test_what_a_higher_branch_begins_at_is_kept_under_the_same_limit(
    tiny: TinyModels, tmp_path: Path, family: str, share: float
) -> None:
    size = sum(piece.tokens for piece in SharedReplies(split_of(tiny, memory_gb=2.0), ITEMS, 0).pieces) * 32 * 4
    split = split_of(tiny, memory_gb=share * size / 2**30, family=family)
    cache = TrunkCache(split, ITEMS, 0, folder=tmp_path / "trunk")
    for numbers in cache.buckets():
        trunk = cache.batch(numbers)
        with torch.no_grad(), split.raising(trunk, 3) as raised:
            split.top(trunk)
        cache.keep(numbers, trunk)  # of the trunk's own height: there already
        cache.keep(numbers, raised[0])
    passes = split.passes
    filed = {below: sum(isinstance(piece.kept[below], Filed) for piece in cache.pieces) for below in (2, 3)}
    if share == 0.0:
        assert filed == {2: len(cache.pieces), 3: len(cache.pieces)}
    else:
        assert filed[2] == 0
        assert filed[3] == 0 if share == 2.0 else 0 < filed[3] < len(cache.pieces)
    assert cache.in_memory == (share == 2.0)
    for numbers in ([3, 1, 39, 7], [0], list(range(40))):
        upper, lower = cache.batch(numbers, 3), cache.batch(numbers)
        assert upper.hidden is not None
        with torch.no_grad(), split.raising(lower, 3) as expected:
            split.top(lower)
        assert expected[0].hidden is not None
        seen = upper.rows.segments >= 0
        assert torch.allclose(upper.hidden[seen], expected[0].hidden[seen], atol=1e-4)
    assert split.passes == passes
    cache.clear()
    assert not (tmp_path / "trunk").exists()


def test_an_interrupted_cache_goes_on_where_it_was(tiny: TinyModels, tmp_path: Path) -> None:
    def interrupt(count: int) -> None:
        done.append(count)
        if len(done) == 3:
            raise KeyboardInterrupt

    done: list[int] = []
    first = split_of(tiny, memory_gb=0.0)
    with pytest.raises(KeyboardInterrupt):
        TrunkCache(first, ITEMS, 0, folder=tmp_path, advance=interrupt)
    assert len(list(tmp_path.iterdir())) == 3
    again = split_of(tiny, memory_gb=0.0)
    cache = TrunkCache(again, ITEMS, 0, folder=tmp_path)
    assert again.passes == len(cache.buckets()) - 3
    whole = TrunkCache(split_of(tiny, memory_gb=2.0), ITEMS, 0)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(read(cache), read(whole), strict=True))


def test_a_trunk_cache_from_another_model_is_a_users_error(tiny: TinyModels, tmp_path: Path) -> None:
    TrunkCache(split_of(tiny, memory_gb=0.0), ITEMS, 0, folder=tmp_path / "trunk")
    other = split_of(tiny, memory_gb=0.0, seed=1)
    with pytest.raises(UserError, match=r"trunk-2-000000\.safetensors: a trunk cache from another model") as caught:
        TrunkCache(other, ITEMS, 0, folder=tmp_path / "trunk")
    assert str(caught.value).endswith(f"delete {tmp_path / 'trunk'} to have it made again")


def test_a_trunk_of_another_height_is_another_model(tiny: TinyModels) -> None:
    model = tiny.model(layers=4)
    low, high = (SplitModel(model, BranchConfig(layers=layers, rank=4, alpha=8)) for layers in (3, 2))
    assert low.fingerprint(1) != high.fingerprint(2)
    other = SplitModel(tiny.model(layers=4), BranchConfig(layers=2, rank=8, alpha=8))
    assert other.fingerprint(2) == high.fingerprint(2)


def test_training_a_branch_leaves_the_trunks_fingerprint_alone(tiny: TinyModels, family: str) -> None:
    fresh, trained = split_of(tiny, memory_gb=1.0, family=family), split_of(tiny, memory_gb=1.0, family=family)
    trained.add_branch("policy", head=True, seed=1)
    with torch.no_grad():
        for weight in trained.parameters("policy"):
            weight.add_(1.0)
    assert trained.fingerprint(2) == fresh.fingerprint(2)
    assert trained.fingerprint(3) == fresh.fingerprint(3)  # where a branch on fewer layers would begin


@pytest.mark.parametrize("damage", [b"", b"no safetensors"])
def test_damaged_files_and_those_of_other_tokens_are_made_again(
    tiny: TinyModels, tmp_path: Path, damage: bytes
) -> None:
    others = [(prompt, [token + 1 for token in reply]) for prompt, reply in ITEMS]
    TrunkCache(split_of(tiny, memory_gb=0.0), others, 0, folder=tmp_path)
    (tmp_path / "trunk-2-000001.safetensors").write_bytes(damage)
    cache = TrunkCache(split_of(tiny, memory_gb=0.0), ITEMS, 0, folder=tmp_path)
    whole = TrunkCache(split_of(tiny, memory_gb=2.0), ITEMS, 0)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(read(cache), read(whole), strict=True))


def test_branches_on_the_whole_model_have_no_trunk_to_keep(tiny: TinyModels, tmp_path: Path) -> None:
    split = SplitModel(tiny.model(layers=4), BranchConfig(layers="all", rank=4, alpha=8, trunk_memory_gb=0.0))
    cache = TrunkCache(split, ITEMS, 0, folder=tmp_path / "trunk")
    assert cache.batch([1, 2]).hidden is None
    assert not (tmp_path / "trunk").exists()
