"""Images made fit to send: every format × mode × orientation, then everything that can be wrong with a file."""

import io
import json
import os
import struct
import subprocess
import sys
import warnings
import zlib
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin, features

from captionqa.core.items import ImageSource
from captionqa.core.vision import ImagePolicy
from captionqa.data import images
from captionqa.data.images import prepare_image
from captionqa.errors import BadImage, ImageError, ImageProblem, MissingImage

POLICY = ImagePolicy()
SMALL = ImagePolicy(max_pixels=1024)
RED, GREEN, BLUE, GREY = (220, 30, 30), (30, 200, 30), (30, 30, 220), (128, 128, 128)


def corners(width=96, height=64):
    """A landscape picture with red, green, blue and grey quarters, clockwise from the top left."""
    picture = Image.new("RGB", (width, height), RED)
    picture.paste(GREEN, (width // 2, 0, width, height // 2))
    picture.paste(BLUE, (width // 2, height // 2, width, height))
    picture.paste(GREY, (0, height // 2, width // 2, height))
    return picture


def noise(width=160, height=120, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def encoded(picture, form, **options):
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def prepared(data, policy=POLICY):
    return prepare_image(ImageSource("x", data=data), policy)


def payload(result):
    """The image bytes inside a fragment, after checking everything around them."""
    part = json.loads(result.fragment)
    assert list(part) == ["type", "image_url"]
    assert part["type"] == "image_url"
    declared, _, body = part["image_url"]["url"].partition(";base64,")
    assert declared == f"data:{result.mime}"
    data = b64decode(body, validate=True)
    assert len(data) == result.sent_bytes
    return data


def received(result):
    """What a server sees: opened without turning, checked against the declared facts."""
    picture = Image.open(io.BytesIO(payload(result)))
    picture.load()
    assert picture.get_format_mimetype() in (result.mime, "image/mpo")
    assert picture.size == (result.width, result.height)
    return picture.convert("RGB")


def refused(data, problem, policy=POLICY):
    with pytest.raises(BadImage) as caught:
        prepared(data, policy)
    assert caught.value.problem is problem
    assert str(caught.value).startswith("x: ")
    return str(caught.value)


def quarter_colours(picture):
    width, height = picture.size
    return [
        picture.getpixel((int(width * x), int(height * y)))
        for x, y in ((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75))
    ]


def assert_upright(picture, tolerance=12):
    assert picture.width > picture.height
    for found, expected in zip(quarter_colours(picture), (RED, GREEN, BLUE, GREY), strict=True):
        assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) <= tolerance, (found, expected)


# --- sent as they are ---


@pytest.mark.parametrize(
    ("form", "mode", "options"),
    [
        ("JPEG", "RGB", {}),
        ("JPEG", "L", {}),
        ("JPEG", "RGB", {"progressive": True}),
        ("JPEG", "RGB", {"subsampling": 0, "comment": b"hello"}),
        ("PNG", "RGB", {}),
        ("PNG", "L", {}),
        ("PNG", "P", {}),
        ("WEBP", "RGB", {}),
        ("WEBP", "RGB", {"lossless": True}),
    ],
)
def test_an_image_that_is_fit_is_sent_byte_for_byte(form, mode, options):
    data = encoded(noise().convert(mode), form, **options)
    result = prepared(data)
    assert result.untouched
    assert payload(result) == data
    assert received(result).size == (160, 120)
    assert result.mime == f"image/{form.lower()}"
    assert result.to_dict() == {
        "name": "x",
        "source_bytes": len(data),
        "width": 160,
        "height": 120,
        "mime": result.mime,
        "untouched": True,
    }


def test_the_type_is_declared_from_the_bytes_not_from_the_name(tmp_path):
    for form, name in (("PNG", "a.jpg"), ("JPEG", "b.png"), ("WEBP", "c"), ("PNG", "d.txt")):
        (tmp_path / name).write_bytes(encoded(noise(), form))
        result = prepare_image(ImageSource(name, path=str(tmp_path / name)), POLICY)
        assert result.mime == f"image/{form.lower()}"
        received(result)


def test_orientation_one_is_upright_already():
    exif = Image.Exif()
    exif[0x0112] = 1
    for form in ("JPEG", "PNG", "WEBP"):
        assert prepared(encoded(corners(), form, exif=exif)).untouched


def test_a_jpeg_with_harmless_bytes_behind_its_end_is_sent_as_it_is():
    data = encoded(noise(), "JPEG")
    for tail in (b"\0" * 10, b"x" * 100, b"trailer" * 5000, bytes(20_000)):
        assert prepared(data + tail).untouched


def test_a_multi_picture_jpeg_is_a_jpeg():
    data = encoded(corners(), "MPO", save_all=True, append_images=[noise()])
    result = prepared(data)
    assert (result.mime, result.untouched) == ("image/jpeg", True)
    assert_upright(received(result))


# --- changed ---


def stored_sideways(picture, orientation):
    """The pixels a camera would store so that ``orientation`` turns them back into ``picture``."""
    inverse = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    return picture.transpose(inverse[orientation]) if orientation > 1 else picture


@pytest.mark.parametrize("policy", [POLICY, SMALL], ids=["full", "reduced"])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_picture_arrives_upright(form, orientation, policy):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if form == "WEBP" else {}
    data = encoded(stored_sideways(corners(), orientation), form, exif=exif, **options)
    result = prepared(data, policy)
    assert result.untouched == (orientation == 1 and form != "TIFF" and policy is POLICY)
    assert_upright(received(result), 25)
    assert result.width * result.height <= policy.max_pixels


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_an_orientation_that_stands_only_in_xmp_counts_as_in_pillow(form):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    if form == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp.decode())
        options = {"pnginfo": info}
    else:
        options = {"xmp": xmp}
    assert_upright(received(prepared(encoded(stored_sideways(corners(), 6), form, **options))))


MODES = {
    "PNG": ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"],
    "JPEG": ["L", "RGB", "CMYK"],
    "WEBP": ["RGB", "RGBA"],
    "BMP": ["1", "L", "P", "RGB", "RGBA"],
    "GIF": ["1", "L", "P", "RGB", "RGBA"],
    "TIFF": ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F"],
}


@pytest.mark.parametrize(("form", "mode"), [(form, mode) for form, modes in MODES.items() for mode in modes])
@pytest.mark.parametrize("policy", [POLICY, SMALL], ids=["full", "reduced"])
def test_every_format_and_mode_arrives_as_the_same_picture(form, mode, policy):
    grey = corners().convert("L")
    if mode == "I;16":
        source = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    elif mode in ("I", "F"):
        source = grey.convert(mode)
    else:
        source = corners().convert(mode)
    result = prepared(encoded(source, form), policy)
    picture = received(result)
    assert picture.width * picture.height <= policy.max_pixels
    colourless = mode in ("1", "L", "LA", "I;16", "I", "F")
    expected = (source.convert("L") if mode == "1" else grey).convert("RGB") if colourless else corners()
    small = expected.resize((6, 4), Image.Resampling.BOX)
    difference = np.abs(np.asarray(picture.resize((6, 4), Image.Resampling.BOX), int) - np.asarray(small, int))
    assert difference.max() <= 30


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate", "packbits", "jpeg", "tiff_adobe_deflate"])
@pytest.mark.parametrize("big", [False, True], ids=["classic", "bigtiff"])
def test_a_tiff_is_read_under_every_usual_compression(compression, big):
    options = {"compression": compression} if compression else {}
    assert_upright(received(prepared(encoded(corners(), "TIFF", big_tiff=big, **options))), 20)


def test_a_fax_page_is_read():
    page = Image.new("1", (64, 64), 1)
    page.paste(0, (0, 0, 32, 64))
    picture = received(prepared(encoded(page, "TIFF", compression="group4")))
    assert (picture.getpixel((5, 5)), picture.getpixel((60, 5))) == ((0, 0, 0), (255, 255, 255))


def test_sixteen_bits_are_scaled_and_not_clipped():
    ramp = np.repeat(np.linspace(0, 65535, 256).astype(np.uint16)[None], 64, axis=0)
    for form in ("PNG", "TIFF"):
        picture = received(prepared(encoded(Image.fromarray(ramp), form))).convert("L")
        assert np.abs(np.asarray(picture)[0].astype(int) - np.arange(256)).max() <= 1


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [(0, 1, np.float32), (0, 255, np.float32), (-5, 3000, np.float32), (0, 65535, np.int32), (-100, 100, np.int32)],
)
def test_numbers_without_a_white_point_use_the_whole_range(low, high, dtype):
    ramp = np.repeat(np.linspace(low, high, 256).astype(dtype)[None], 64, axis=0)
    picture = received(prepared(encoded(Image.fromarray(ramp), "TIFF"))).convert("L")
    assert picture.getpixel((0, 0)) <= 1
    assert picture.getpixel((255, 0)) >= 253
    assert 120 <= picture.getpixel((128, 0)) <= 136


def test_pixels_that_are_no_numbers_are_corrupt():
    assert "not numbers" in refused(
        encoded(Image.fromarray(np.full((8, 8), np.nan, np.float32)), "TIFF"), ImageProblem.CORRUPT
    )


def test_transparency_is_laid_on_white():
    clear = Image.new("RGBA", (64, 48), (0, 0, 0, 0))
    clear.paste((200, 0, 0, 255), (0, 0, 32, 48))
    palette = clear.convert("RGB").quantize(4)
    grey = Image.new("LA", (64, 48), (0, 0))
    grey.paste((90, 255), (0, 0, 32, 48))
    keyed = Image.new("RGB", (64, 48), (1, 2, 3))
    keyed.paste((200, 0, 0), (0, 0, 32, 48))
    transparent = palette.getpixel((60, 5))
    cases = {
        "rgba png": encoded(clear, "PNG"),
        "la png": encoded(grey, "PNG"),
        "webp": encoded(clear, "WEBP", lossless=True),
        "lossy webp": encoded(clear, "WEBP"),
        "palette index": encoded(palette, "PNG", transparency=transparent),
        "palette bytes": encoded(palette, "PNG", transparency=bytes(0 if i == transparent else 255 for i in range(4))),
        "colour key": encoded(keyed, "PNG", transparency=(1, 2, 3)),
        "gif": encoded(palette, "GIF", transparency=transparent),
    }
    for name, data in cases.items():
        result = prepared(data)
        picture = received(result)
        assert not result.untouched, name
        assert min(picture.getpixel((60, 40))) >= 250, name
        assert picture.getpixel((5, 5))[1] <= 95, name
        assert result.mime == "image/png", name


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation_is_sent_as_a_still(form):
    options = {"lossless": True} if form == "WEBP" else {}
    data = encoded(
        corners(), form, save_all=True, append_images=[noise(96, 64), noise(96, 64, 1)], duration=50, **options
    )
    result = prepared(data)
    assert not result.untouched
    assert_upright(received(result), 30)
    assert getattr(Image.open(io.BytesIO(payload(result))), "n_frames", 1) == 1


def test_only_the_first_page_of_a_tiff_is_sent():
    assert_upright(received(prepared(encoded(corners(), "TIFF", save_all=True, append_images=[noise()]))))


def test_a_large_image_is_reduced_to_the_policy_and_stays_jpeg_if_it_was():
    picture = corners(3000, 2000)
    for form, mime in (("JPEG", "image/jpeg"), ("PNG", "image/png"), ("BMP", "image/png")):
        result = prepared(encoded(picture, form), ImagePolicy(max_pixels=600_000))
        assert result.mime == mime
        assert (result.width, result.height) == pytest.approx((948, 632), abs=2)
        assert_upright(received(result))


def test_an_image_of_exactly_max_pixels_is_untouched():
    assert prepared(encoded(noise(64, 16), "PNG"), SMALL).untouched
    assert not prepared(encoded(noise(65, 16), "PNG"), SMALL).untouched


# --- refused ---


def png_of_claimed_size(width, height):
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", bytes(99)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


GIF_OF_CLAIMED_SIZE = b"GIF89a\x09\0\x09\0\0\0\0," + struct.pack("<4H", 60_000, 60_000, 9, 9) + bytes(9)
BMP_OF_CLAIMED_SIZE = b"BM" + bytes(12) + struct.pack("<IiiHH", 40, 60_000, -60_000, 1, 24) + bytes(99)


def jpeg_of_claimed_size(width, height):
    data = encoded(noise(16, 16), "JPEG")
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


@pytest.mark.parametrize(
    ("data", "problem", "says"),
    [
        (b"", ImageProblem.EMPTY, "0 bytes"),
        (b"hello, I am text", ImageProblem.NOT_AN_IMAGE, "hello"),
        (b"  <!DOCTYPE html><html>404</html>", ImageProblem.NOT_AN_IMAGE, "HTML"),
        (b"%PDF-1.7 ...", ImageProblem.NOT_AN_IMAGE, "PDF"),
        (b"\xef\xbb\xbf<svg xmlns=''/>", ImageProblem.NOT_AN_IMAGE, "SVG"),
        (b"<?xml version='1.0'?><svg/>", ImageProblem.NOT_AN_IMAGE, "XML"),
        (b"version https://git-lfs.github.com/spec/v1\n", ImageProblem.NOT_AN_IMAGE, "git lfs pull"),
        (b"\0\0\0\x18ftypheic" + bytes(50), ImageProblem.NOT_AN_IMAGE, "HEIC"),
        (bytes(5000), ImageProblem.NOT_AN_IMAGE, "zero bytes"),
        (b"PK\x03\x04" + bytes(50), ImageProblem.NOT_AN_IMAGE, "ZIP"),
        (b"BM, said the text, is no bitmap at all", ImageProblem.TRUNCATED, "truncated"),
        (b"\x89PNG", ImageProblem.CORRUPT, "header"),
        (b"\xff\xd8\xff", ImageProblem.CORRUPT, "header"),
        (png_of_claimed_size(60_000, 60_000), ImageProblem.BOMB, "3600000000 pixels"),
        (jpeg_of_claimed_size(65_000, 65_000), ImageProblem.BOMB, "4225000000 pixels"),
        (BMP_OF_CLAIMED_SIZE, ImageProblem.BOMB, "3600000000 pixels"),
        (GIF_OF_CLAIMED_SIZE, ImageProblem.BOMB, "3601080081 pixels"),
        (png_of_claimed_size(0, 10), ImageProblem.TOO_SMALL, "0×10"),
        (encoded(noise(1, 40), "PNG"), ImageProblem.TOO_SMALL, "1×40"),
        (encoded(noise(40, 1), "GIF"), ImageProblem.TOO_SMALL, "40×1"),
        (encoded(noise(1, 1), "JPEG"), ImageProblem.TOO_SMALL, "not padded"),
        (encoded(noise(500, 2), "PNG"), ImageProblem.ASPECT_RATIO, "250"),
        (encoded(noise(2, 500), "WEBP"), ImageProblem.ASPECT_RATIO, "250"),
        (encoded(noise(16, 16), "PPM"), ImageProblem.NOT_AN_IMAGE, "supported are"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)  # fmt: skip
def test_what_is_no_usable_image_is_refused_by_name(data, problem, says):
    assert says in refused(data, problem)


def test_a_bomb_is_refused_without_memory_or_warnings():
    before = Image.MAX_IMAGE_PIXELS
    huge_tiff = bytearray(encoded(corners(), "TIFF"))
    for tag in (256, 257):
        at = huge_tiff.index(struct.pack("<HH", tag, 4 if struct.pack("<HH", tag, 4) in huge_tiff else 3))
        huge_tiff[at : at + 12] = struct.pack("<HHII", tag, 4, 1, 50_000)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        refused(bytes(huge_tiff), ImageProblem.BOMB)
        refused(png_header(20_000, 20_000), ImageProblem.BOMB)
    assert caught == []
    assert before == Image.MAX_IMAGE_PIXELS


def test_a_hundred_megapixel_photograph_is_no_bomb():
    data = encoded(Image.new("L", (11_000, 9_000), 77), "PNG")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = prepared(data)
    assert caught == []
    assert result.width * result.height <= POLICY.max_pixels


def test_a_file_that_is_not_there_is_missing(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    for name in ("nowhere.png", "file/below.png"):
        with pytest.raises(MissingImage, match="there is no file"):
            prepare_image(ImageSource(name, path=str(tmp_path / name)), POLICY)


def test_what_cannot_be_read_is_unreadable_and_never_waits(tmp_path):
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    for name in ("folder.png", "pipe.png", "loop.png", "n" * 300 + ".png"):
        with pytest.raises(BadImage) as caught:
            prepare_image(ImageSource(name, path=str(tmp_path / name)), POLICY)
        assert caught.value.problem is ImageProblem.UNREADABLE


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_unreadable(tmp_path):
    file = tmp_path / "secret.png"
    file.write_bytes(encoded(noise(), "PNG"))
    file.chmod(0)
    with pytest.raises(BadImage, match="ermission") as caught:
        prepare_image(ImageSource("secret.png", path=str(file)), POLICY)
    assert caught.value.problem is ImageProblem.UNREADABLE


def test_a_file_over_the_limit_is_not_read(tmp_path):
    with (tmp_path / "sparse.png").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(BadImage, match="1,099,511,627,776 bytes"):
        prepare_image(ImageSource("sparse.png", path=str(tmp_path / "sparse.png")), POLICY)


def test_a_source_that_is_known_to_be_bad_is_refused_at_once():
    for problem in ImageProblem:
        source = ImageSource("a/b.png", problem=problem.value, detail="the reason")
        for ask in (lambda s: prepare_image(s, POLICY), ImageCache(POLICY).get):
            with pytest.raises(ImageError, match=r"^a/b\.png: the reason$") as caught:
                ask(source)
            assert caught.value.problem is problem
            assert isinstance(caught.value, MissingImage) == (problem is ImageProblem.MISSING)
    with pytest.raises(BadImage) as caught:
        prepare_image(ImageSource("nothing"), POLICY)
    assert caught.value.problem is ImageProblem.BAD_VALUE
    with pytest.raises(BadImage) as caught:
        prepare_image(ImageSource("nul", path="/a\0b"), POLICY)
    assert caught.value.problem is ImageProblem.BAD_VALUE


# --- cut and damaged ---

THUMBNAIL_EXIF = b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0" + encoded(noise(32, 24), "JPEG")


def outcome(data, policy):
    """(problem, None) or (None, prepared image)."""
    try:
        return None, prepared(data, policy)
    except BadImage as error:
        return error.problem, None


WHOLE = {
    "jpeg": encoded(noise(), "JPEG"),
    "progressive": encoded(noise(), "JPEG", progressive=True),
    "jpeg with thumbnail": encoded(noise(), "JPEG", exif=THUMBNAIL_EXIF),
    "png": encoded(noise(), "PNG"),
    "webp": encoded(noise(), "WEBP"),
    "lossless webp": encoded(noise(), "WEBP", lossless=True),
    "gif": encoded(noise().quantize(), "GIF"),
    "tiff": encoded(noise(), "TIFF"),
    "lzw tiff": encoded(noise(), "TIFF", compression="tiff_lzw"),
    "bmp": encoded(noise(), "BMP"),
}


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("policy", [POLICY, SMALL], ids=["full", "reduced"])
def test_a_file_that_was_cut_is_never_sent_as_a_whole_one(name, policy):
    data = WHOLE[name]
    expected = np.asarray(received(prepared(data, policy)), int)
    for kept in sorted(
        {*range(1, 64), *range(64, len(data), max(1, len(data) // 61)), *range(len(data) - 24, len(data))}
    ):
        problem, result = outcome(data[:kept], policy)
        if result is None:
            allowed = {ImageProblem.TRUNCATED, ImageProblem.CORRUPT} | (
                {ImageProblem.NOT_AN_IMAGE} if kept < 20 else set()
            )
            assert problem in allowed, (kept, problem)
        else:
            assert len(data) - kept <= 24, f"{len(data) - kept} bytes are missing and nobody noticed"
            np.testing.assert_allclose(np.asarray(received(result), int), expected, atol=60)


@pytest.mark.parametrize("name", ["jpeg", "progressive", "jpeg with thumbnail", "png"])
def test_a_download_that_was_interrupted_and_padded_with_zeros_is_refused(name):
    data = WHOLE[name]
    half = len(data) // 2
    for policy in (POLICY, SMALL):
        with pytest.raises(BadImage):
            prepared(data[:half] + bytes(len(data) - half), policy)


ORIENTATION_6 = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
MAGIC = [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x10\0\0\0WEBPVP8 ", b"GIF89a", b"BM"]
MAGIC += [b"II*\0", b"MM\0*", b"II+\0"]
CORPUS = [
    *WHOLE.values(),
    encoded(corners().convert("CMYK"), "JPEG"),
    encoded(corners().quantize(8), "PNG", transparency=bytes(range(8))),
    encoded(corners().convert("RGBA"), "WEBP", exif=ORIENTATION_6),
    encoded(corners(), "PNG", save_all=True, append_images=[noise(96, 64)]),
    encoded(corners(), "GIF", save_all=True, append_images=[noise(96, 64)]),
    encoded(corners(), "MPO", save_all=True, append_images=[noise(96, 64)]),
    encoded(corners(), "TIFF", compression="jpeg"),
    encoded(corners(), "TIFF", big_tiff=True, compression="tiff_deflate"),
    encoded(Image.new("1", (64, 64)), "TIFF", compression="group4"),
]  # fmt: skip


def assert_an_image_or_an_image_error(data, policy):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = prepared(data, policy)
        except ImageError:
            pass
        else:
            assert result.source_bytes == len(data)
            assert result.fragment.endswith(b'"}}')
    assert caught == []


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_damaged_bytes_raise_nothing_but_an_image_error_and_warn_of_nothing(data):
    body = bytearray(data.draw(st.sampled_from(CORPUS)))
    for _ in range(data.draw(st.integers(1, 6))):
        # Headers are where the traps are, so half of the damage goes there.
        reach = data.draw(st.sampled_from((64, 400, len(body))))
        at = data.draw(st.integers(0, min(reach, len(body)) - 1))
        new = data.draw(st.binary(max_size=6))
        if data.draw(st.booleans()):
            body[at : at + len(new)] = new
        else:
            body[at : at + data.draw(st.integers(0, 6))] = new
    for policy in (POLICY, SMALL):
        assert_an_image_or_an_image_error(bytes(body), policy)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(MAGIC), st.binary(max_size=300))
def test_random_bytes_behind_any_magic_raise_nothing_but_an_image_error(magic, tail):
    assert_an_image_or_an_image_error(magic + tail, POLICY)


def test_damaged_metadata_does_not_stop_a_good_picture():
    broken = b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x1a\x01\x05\0\x01\0\0\0\xf0\xff\xff\xff" + bytes(range(40))
    for policy in (POLICY, SMALL):
        for form in ("JPEG", "PNG", "WEBP"):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                assert_upright(received(prepared(encoded(corners(), form, exif=broken), policy)), 25)
            assert [w for w in caught if "images.py" in w.filename] == []


def test_warning_filters_and_pillows_settings_are_left_alone():
    before = list(warnings.filters), Image.MAX_IMAGE_PIXELS, dict(Image.OPEN)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda data: prepared(data, SMALL), [*WHOLE.values()] * 3))
    assert before[0] == list(warnings.filters)
    assert before[1:] == (Image.MAX_IMAGE_PIXELS, dict(Image.OPEN))


def test_a_damaged_tiff_makes_neither_python_warn_nor_pillow_log(tmp_path):
    """Both end on standard error, where the progress bar is. libtiff writes there as well, from C; that stays."""
    script = (
        "import sys, logging, warnings; from pathlib import Path; from captionqa.core.items import ImageSource\n"
        "from captionqa.core.vision import ImagePolicy; from captionqa.data.images import prepare_image\n"
        "from captionqa.errors import ImageError\n"
        "logging.basicConfig(stream=sys.stdout, level=logging.WARNING); logging.captureWarnings(True)\n"
        "data = Path(sys.argv[1]).read_bytes()\n"
        "for at in range(8, len(data), 7):\n"
        "    damaged = data[:at] + b'\\xff\\xee' + data[at + 2:]\n"
        "    try: prepare_image(ImageSource('x', data=damaged), ImagePolicy())\n"
        "    except ImageError: pass\n"
    )
    root = Path(images.__file__).parents[2]
    for number, options in enumerate(({"compression": "tiff_lzw"}, {"compression": "jpeg"}, {})):
        file = tmp_path / f"{number}.tiff"
        file.write_bytes(encoded(corners(48, 32), "TIFF", **options))
        run = subprocess.run(
            [sys.executable, "-W", "always", "-c", script, str(file)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(root)},
        )
        assert (run.returncode, run.stdout) == (0, "")


