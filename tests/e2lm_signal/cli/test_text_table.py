from hypothesis import given
from hypothesis import strategies as st

from e2lm.messages import width
from e2lm_signal.cli.text_table import WIDTH, text_table, wrapped

NAMES = st.text(st.sampled_from("abc_-/ ö正解"), min_size=1, max_size=130)
CELLS = st.sampled_from(["0.5", "undefined", "0.947 [0.899, 0.969]", "33.372 [19.547, 56.975]"])


@given(st.lists(st.tuples(NAMES, NAMES, NAMES, CELLS, CELLS, CELLS, CELLS, CELLS), min_size=1, max_size=6))
def test_no_line_is_wider_than_a_terminal_and_no_name_or_number_is_lost(rows):
    head = ["series", "task", "metric", "signal_quality", "e2lmc_rc (reconstructed)", "p", "n", "decision_accuracy"]
    lines = text_table(head, [list(row) for row in rows], 3)
    assert max(map(width, lines)) <= WIDTH
    text = "".join(lines).replace(" ", "")
    for row in rows:
        for letter in "abcö正解":
            assert text.count(letter) >= sum(cell.count(letter) for cell in row[:3])
        assert all(cell.replace(" ", "") in text for cell in row[3:])


def test_two_long_names_that_differ_at_their_ends_stay_two():
    names = [f"mmlu_continuation_high_school_european_history_and_everything_else_{end}" for end in ("one", "two")]
    lines = text_table(["task", "value"], [[name, "0.5"] for name in names], 1, 40)
    assert [sum(name[-3:] in line for line in lines) for name in names] == [1, 1]


def test_numbers_that_do_not_fit_beside_each_other_stand_in_tables_below():
    rows = [["task", *["0.947 [0.899, 0.969]"] * 7]]
    lines = text_table(["task", *(f"score{index}" for index in range(7))], rows, 1, 120)
    assert lines.count("") == 1
    assert sum("score" in line for line in lines) == 2


@given(st.text(st.sampled_from("ab 正解率、。（）ー"), min_size=1, max_size=300))
def test_a_long_line_of_any_letters_is_cut_to_the_width_and_loses_nothing(text: str) -> None:
    lines = wrapped([text], 40)
    assert max(map(width, lines)) <= 40 or lines == [text]
    assert "".join("".join(lines).split()) == "".join(text.split())
