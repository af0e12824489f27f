from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum.content import content_id, normalise_question
from curriculum.split import split_problems
from replay.records import Problem


def problem(question: str, answer: str = "1", name: str | None = None) -> Problem:
    return Problem(
        id=f"test/{name or content_id(question)}",
        source="test",
        prompt=f"Solve: {question}",
        answer=answer,
        metadata={"question": question},
    )


def problems(count: int) -> list[Problem]:
    return [problem(f"question {number}") for number in range(count)]


questions = st.lists(st.text(alphabet="abAB ②2\tﬁfi\u00a0", min_size=1, max_size=4), min_size=2, max_size=30)


@given(questions, st.integers(0, 5), st.integers(0, 3))
def test_no_content_is_on_both_sides_and_none_is_lost(texts: list[str], held_out: int, seed: int) -> None:
    contents = {normalise_question(text) for text in texts}
    if held_out >= len(contents):
        with pytest.raises(ValueError, match="leaves nothing to train on"):
            split_problems(map(problem, texts), held_out, seed)
        return
    split = split_problems(map(problem, texts), held_out, seed)
    train = [normalise_question(kept.metadata["question"]) for kept in split.train]
    apart = [normalise_question(kept.metadata["question"]) for kept in split.held_out]
    assert len(apart) == held_out
    assert sorted(train + apart) == sorted(contents)
    assert split.duplicates_removed == len(texts) - len(contents)


@pytest.mark.parametrize(
    ("one", "other"),
    [("What is 1+1?", "what  is\n1+1? "), ("ﬁnd x", "find X"), ("STRASSE", "straße"), ("e\u0301", "é")],
)
def test_form_case_and_white_space_do_not_make_another_question(one: str, other: str) -> None:
    split = split_problems([problem(one), problem(other, answer="2"), problem("else")], 0, 0)
    assert [kept.metadata["question"] for kept in split.train] == [one, "else"]
    assert (split.duplicates_removed, split.conflicting_answers) == (1, 1)
    assert content_id(one) == content_id(other)


@given(st.integers(1, 20), st.integers(0, 40), st.integers(0, 3))
def test_growth_of_the_source_never_holds_out_what_was_trained_on(held_out: int, growth: int, seed: int) -> None:
    before = split_problems(problems(25), held_out, seed)
    after = split_problems(reversed(problems(25 + growth)), held_out, seed)
    assert not {kept.id for kept in before.train} & {kept.id for kept in after.held_out}


def test_the_seed_chooses_and_the_order_of_the_source_does_not() -> None:
    chosen = split_problems(problems(100), 20, seed=1).held_out
    assert split_problems(reversed(problems(100)), 20, seed=1).held_out == chosen
    assert split_problems(problems(100), 20, seed=2).held_out != chosen
    assert split_problems(problems(100), 5, seed=1).held_out == chosen[:5]
    assert {kept.id for kept in chosen} != {kept.id for kept in problems(20)}


def test_problems_without_a_kept_question_are_compared_by_prompt() -> None:
    plain = [Problem(id=f"test/{number}", source="test", prompt=text) for number, text in enumerate("aAb")]
    assert [kept.prompt for kept in split_problems(plain, 0, 0).train] == ["a", "b"]


def test_two_questions_with_one_id_are_refused() -> None:
    with pytest.raises(ValueError, match="two different questions have the id 'test/x': 'a' and 'b'"):
        split_problems([problem("a", name="x"), problem("b", name="x")], 0, 0)


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(ValueError, match=r"curriculum\.held_out"):
        split_problems(problems(3), -1, 0)
