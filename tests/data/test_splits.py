"""No persona sentence and no dialogue is ever in two splits."""

from hypothesis import given, settings
from hypothesis import strategies as st

from personatune.data.splits import Splits, leakage, sentence_key, split_by_persona
from personatune.dialogue import Dialogue, Persona, Perspective, Turn

TURNS = (Turn("A", "Hi!"), Turn("B", "Hello."))


def dialogue(number: int, first: set[str], second: set[str], split: str | None = None) -> Dialogue:
    personas = {name: Persona(tuple(sorted(traits))) for name, traits in (("A", first), ("B", second)) if traits}
    return Dialogue(str(number), TURNS, personas, split)


def views(splits: Splits) -> list[list[Perspective]]:
    return [splits.train, splits.validation, splits.test]


sentences = st.sets(st.integers(0, 40).map(lambda n: f"I own {n} cars."), max_size=4)
rows = st.lists(
    st.tuples(sentences, sentences, st.sampled_from([None, None, None, "train", "test", "validation"])), max_size=40
)


@settings(max_examples=60, deadline=None)
@given(rows, st.floats(0, 0.5), st.floats(0, 0.5), st.integers(0, 9))
def test_no_sentence_and_no_dialogue_crosses_and_every_perspective_is_accounted_for(
    rows: list[tuple[set[str], set[str], str | None]], validation: float, test: float, seed: int
) -> None:
    dialogues = [dialogue(number, *row) for number, row in enumerate(rows)]
    splits = split_by_persona(dialogues, validation, test, seed)
    assert leakage(splits) == []
    names = [{view.id.split("/")[0] for view in part} for part in views(splits)]
    assert sum(map(len, names)) == len(set.union(*names))
    placed = sum(map(len, views(splits))) + splits.dropped.total()
    assert placed == sum(len(list(d.perspectives())) for d in dialogues)
    official = {str(number) for number, row in enumerate(rows) if row[2] in ("test", "validation")}
    assert official.isdisjoint(names[0] | names[1])
    assert splits == split_by_persona(dialogues, validation, test, seed)


def test_distinct_personas_fill_the_shares() -> None:
    dialogues = [dialogue(n, set(), {f"I own {n} cars.", f"I have {n} cats."}) for n in range(200)]
    splits = split_by_persona(dialogues, 0.1, 0.2, 0)
    assert [len(part) for part in views(splits)] == [140, 20, 40]
    assert split_by_persona(dialogues, 0.1, 0.2, 1).test != splits.test


def test_a_sentence_everybody_shares_still_leaves_held_out_personas() -> None:
    chained = [dialogue(n, set(), {f"I own {n} cars.", f"I own {n + 1} cars."}) for n in range(100)]
    splits = split_by_persona(chained, 0.1, 0.1, 0)
    assert leakage(splits) == []
    assert len(splits.test) >= 10
    assert len(splits.validation) >= 10
    assert len(splits.train) >= 40
    assert sum(count for reason, count in splits.dropped.items() if "shares a persona sentence" in reason) > 0


def test_the_dialogue_of_a_held_out_partner_is_not_trained_on() -> None:
    dialogues = [dialogue(n, {f"I own {n} cars."}, {f"I have {n} cats."}) for n in range(100)]
    splits = split_by_persona(dialogues, 0.0, 0.2, 0)
    assert splits.dropped["dropped: the partner is held out"] > 0
    assert {v.id.split("/")[0] for v in splits.train}.isdisjoint(v.id.split("/")[0] for v in splits.test)


def test_leakage_sees_the_same_sentence_in_other_spelling() -> None:
    one, other = (Perspective(text, Persona((text,)), TURNS) for text in ("I'm 32.", "i m 32"))
    assert leakage(Splits([one], [], [other], split_by_persona([], 0, 0, 0).dropped)) == [sentence_key("I'm 32.")]
