"""The critic: its network, its weights on disk, and other judges in its place."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.tiny_bert import save_tiny_bert

from personatune.errors import UserError
from personatune.judging.critic import Critic, load_judge, shipped_folder
from personatune.judging.critic_files import quantised, read_weights, restored, save_critic
from personatune.judging.critic_network import CriticNetwork

_WORDS = "[PAD] [UNK] [CLS] [SEP] i have a two dog cat dogs . not no am nurse teacher the is".split()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random BERT with a tokenizer of twenty words."""
    return save_tiny_bert(tmp_path_factory.mktemp("bert"), _WORDS, hidden=16, layers=3)


@pytest.fixture
def network(base: Path) -> CriticNetwork:
    torch.manual_seed(1)
    return CriticNetwork(str(base), alone=1).eval()


def card(base: Path, **changes: object) -> dict[str, object]:
    return {"base": str(base), "alone": 1, "temperature": 1.0, **changes}


def test_its_layers_give_the_numbers_of_transformers(network: CriticNetwork, base: Path) -> None:
    from transformers import AutoTokenizer, BertModel

    text = "i have a dog . i am not a nurse"
    ids = AutoTokenizer.from_pretrained(base)(text, return_tensors="pt")
    expected = BertModel.from_pretrained(base).eval()(**ids).last_hidden_state
    hidden = network.embeddings(ids["input_ids"], 0)
    for layer in [*network.lower, *network.upper]:
        hidden = layer(hidden, torch.zeros(1, 1, 1, hidden.shape[1]))
    torch.testing.assert_close(hidden, expected, atol=1e-5, rtol=1e-4)
    assert network.tokenizer.encode(text).ids == ids["input_ids"][0].tolist()


def test_logits_do_not_depend_on_the_other_pairs_of_the_batch(network: CriticNetwork) -> None:
    premises, hypotheses = ["i have a dog", "i am not a nurse . i have two dogs"], ["i have a cat . the cat", "no"]
    together = network(premises, hypotheses)
    alone = torch.cat([network([first], [second]) for first, second in zip(premises, hypotheses, strict=True)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_premise_and_hypothesis_have_their_own_places(network: CriticNetwork) -> None:
    assert not torch.allclose(network(["i have a dog"], ["i have a cat"]), network(["i have a cat"], ["i have a dog"]))


def test_a_sentence_is_read_once_for_each_role(network: CriticNetwork) -> None:
    first = network(["i have a dog"], ["no"])
    calls = []
    handle = network.embeddings.register_forward_hook(lambda *_: calls.append(1))
    again = network(["i have a dog"] * 2, ["no"] * 2)
    handle.remove()
    assert calls == []
    torch.testing.assert_close(again[0], first[0])


def test_training_changes_the_upper_layers_and_the_head_only(network: CriticNetwork) -> None:
    network.train()
    network(["i have a dog"], ["no"]).sum().backward()
    changed = {name.split(".")[0] for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert changed == {"upper", "head"}
    assert {name.split(".")[0] for name in network.trained_state()} == {"upper", "head"}


def test_eight_bits_are_within_half_a_step_of_every_weight() -> None:
    matrix = torch.randn(5, 7) * torch.tensor([[1e-3], [1.0], [50.0], [0.0], [1.0]])
    back = restored(quantised({"w": matrix, "b": matrix[0]}))
    step = matrix.abs().amax(dim=1, keepdim=True) / 127
    assert bool(((back["w"] - matrix).abs() <= step / 2 + 1e-9).all())
    assert torch.equal(back["b"], matrix[0])


def test_a_saved_critic_answers_as_before(network: CriticNetwork, base: Path, tmp_path: Path) -> None:
    save_critic(tmp_path, network.trained_state(), card(base))
    network.load_trained_state(read_weights(tmp_path / "critic.safetensors"))
    network.multiply_in_eight_bits({})
    pairs = [("i have a dog", "i have a cat"), ("i am a nurse", "i am not a nurse"), ("i have a dog", "i have a cat")]
    expected = torch.softmax(network([pair[0] for pair in pairs], [pair[1] for pair in pairs]), dim=-1).detach()
    critic = load_judge(str(tmp_path))
    found = critic.probabilities(pairs)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    assert critic.name.startswith("critic ")


def test_temperature_flattens_and_changes_no_verdict(network: CriticNetwork, base: Path, tmp_path: Path) -> None:
    save_critic(tmp_path / "hot", network.trained_state(), card(base, temperature=5.0))
    save_critic(tmp_path / "one", network.trained_state(), card(base))
    pairs = [("i have a dog", "no"), ("the cat is", "i am a teacher")]
    hot, one = (Critic(tmp_path / name).probabilities(pairs) for name in ("hot", "one"))
    assert (hot.argmax(axis=1) == one.argmax(axis=1)).all()
    assert (hot.max(axis=1) < one.max(axis=1)).all()


def test_no_pairs_are_an_empty_table(network: CriticNetwork, base: Path, tmp_path: Path) -> None:
    save_critic(tmp_path, network.trained_state(), card(base))
    assert Critic(tmp_path).probabilities([]).shape == (0, 3)


def test_weights_of_another_base_are_refused(network: CriticNetwork, base: Path, tmp_path: Path) -> None:
    save_critic(tmp_path, network.trained_state(), card(base, alone=2))
    with pytest.raises(UserError, match=r"critic\.safetensors: tensor .* doesn't fit this network"):
        Critic(tmp_path)


def test_damaged_weights_are_named(network: CriticNetwork, base: Path, tmp_path: Path) -> None:
    save_critic(tmp_path, network.trained_state(), card(base))
    (tmp_path / "critic.safetensors").write_bytes(b"not weights")
    with pytest.raises(UserError, match=r"critic\.safetensors: not the weights that critic\.json beside it tells of"):
        Critic(tmp_path)


def test_a_base_that_is_no_bert_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no base for a critic .*expected a folder of a BERT model"):
        CriticNetwork(str(tmp_path))


# --- other judges


def save_cross_encoder(folder: Path, base: Path, labels: list[str]) -> Path:
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    torch.manual_seed(2)
    config = BertConfig.from_pretrained(base, num_labels=3)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: number for number, label in enumerate(labels)}
    BertForSequenceClassification(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


def test_another_judges_label_order_is_read_from_its_config(base: Path, tmp_path: Path) -> None:
    pairs = [("i have a dog", "no"), ("i am a nurse", "i am a teacher")]
    straight = load_judge(str(save_cross_encoder(tmp_path / "a", base, ["entailment", "neutral", "contradiction"])))
    turned = load_judge(str(save_cross_encoder(tmp_path / "b", base, ["CONTRADICTION", "Entailment", "neutral"])))
    columns = straight.probabilities(pairs)  # same weights: entailment 0, neutral 1, contradiction 2
    np.testing.assert_allclose(turned.probabilities(pairs), columns[:, [1, 2, 0]], atol=1e-6)


def test_a_judge_whose_labels_have_no_names_is_refused(base: Path, tmp_path: Path) -> None:
    folder = save_cross_encoder(tmp_path, base, ["LABEL_0", "LABEL_1", "LABEL_2"])
    with pytest.raises(UserError, match="its labels are LABEL_0, LABEL_1, LABEL_2, expected entailment, neutral"):
        load_judge(str(folder))


def test_no_judge_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"judge .*nothing-here"):
        load_judge(str(tmp_path / "nothing-here"))


# --- the shipped critic


def test_the_shipped_critic_is_small_and_says_what_it_learnt_from() -> None:
    folder = shipped_folder()
    settings = json.loads((folder / "critic.json").read_text(encoding="utf-8"))
    assert (folder / "critic.safetensors").stat().st_size < 8_000_000
    assert {"trained_on", "measured", "settings", "fingerprint"} <= settings.keys()


@pytest.mark.parametrize(
    ("premise", "hypothesis", "label"),
    [
        ("i have two dogs.", "i just came back from walking my two dogs.", 0),
        ("i am a nurse.", "i work as a nurse.", 0),
        ("i love pizza.", "i hate pizza.", 2),
        ("my favorite color is blue.", "my favorite color is red.", 2),
        ("i am a nurse.", "i have two kids.", 1),
        ("i have a cat.", "how are you today?", 1),
    ],
)
def test_the_shipped_critic_knows_what_anyone_would(premise: str, hypothesis: str, label: int) -> None:
    assert int(load_judge().probabilities([(premise, hypothesis)])[0].argmax()) == label


def test_the_shipped_critic_is_right_on_hand_written_pairs() -> None:
    """775 hard pairs, written apart from all training data. Measured: 73.3 %; the goal is 75 (docs/critic.md)."""
    from personatune.data.pair_files import read_pairs
    from personatune.evaluation.judge_accuracy import judge_accuracy

    pairs = read_pairs(Path(__file__).parent / "persona_pairs.tsv").pairs
    assert judge_accuracy(load_judge(), pairs).accuracy(samples=100).value >= 0.72
