"""No persona sentence and no dialogue is ever in two splits."""

import hashlib
from collections import Counter

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


@settings(max_examples=150, deadline=None)
@given(rows, st.floats(0, 0.5), st.floats(0, 0.5), st.integers(0, 9))
def test_numbered_personas_go_where_sets_of_sentences_would(
    rows: list[tuple[set[str], set[str], str | None]], validation: float, test: float, seed: int
) -> None:
    """Against the same rules written down with plain sets, one perspective at a time."""
    dialogues = [dialogue(number, *row) for number, row in enumerate(rows)]
    splits = split_by_persona(dialogues, validation, test, seed)
    found = {view.id: name for name in ("train", "validation", "test") for view in getattr(splits, name)}
    expected = plain_places(dialogues, validation, test, seed)
    assert found == {name: place for name, place in expected.items() if not place.startswith("dropped")}
    assert splits.dropped == Counter(place for place in expected.values() if place.startswith("dropped"))


def plain_places(dialogues: list[Dialogue], validation: float, test: float, seed: int) -> dict[str, str]:
    rows = [(one, view) for one in dialogues for view in one.perspectives()]
    keys = {view.id: frozenset(map(sentence_key, view.persona.traits)) for _, view in rows}
    place = {view.id: "test" for one, view in rows if one.split in ("test", "validation")}
    official = frozenset().union(*(keys[name] for name in place))
    for _, view in rows:
        if view.id not in place and keys[view.id] & official:
            place[view.id] = "dropped: shares a persona sentence with held-out rows of the source"
    free = [view.id for _, view in rows if view.id not in place]
    place |= dict.fromkeys(free, "train")
    wanted = {"test": 0.0 if official else test, "validation": validation}
    counts = {name: round(share * len(free)) for name, share in wanted.items()}
    if len(free) >= 3:
        counts = {name: max(1, count) if wanted[name] else 0 for name, count in counts.items()}
    filled = dict.fromkeys(counts, 0)
    trained = len(free)
    groups = sorted(plain_groups(free, keys), key=lambda group: order(min(min(keys[name]) for name in group), seed))
    for group in groups:
        for part in ("test", "validation"):
            fits = len(group) <= min(counts[part] - filled[part], max(1, counts[part] * 0.25))
            if fits and len(group) < trained:
                place |= dict.fromkeys(group, part)
                filled[part] += len(group)
                trained -= len(group)
                break
    for part in ("test", "validation"):
        if filled[part] < 0.5 * counts[part]:
            hold_out_rarest(part, counts[part] - filled[part], place, keys, seed)
    for one in dialogues:
        names = [view.id for view in one.perspectives()]
        strictest = next((part for part in ("test", "validation") if part in [place[name] for name in names]), None)
        for name in names:
            if strictest and place[name] in {"train", "validation"} - {strictest}:
                place[name] = "dropped: the partner is held out"
    return place


def plain_groups(names: list[str], keys: dict[str, frozenset[str]]) -> list[list[str]]:
    groups: list[tuple[set[str], list[str]]] = []
    for name in names:
        tied = [group for group in groups if group[0] & keys[name]]
        groups = [group for group in groups if group not in tied]
        members = [one for group in tied for one in group[1]]
        groups.append((set(keys[name]).union(*(group[0] for group in tied)), [*members, name]))
    return [members for _, members in groups]


def hold_out_rarest(part: str, count: int, place: dict[str, str], keys: dict[str, frozenset[str]], seed: int) -> None:
    training = [name for name, where in place.items() if where == "train"]
    uses = Counter(key for name in training for key in keys[name])
    personas = {keys[name] for name in training}
    ranked = sorted(
        personas, key=lambda one: (sum(uses[key] for key in one) / len(one), order(" ".join(sorted(one)), seed))
    )
    held: set[str] = set()
    taken = 0
    for persona in ranked[:-1]:
        if taken < count:
            held |= persona
            members = [name for name in training if keys[name] == persona]
            taken += len(members)
            place |= dict.fromkeys(members, part)
    for name in training:
        if place[name] == "train" and keys[name] & held:
            place[name] = part if keys[name] <= held else f"dropped: shares a persona sentence with {part}"


def order(text: str, seed: int) -> str:
    return hashlib.blake2b(f"{seed}/{text}".encode(), digest_size=8).hexdigest()
