"""`captionqa qa`, whole: what it reads, writes and grades."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from captionqa.server.standin import Faults, StandInServer

if TYPE_CHECKING:
    from tests.standin.conftest import Cli, Drawn

RESULT_FIELDS = {
    *("qid", "question", "choices", "gt_answer", "gt_letter", "predicted_letter", "model_output"),
    *("is_correct", "category", "source", "image_paths", "num_images"),
}
METRICS_FIELDS = {
    *("model", "total_questions", "correct_answers", "overall_accuracy", "category_metrics"),
    *("question_path", "dataset_path", "server_url"),
}


def assert_counts_add_up(metrics: dict[str, Any]) -> None:
    graded = metrics["correct_answers"] + metrics["wrong"] + metrics["unparsed"] + metrics["truncated"]
    assert metrics["total_questions"] == graded
    assert metrics["n"] == graded + metrics["failed"]
    assert metrics["failed"] == sum(metrics["failed_by_kind"].values())
    categories = metrics["category_metrics"].values()
    assert metrics["total_questions"] == sum(category["total"] for category in categories)
    assert metrics["correct_answers"] == sum(category["correct"] for category in categories)
    for category in categories:
        assert category["accuracy"] == (category["correct"] / category["total"] if category["total"] else None)


def write_questions(path: Path, rows: list[dict[str, Any]]) -> Path:
    pd.DataFrame(rows).to_parquet(path)
    return path


def test_results_and_metrics_have_the_fields_of_the_contract(cli: Cli, drawn: Drawn, server: StandInServer) -> None:
    ended = cli.run(*drawn.qa.arguments, "--server-url", server.url)
    files = drawn.qa.files(cli.folder)
    results, metrics = files.read("_results.json"), files.read("_metrics.json")
    questions = pd.read_parquet(drawn.dataset.questions).set_index("qid")
    assert set(results) == set(questions.index)
    for qid, row in results.items():
        assert set(row) >= RESULT_FIELDS
        assert row["qid"] == qid
        assert row["question"] == questions.loc[qid, "question"]
        assert row["gt_answer"] == questions.loc[qid, "answer"]
        assert row["image_paths"] == list(questions.loc[qid, "image"])
        assert row["num_images"] == len(row["image_paths"])
        assert isinstance(row["is_correct"], bool)
        assert row["predicted_letter"] is None or row["predicted_letter"] in "ABCD"
    assert any(row["num_images"] == 2 for row in results.values())
    assert set(metrics) >= METRICS_FIELDS
    assert metrics["model"] == "standin/pixel-reader"
    assert metrics["server_url"] == server.url
    assert metrics["question_path"] == str(drawn.dataset.questions)
    assert metrics["total_questions"] == drawn.qa.size
    assert metrics["correct_answers"] == sum(row["is_correct"] for row in results.values())
    assert 0.6 < metrics["overall_accuracy"] < 1, "an honest reader of pixels is good but not perfect"
    assert_counts_add_up(metrics)
    assert set(metrics["category_metrics"]) == {"color", "shape", "count", "brightness"}
    assert f"{metrics['overall_accuracy']:.3f}" in ended.out


def test_without_pixels_accuracy_is_at_chance(cli: Cli, drawn: Drawn, standin: Callable[..., StandInServer]) -> None:
    server = standin(no_vision=True)
    cli.run(*drawn.qa.arguments, "--server-url", server.url)
    metrics = drawn.qa.files(cli.folder).read("_metrics.json")
    assert metrics["overall_accuracy"] < 0.5
    assert_counts_add_up(metrics)


def test_every_kind_of_image_cell_is_read(cli: Cli, drawn: Drawn, server: StandInServer) -> None:
    names = sorted(str(path.relative_to(drawn.folder)) for path in drawn.dataset.images.glob("*.png"))[:2]
    payloads = [(drawn.folder / name).read_bytes() for name in names]
    cells: dict[str, list[Any]] = {
        "path": [names[0]],
        "arrays": [np.array(names, dtype=object)],
        "bytes": [payloads[0]],
        "struct": [{"bytes": payloads[0], "path": names[0]}],
        "structs": [[{"bytes": payloads[0], "path": None}, {"bytes": payloads[1], "path": "b"}]],
        "list-of-bytes": [payloads],
        "null": [None],
    }
    asked = {}
    for kind, image in cells.items():
        row = {"qid": kind, "question": "Is it bright or dark?", "answer": "A", "choices": ["bright", "dark"]}
        path = write_questions(cli.folder / f"{kind}.parquet", [row | {"image": cell} for cell in image])
        arguments = ("--question-path", path, "--dataset-path", drawn.folder, "--run-name", kind)
        before = server.stats()["images"]
        report = cli.call("qa", *arguments, "--server-url", server.url)
        assert report["outcomes"] == {"answered": 1}, kind
        asked[kind] = server.stats()["images"] - before
    assert asked == dict(zip(cells, (1, 2, 1, 1, 2, 2, 0), strict=True))


def test_choices_come_from_the_column_or_from_the_question(cli: Cli, drawn: Drawn, server: StandInServer) -> None:
    image = min(drawn.dataset.images.glob("*.png")).name
    bright = {"image": f"images/{image}", "category": "x", "source": "y"}
    choices = np.array(["bright", "dark"], dtype=object)
    rows = [
        {"qid": "column", "question": "Bright or dark?", "answer": "dark", "choices": choices, **bright},
        {"qid": "text", "question": "Bright or dark?\nChoices:\n(A) dark\n(B) bright", "answer": "(A)", **bright},
        {"qid": "open", "question": "How many shapes?", "answer": "3", **bright},
    ]
    path = write_questions(cli.folder / "q.parquet", rows)
    cli.run("qa", "--question-path", path, "--dataset-path", drawn.folder, "--server-url", server.url)
    results = drawn.qa.files(cli.folder).read("_results.json")
    assert [results[qid]["choices"] for qid in ("column", "text", "open")] == [
        ["bright", "dark"],
        ["dark", "bright"],
        [],
    ]
    assert [results[qid]["gt_letter"] for qid in ("column", "text", "open")] == ["B", "A", None]
    assert all(row["is_correct"] for row in results.values())


def test_rows_that_cannot_be_used_are_named_and_nothing_is_sent(cli: Cli, drawn: Drawn, server: StandInServer) -> None:
    good = {"qid": "good", "question": "Bright?\nChoices:\n(A) yes\n(B) no", "answer": "A", "image": None}
    bad = [{"qid": "letter", "answer": "E"}, {"qid": "good"}, {"qid": "", "answer": "B"}, {"qid": "q", "question": " "}]
    path = write_questions(cli.folder / "q.parquet", [good, *(good | row for row in bad)])
    command = ("qa", "--question-path", path, "--dataset-path", drawn.folder, "--server-url", server.url)
    refused = cli.run(*command, code=2)
    assert "4 of 5 rows cannot be used" in refused.err
    assert "q.parquet row 1, column answer: answer 'E' is not one of A–B" in refused.err
    assert all(f"row {row}, column" in refused.err for row in (1, 2, 3, 4))
    assert server.stats()["requests"] == 0
    assert not (cli.folder / "output").exists()
    ended = cli.run(*command, "--skip-invalid")
    assert "left out as invalid: 4" in ended.out
    metrics = drawn.qa.files(cli.folder).read("_metrics.json")
    assert (metrics["n"], metrics["skipped_invalid"], metrics["pending"]) == (1, 4, 0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "not there"),
        (lambda path: path.write_text("no parquet"), "not a readable parquet file"),
        (lambda path: pd.DataFrame({"qid": ["a"], "question": ["b"]}).to_parquet(path), "no column 'answer', 'image'"),
    ],
)
def test_a_file_that_is_no_question_set_is_refused(
    cli: Cli, drawn: Drawn, server: StandInServer, make: Callable[[Path], None], words: str
) -> None:
    make(cli.folder / "q.parquet")
    arguments = ("--question-path", "q.parquet", "--dataset-path", drawn.folder)
    assert words in cli.run("qa", *arguments, "--server-url", server.url, code=2).err


def test_an_answer_cut_at_max_tokens_is_counted_as_truncated_not_as_wrong(
    cli: Cli, drawn: Drawn, server: StandInServer
) -> None:
    cli.run(*drawn.qa.arguments, "--max-tokens", 2, "--server-url", server.url)
    metrics = drawn.qa.files(cli.folder).read("_metrics.json")
    assert metrics["truncated"] > 0
    assert_counts_add_up(metrics)


def test_questions_on_one_image_follow_each_other_and_finish_in_any_order(
    cli: Cli, drawn: Drawn, standin: Callable[..., StandInServer]
) -> None:
    server = standin(max_num_seqs=5, faults=Faults(latency_s=0.01))
    cli.run(*drawn.qa.arguments, "--server-url", server.url)
    assert drawn.qa.exports(cli.folder) == drawn.expect(drawn.qa)
    results = list(drawn.qa.files(cli.folder).read("_results.json"))
    assert results == pd.read_parquet(drawn.dataset.questions)["qid"].tolist(), "in the order of the file"
