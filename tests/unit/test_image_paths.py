"""Paths that a data set names: inside its folder, or a problem."""

from pathlib import Path

import pytest

from captionqa.core.items import ImageSource
from captionqa.core.vision import ImagePolicy
from captionqa.data.image_paths import resolve_inside
from captionqa.data.images import prepare_image
from captionqa.errors import BadImage, ImageProblem


@pytest.fixture
def dataset(tmp_path):
    root = tmp_path / "data"
    (root / "sub").mkdir(parents=True)
    (root / "a.png").write_bytes(b"a")
    (root / "sub" / "b.png").write_bytes(b"b")
    (tmp_path / "outside.png").write_bytes(b"o")
    (tmp_path / "data-2").mkdir()
    (tmp_path / "data-2" / "c.png").write_bytes(b"c")
    (root / "link-in.png").symlink_to("sub/b.png")
    (root / "folder-in").symlink_to("sub")
    (root / "link-out.png").symlink_to(tmp_path / "outside.png")
    (root / "folder-out").symlink_to(tmp_path)
    (root / "beside").symlink_to(tmp_path / "data-2")
    return root


@pytest.mark.parametrize(
    ("relative", "real"),
    [
        ("a.png", "a.png"),
        ("./a.png", "a.png"),
        ("sub/b.png", "sub/b.png"),
        ("sub//b.png", "sub/b.png"),
        ("sub/../a.png", "a.png"),
        ("link-in.png", "sub/b.png"),
        ("folder-in/b.png", "sub/b.png"),
        ("folder-in/../a.png", "a.png"),
        ("not-there/x.png", "not-there/x.png"),
        ("..a.png", "..a.png"),
        ("ünïcode 图.png", "ünïcode 图.png"),
    ],
)
def test_a_path_inside_the_data_set_is_resolved(dataset, relative, real):
    source = resolve_inside(dataset, relative)
    assert source == ImageSource(name=relative, path=str(dataset / real))


OUTSIDE = ["/etc/passwd", "../outside.png", "..", "sub/../../outside.png", "not-there/../../outside.png"]
OUTSIDE += ["../data-2/c.png", "link-out.png", "folder-out/outside.png", "beside/c.png"]
OUTSIDE += ["folder-out/data/../outside.png"]
NO_PATH = ["", "  ", ".", "sub/..", "a\0.png", "x" * 256, "x/" * 2500 + "a.png", "\ud800.png"]
NO_PATH += ["data:image/png;base64," + "A" * 5000]


@pytest.mark.parametrize(
    ("relative", "problem"),
    [(path, ImageProblem.OUTSIDE_DATASET) for path in OUTSIDE] + [(path, ImageProblem.BAD_VALUE) for path in NO_PATH],
    ids=repr,
)
def test_a_path_that_leaves_the_data_set_or_is_none_is_a_problem(dataset, relative, problem):
    source = resolve_inside(dataset, relative)
    assert (source.problem, source.path, source.data) == (problem.value, None, None)
    assert source.detail
    with pytest.raises(BadImage) as caught:
        prepare_image(source, ImagePolicy())
    assert caught.value.problem is problem


def test_the_data_sets_folder_may_be_a_link_or_relative(dataset, tmp_path, monkeypatch):
    (tmp_path / "alias").symlink_to(dataset)
    assert resolve_inside(tmp_path / "alias", "a.png").path == str(dataset / "a.png")
    monkeypatch.chdir(tmp_path)
    assert resolve_inside(Path("data"), "a.png").path == str(dataset / "a.png")
    monkeypatch.chdir(dataset)
    assert resolve_inside(Path("."), "a.png").path == str(dataset / "a.png")
