import pytest

from replay.records import FinishReason, Outcome
from rewards.extraction import extract_answer, no_answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{42}.", "42"),
        (r"\boxed{1}, no, \boxed{2}", "2"),
        (r"\boxed {7}", "7"),
        (r"\boxed{ \frac{1}{\sqrt{2}} }", r"\frac{1}{\sqrt{2}}"),
        (r"\boxed{\boxed{5}}", "5"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{ x \right.} and {more}", r"\left\{ x \right."),
        (r"\boxed{a\\{b}c}", r"a\\{b}c"),
        (r"\\boxed{5}", "5"),
        (r"\\\boxed{5}", "5"),
        ("\\boxed{1\n+1}", "1\n+1"),
        (r"}} {{ \boxed{5} }", "5"),
    ],
)
def test_the_last_box_is_the_answer(text: str, answer: str) -> None:
    assert extract_answer(text, "boxed") == answer


@pytest.mark.parametrize(
    "text", ["", "42", r"\boxed", r"\boxed{}", r"\boxed{ }", r"\boxed{42", r"\boxed{{42}", r"boxed{42}", "}{"]
)
def test_a_box_that_is_missing_empty_or_open_is_no_answer(text: str) -> None:
    assert extract_answer(text, "boxed") is None


def test_a_box_cut_off_by_the_token_limit_does_not_hide_the_one_before() -> None:
    assert extract_answer(r"\boxed{5} or rather \boxed{\frac{1", "boxed") == "5"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<answer>42</answer>", "42"),
        ("<answer>1</answer> no <answer> 2\n</answer> done", "2"),
        ("<answer>5</answer> or <answer>6", "5"),
        ("<answer><answer>5</answer></answer>", "5"),
    ],
)
def test_the_last_tag_is_the_answer(text: str, answer: str) -> None:
    assert extract_answer(text, "tag") == answer


@pytest.mark.parametrize("text", ["", "42", "<answer>", "</answer><answer>", "<answer> </answer>"])
def test_a_tag_that_is_missing_empty_or_open_is_no_answer(text: str) -> None:
    assert extract_answer(text, "tag") is None


@pytest.mark.timeout(20)
@pytest.mark.parametrize("unit", [r"\boxed{", r"\boxed{1}", r"\boxed ", "{", "}", "\\", "<answer>", "</answer>"])
def test_hostile_text_does_not_take_quadratic_time(unit: str) -> None:
    # A million repetitions: linear searches take a second, quadratic ones days.
    text = unit * 1_000_000
    for answer_format in ("boxed", "tag"):
        extract_answer(text, answer_format)


def test_a_truncated_completion_says_so(completion) -> None:
    grade = no_answer(completion("let me think", FinishReason.LENGTH), "tag")
    assert (grade.outcome, grade.score) == (Outcome.NO_ANSWER, 0.0)
    assert "<answer>" in grade.reason
    assert "token limit" in grade.reason
    assert "token limit" not in no_answer(completion("I give up"), "tag").reason
