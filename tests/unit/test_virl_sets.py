"""A set in the form of ViRL39K, taken as it is: choices in the text, boxed answers, paths, lost placeholders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

from captionqa.cli.main import commands
from captionqa.errors import InputError
from tests.unit.answering_server import AnsweringServer, pictures
from tests.unit.captionqa_set import png

PATHS = [f"images/Processed-{number}-0.jpg" for number in range(3)]


def row(qid: str, question: str, answer: str, images: list[str], category: str = "Area") -> dict[str, Any]:
    rates = {"PassRate_32BTrained": 0.5, "PassRate_7BBase": -1.0}
    about = {"category": category, "source": "s", "qid": qid, "image": images}
    return {"question": question, "answer": answer, **rates, **about}


ROWS = [
    row("letter", "<image>Which parity?\nChoices:\n(A) odd\n(B) even", "\\boxed{B}", PATHS[:1]),
    row("number", "<image>\nHow many sides?", "\\boxed{6}", PATHS[1:2]),
    row("fraction", "<image>What share is red?", "\\boxed{\\frac{1}{2}}", PATHS[:1]),
    row("lost", "What is left?", "\\boxed{6}", PATHS[:1], "Spatial"),
    row("one of two", "<image>What differs?", "\\boxed{6}", PATHS[:2]),
    row("interleaved", "First <image> then <image>: how many?", "\\boxed{6}", PATHS[1:3]),
    row("unbalanced", "<image>How long?", "\\boxed{\\frac{3}{4}", PATHS[:1]),
]


@pytest.fixture
def virl(tmp_path: Path, without_settings: Path) -> Path:
    (tmp_path / "images").mkdir()
    for number, path in enumerate(PATHS):
        (tmp_path / path).write_bytes(png(number))
    pd.DataFrame(ROWS).to_parquet(tmp_path / "39Krelease.parquet")
    return tmp_path


def run(folder: Path, *arguments: object, code: int = 0) -> None:
    command = ("qa", "--question-path", folder / "39Krelease.parquet", "--dataset-path", folder, *arguments)
    result = CliRunner().invoke(commands, [str(argument) for argument in command], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    assert result.return_value == code, result.output


def test_a_gold_that_is_cut_off_is_named_before_anything_is_sent(virl: Path) -> None:
    with AnsweringServer(lambda _: "6") as server:
        with pytest.raises(InputError, match=r"39Krelease\.parquet row 6, column answer: .* unbalanced"):
            run(virl, "--server-url", server.url)
        assert server.bodies == []


def test_the_rest_is_answered_and_graded(virl: Path) -> None:
    answers = {"Which parity?": "B", "What share": "0.5"}

    def answer(body: dict[str, Any]) -> str:
        text = json.dumps(body)
        return next((letter for words, letter in answers.items() if words in text), "\\boxed{6}")

    with AnsweringServer(answer) as server:
        run(virl, "--server-url", server.url, "--skip-invalid")
        asked = [body["messages"][-1]["content"] for body in server.bodies if body["max_tokens"] == 128]
        assert sorted(pictures(body) for body in server.bodies if body["max_tokens"] == 128) == [1, 1, 1, 1, 2, 2]
    folder = virl / "output/qa/text-model"
    results = json.loads((folder / "text-model_qa_results.json").read_text())
    assert {qid: each["is_correct"] for qid, each in results.items()} == dict.fromkeys(
        ("letter", "number", "fraction", "lost", "one of two", "interleaved"), True
    )
    assert results["letter"]["choices"] == ["odd", "even"]
    assert results["letter"]["gt_letter"] == "B"
    assert {qid for qid, each in results.items() if "placeholders_fit" in each} == {"one of two"}
    forms = {"".join("i" if part["type"] == "image_url" else "t" for part in content) for content in asked}
    assert forms == {"it", "iit", "titit"}, "images first, but where each placeholder has its image"
    assert not any("<image>" in json.dumps(content) for content in asked)
    metrics = json.loads((folder / "text-model_qa_metrics.json").read_text())
    assert (metrics["n"], metrics["skipped_invalid"]) == (6, 1)
    assert set(metrics["category_metrics"]) == {"Area", "Spatial"}


def test_bytes_without_a_path_are_known_by_their_digest(tmp_path: Path, without_settings: Path) -> None:
    one, other = png(1), png(2)
    base = {"question": "How many?", "answer": "6"}
    images = [(one, None), (one, None), (other, None), (one, "one.png")]
    cells = [{"bytes": data, "path": path} for data, path in images]
    rows = [{**base, "qid": str(number), "image": cell} for number, cell in enumerate(cells)]
    pd.DataFrame(rows).to_parquet(tmp_path / "q.parquet")
    with AnsweringServer(lambda _: "6") as server:
        command = ["qa", "--question-path", str(tmp_path / "q.parquet"), "--server-url", server.url]
        assert CliRunner().invoke(commands, command, standalone_mode=False).return_value == 0
    lines = (tmp_path / "output/qa/text-model/text-model_qa.journal.jsonl").read_text().splitlines()
    facts = {record["id"]: record["facts"] for record in map(json.loads, lines) if "id" in record}
    assert facts["0"]["cluster"] == facts["1"]["cluster"] != facts["2"]["cluster"]
    assert "cluster" not in facts["3"], "its path says which image it is"
