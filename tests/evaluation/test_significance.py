"""Are two contenders told apart where they differ, and only there?"""

from __future__ import annotations

import math
import random

import pytest

from personatune.evaluation.results import Result, Tally, estimate_of
from personatune.evaluation.significance import compare_results, holm


def result(name: str, metric: str, tallies: list[Tally]) -> Result:
    items = [f"d{number}" for number in range(len(tallies))]
    return Result(name, "model", "probes", items, {}, {metric: tallies})


def test_a_constant_lead_on_the_same_items_is_significant_however_much_the_items_differ() -> None:
    hard = [random.Random(number).random() for number in range(40)]
    first = result("a", "f1", [(value + 0.02, 1) for value in hard])
    second = result("b", "f1", [(value, 1) for value in hard])
    [found] = compare_results([first, second], ["f1"], samples=2000)
    assert (found.first, found.second, found.n) == ("a", "b", 40)
    assert found.value == pytest.approx(0.02)
    assert found.low == pytest.approx(0.02)
    assert found.high == pytest.approx(0.02)
    assert found.significant


def test_equal_contenders_differ_by_nothing_and_p_is_one() -> None:
    rows = [(float(number % 2), 1.0) for number in range(10)]
    [found] = compare_results([result("a", "f1", rows), result("b", "f1", rows)], ["f1"], samples=500)
    assert (found.value, found.p, found.significant) == (0, 1, False)


def test_perplexities_are_compared_as_they_are_printed() -> None:
    low, high = [(2.0, 2.0)] * 8, [(4.0, 2.0)] * 8
    [found] = compare_results(
        [result("a", "perplexity_word", low), result("b", "perplexity_word", high)], ["perplexity_word"], samples=500
    )
    assert found.value == pytest.approx(math.exp(1) - math.exp(2))
    assert estimate_of(low, 100, 0, exponential=True).value == pytest.approx(math.exp(1))


def test_items_that_say_nothing_about_one_of_both_are_left_out() -> None:
    first = result("a", "f1", [(1, 1), (0, 0), (1, 1)])
    second = result("b", "f1", [(0, 1), (1, 1), (0, 0)])
    [found] = compare_results([first, second], ["f1"], samples=200)
    assert (found.value, found.n) == (1, 1)


def test_figures_that_one_of_both_lacks_have_no_row() -> None:
    assert compare_results([result("a", "f1", [(1, 1)]), result("b", "hits1", [(1, 1)])], ["f1", "hits1"]) == []


def test_results_of_other_items_are_refused() -> None:
    other = result("b", "f1", [(1, 1)])
    other.items = ["elsewhere"]
    with pytest.raises(ValueError, match="a and b: measured on different items"):
        compare_results([result("a", "f1", [(1, 1)]), other], ["f1"])


def test_holm_multiplies_the_smallest_by_all_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1, 1]
    assert holm([]) == []


def test_one_difference_can_be_no_finding_among_twenty() -> None:
    rng = random.Random(3)
    metrics = [f"m{number}" for number in range(20)]
    one, two = result("a", "", []), result("b", "", [])
    one.items = two.items = [f"d{number}" for number in range(30)]
    for metric in metrics:
        one.tallies[metric] = [(rng.gauss(0, 1), 1) for _ in one.items]
        two.tallies[metric] = [(rng.gauss(0, 1), 1) for _ in one.items]
    one.tallies["m7"] = [(sum_ + 0.4, 1) for sum_, _ in one.tallies["m7"]]
    found = {row.metric: row for row in compare_results([one, two], metrics, samples=2000)}
    assert found["m7"].excludes_zero
    assert found["m7"].p < 0.05 < found["m7"].p_holm
    assert not found["m7"].significant
