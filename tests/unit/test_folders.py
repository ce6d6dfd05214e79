from __future__ import annotations

import os
from pathlib import Path

import pytest

from captionqa.data.folders import count_images, iter_images
from captionqa.errors import ImageProblem, InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    root.mkdir()
    return root


def put(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * len(name))


def names(root: Path, *, follow_symlinks: bool = False) -> list[str]:
    found = [image.name for image in iter_images(root, follow_symlinks=follow_symlinks)]
    assert count_images(root) == (len(found), len(found))
    return found


def test_images_are_told_by_their_extension_in_any_case(folder: Path) -> None:
    put(folder, "a.jpg", "b.JPG", "c.Jpeg", "d.png", "e.webp", "f.BMP", "g.gif", "h.tif", "i.TIFF")
    put(folder, "notes.txt", "a.jpg.json", "jpg", ".png", "x.pdf", "no_extension")
    assert names(folder) == ["a.jpg", "b.JPG", "c.Jpeg", "d.png", "e.webp", "f.BMP", "g.gif", "h.tif", "i.TIFF"]


def test_an_image_has_its_path_and_size(folder: Path) -> None:
    put(folder, "sub/a.png")
    (image,) = iter_images(folder)
    assert (image.name, image.path, image.version) == ("sub/a.png", str(folder / "sub" / "a.png"), len("sub/a.png"))
    assert image.problem is None


def test_the_order_is_by_name_within_each_folder_depth_first(folder: Path) -> None:
    put(folder, "z.png", "b/2.png", "b/10.png", "a.png", "b.png", "a/deep/er/1.png", "c.jpg/inside.png")
    expected = ["a/deep/er/1.png", "a.png", "b/10.png", "b/2.png", "b.png", "c.jpg/inside.png", "z.png"]
    assert names(folder) == expected
    assert names(folder) == expected


def test_equal_basenames_stay_apart(folder: Path) -> None:
    put(folder, "one/a.png", "two/a.png")
    assert names(folder) == ["one/a.png", "two/a.png"]


def test_an_empty_folder_has_no_images(folder: Path) -> None:
    (folder / "sub").mkdir()
    assert names(folder) == []


def test_only_my_images_are_counted(folder: Path) -> None:
    put(folder, "a.png", "b.png", "c.png")
    assert count_images(folder, lambda name: name > "a.png")[1] == 2


def test_names_that_are_no_utf_8_are_found_and_can_be_opened(folder: Path) -> None:
    raw = os.fsencode(folder) + b"/caf\xe9.png"
    Path(os.fsdecode(raw)).write_bytes(b"12345")
    (image,) = iter_images(folder)
    assert os.fsencode(image.name) == b"caf\xe9.png"
    assert image.path is not None
    assert os.fsencode(image.path) == raw
    assert image.version == 5


def test_a_link_that_stays_inside_is_an_image_like_any_other(folder: Path) -> None:
    put(folder, "real/a.png")
    (folder / "link.png").symlink_to(folder / "real" / "a.png")
    (folder / "linked").symlink_to("real")
    assert names(folder) == ["link.png", "linked/a.png", "real/a.png"]
    assert {(image.problem, image.version) for image in iter_images(folder)} == {(None, len("real/a.png"))}


def test_a_link_that_leads_out_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    put(tmp_path / "elsewhere", "a.png", "sub/b.png")
    (folder / "file.png").symlink_to(tmp_path / "elsewhere" / "a.png")
    (folder / "folder").symlink_to("../elsewhere")
    images = list(iter_images(folder))
    assert [image.name for image in images] == ["file.png", "folder/a.png", "folder/sub/b.png"]
    assert {(image.problem, image.path) for image in images} == {(ImageProblem.OUTSIDE_DATASET, None)}
    assert images[0].detail.startswith("a link out of the data set's folder.")
    assert "--follow-symlinks" in images[0].detail


def test_hidden_files_and_folders_are_left_alone(folder: Path) -> None:
    put(folder, ".hidden.png", "._4.png", ".thumbs/8.png", "sub/.x.png", "seen.png")
    assert [image.name for image in iter_images(folder)] == ["seen.png"]
    assert count_images(folder) == (1, 1)


def test_a_neighbour_whose_name_begins_alike_is_outside(folder: Path, tmp_path: Path) -> None:
    put(tmp_path / "images-private", "a.png")
    (folder / "link.png").symlink_to(tmp_path / "images-private" / "a.png")
    assert [image.problem for image in iter_images(folder)] == [ImageProblem.OUTSIDE_DATASET]


def test_links_that_lead_out_are_followed_when_that_is_meant(folder: Path, tmp_path: Path) -> None:
    put(tmp_path / "elsewhere", "a.png")
    (folder / "file.png").symlink_to(tmp_path / "elsewhere" / "a.png")
    (folder / "folder").symlink_to(tmp_path / "elsewhere")
    images = list(iter_images(folder, follow_symlinks=True))
    assert [(image.name, image.problem, image.version) for image in images] == [
        ("file.png", None, 5),
        ("folder/a.png", None, 5),
    ]
    assert images[0].path == str(folder / "file.png")


def test_a_folder_that_is_itself_a_link_is_no_way_out(folder: Path, tmp_path: Path) -> None:
    put(folder, "a.png")
    (tmp_path / "alias").symlink_to(folder)
    assert [image.problem for image in iter_images(tmp_path / "alias")] == [None]


def test_loops_of_links_end(folder: Path) -> None:
    put(folder, "a/1.png", "b/2.png")
    (folder / "a" / "self").symlink_to(".")
    (folder / "a" / "up").symlink_to("..")
    (folder / "a" / "to_b").symlink_to("../b")
    (folder / "b" / "to_a").symlink_to("../a")
    assert names(folder, follow_symlinks=True) == ["a/1.png", "a/to_b/2.png", "b/2.png", "b/to_a/1.png"]


def test_a_link_to_nothing_is_kept_and_ends_as_missing(folder: Path) -> None:
    (folder / "gone.png").symlink_to("nowhere.png")
    (folder / "self.png").symlink_to("self.png")
    (folder / "self").symlink_to("self")
    images = list(iter_images(folder))
    assert [(image.name, image.version) for image in images] == [("gone.png", None), ("self.png", None)]


@pytest.mark.parametrize(
    ("name", "fragment"),
    [
        ("missing", "missing: not there. Give a folder of images with --dataset-path."),
        ("file.png", "file.png: a file, not a folder."),
        ("x" * 300, "xxx: not there."),
        ("nul\0", "not there."),
    ],
)
def test_a_folder_that_is_none_is_named(tmp_path: Path, name: str, fragment: str) -> None:
    (tmp_path / "file.png").write_bytes(b"")
    for look in (count_images, lambda root: list(iter_images(root))):
        with pytest.raises(InputError, match=r"^data set folder ") as raised:
            look(tmp_path / name)
        assert fragment in str(raised.value)


def test_a_folder_that_cannot_be_listed_stops_with_its_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests may run as root, who may list everything; so the system's answer is played."""
    put(folder, "a.png", "locked/b.png")
    scandir = os.scandir

    def refuse(path: str) -> object:
        if path.endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = iter_images(folder)
    assert next(found).name == "a.png"
    with pytest.raises(InputError, match=r"locked: cannot be listed \(Permission denied\)"):
        next(found)
