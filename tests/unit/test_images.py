"""Images made fit to send: every format × mode × orientation, then everything that can be wrong with a file."""

import io
import json
import os
import random
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
from PIL import Image, PngImagePlugin

from captionqa.core.items import ImageSource
from captionqa.core.vision import ImagePolicy
from captionqa.data import images
from captionqa.data.images import prepare_image
from captionqa.errors import BadImage, ImageError, ImageProblem, MissingImage

POLICY = ImagePolicy()
SMALL = ImagePolicy(max_pixels=1024)
RED, GREEN, BLUE, GREY = (220, 30, 30), (30, 200, 30), (30, 30, 220), (128, 128, 128)
both_policies = pytest.mark.parametrize("policy", [POLICY, SMALL], ids=["full", "reduced"])


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


def animated(form, **options):
    return encoded(corners(), form, save_all=True, append_images=[noise(96, 64), noise(96, 64, 1)], **options)


def prepared(data, policy=POLICY):
    return prepare_image(ImageSource("x", data=data), policy)


def payload(result):
    """The image bytes inside a fragment, after checking everything around them."""
    part = json.loads(b"".join(result.pieces))
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


def refused(source, problem, policy=POLICY):
    """The message of a refusal."""
    with pytest.raises(ImageError) as caught:
        prepare_image(source if isinstance(source, ImageSource) else ImageSource("x", data=source), policy)
    assert caught.value.problem is problem
    assert isinstance(caught.value, MissingImage if problem is ImageProblem.MISSING else BadImage)
    return str(caught.value)


def assert_upright(picture, tolerance=12):
    assert picture.width > picture.height
    for (x, y), colour in zip(((1, 1), (3, 1), (3, 3), (1, 3)), (RED, GREEN, BLUE, GREY), strict=True):
        found = picture.getpixel((picture.width * x // 4, picture.height * y // 4))
        assert max(abs(a - b) for a, b in zip(found, colour, strict=True)) <= tolerance, (found, colour)


# --- sent as they are ---


@pytest.mark.parametrize(
    ("form", "mode", "options"),
    [
        *(("JPEG", "RGB", {}), ("JPEG", "L", {}), ("JPEG", "RGB", {"progressive": True})),
        ("JPEG", "RGB", {"subsampling": 0, "comment": b"hello"}),
        *(("PNG", "RGB", {}), ("PNG", "L", {}), ("PNG", "P", {})),
        *(("WEBP", "RGB", {}), ("WEBP", "RGB", {"lossless": True})),
    ],
)
def test_an_image_that_is_fit_is_sent_byte_for_byte(form, mode, options):
    upright = Image.Exif()
    upright[0x0112] = 1
    for data in (encoded(noise().convert(mode), form, **(options | more)) for more in ({}, {"exif": upright})):
        result = prepared(data)
        assert payload(result) == data
        facts = {"name": "x", "source_bytes": len(data), "width": 160, "height": 120, "untouched": True}
        assert result.to_dict() == {**facts, "mime": f"image/{form.lower()}"}
        received(result)


def test_the_type_is_declared_from_the_bytes_not_from_the_name(tmp_path):
    for form, name in (("PNG", "a.jpg"), ("JPEG", "b.png"), ("WEBP", "c"), ("PNG", "d.txt")):
        (tmp_path / name).write_bytes(encoded(noise(), form))
        result = prepare_image(ImageSource(name, path=str(tmp_path / name)), POLICY)
        assert result.mime == f"image/{form.lower()}"
        received(result)


def test_a_jpeg_with_harmless_bytes_behind_its_end_is_sent_as_it_is():
    data = encoded(noise(), "JPEG")
    for tail in (b"\0" * 10, b"x" * 100, b"trailer" * 5000, bytes(20_000)):
        assert prepared(data + tail).untouched


@both_policies
def test_a_multi_picture_jpeg_is_a_jpeg(policy):
    result = prepared(animated("MPO"), policy)
    assert (result.mime, result.untouched) == ("image/jpeg", policy is POLICY)
    assert_upright(received(result), 25)


def test_an_image_of_exactly_max_pixels_is_untouched():
    assert prepared(encoded(noise(64, 16), "PNG"), SMALL).untouched
    assert not prepared(encoded(noise(65, 16), "PNG"), SMALL).untouched


# --- changed ---

# The pixels a camera stores so that the orientation turns them back: 5 and 7 are their own inverse.
STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@both_policies
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_picture_arrives_upright(form, orientation, policy):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = corners().transpose(STORED[orientation]) if orientation > 1 else corners()
    result = prepared(encoded(stored, form, exif=exif, **({"lossless": True} if form == "WEBP" else {})), policy)
    assert result.untouched == (orientation == 1 and form != "TIFF" and policy is POLICY)
    assert_upright(received(result), 25)
    assert result.width * result.height <= policy.max_pixels


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_an_orientation_that_stands_only_in_xmp_counts_as_in_pillow(form):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp.decode())
    options = {"pnginfo": info} if form == "PNG" else {"xmp": xmp}
    assert_upright(received(prepared(encoded(corners().transpose(STORED[6]), form, **options))))


def test_an_orientation_behind_the_pixels_of_a_png_counts():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(corners().transpose(STORED[6]), "PNG", exif=exif)
    at = data.index(b"eXIf") - 4
    end = at + 12 + int.from_bytes(data[at : at + 4], "big")
    assert_upright(received(prepared(data[:at] + data[end:-12] + data[at:end] + data[-12:])))


MODES = {
    "PNG": ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"],
    "JPEG": ["L", "RGB", "CMYK"],
    "WEBP": ["RGB", "RGBA"],
    "BMP": ["1", "L", "P", "RGB", "RGBA"],
    "GIF": ["1", "L", "P", "RGB", "RGBA"],
    "TIFF": ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F"],
}


@both_policies
@pytest.mark.parametrize(("form", "mode"), [(form, mode) for form, modes in MODES.items() for mode in modes])
def test_every_format_and_mode_arrives_as_the_same_picture(form, mode, policy):
    grey = corners().convert("L")
    if mode == "I;16":
        source = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    else:
        source = (grey if mode in ("I", "F") else corners()).convert(mode)
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
    assert received(prepared(encoded(page, "TIFF", compression="group4"))) == page.convert("RGB")


def test_sixteen_bits_are_scaled_and_not_clipped():
    ramp = np.repeat(np.linspace(0, 65535, 256).astype(np.uint16)[None], 64, axis=0)
    for form in ("PNG", "TIFF"):
        picture = received(prepared(encoded(Image.fromarray(ramp), form))).convert("L")
        assert np.abs(np.asarray(picture)[0].astype(int) - np.arange(256)).max() <= 1
        dark = received(prepared(encoded(Image.fromarray(ramp // 512), form)))
        assert dark.getextrema()[0] == (0, 0)


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
        assert (result.untouched, result.mime) == (False, "image/png"), name
        assert min(picture.getpixel((60, 40))) >= 250, name
        assert picture.getpixel((5, 5))[1] <= 95, name


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_is_sent_as_a_still(form):
    result = prepared(animated(form, **({"lossless": True} if form == "WEBP" else {})))
    assert not result.untouched
    assert_upright(received(result), 30)
    assert getattr(Image.open(io.BytesIO(payload(result))), "n_frames", 1) == 1


def test_a_large_image_is_reduced_to_the_policy_and_stays_jpeg_if_it_was():
    turned = Image.Exif()
    turned[0x0112] = 6
    for data, mime in (
        (encoded(corners(3000, 2000), "JPEG"), "image/jpeg"),
        (encoded(corners(3000, 2000).transpose(STORED[6]), "JPEG", exif=turned), "image/jpeg"),
        (encoded(corners(3000, 2000), "PNG"), "image/png"),
        (encoded(corners(3000, 2000), "BMP"), "image/png"),
    ):
        result = prepared(data, ImagePolicy(max_pixels=600_000))
        assert result.mime == mime
        assert (result.width, result.height) == pytest.approx((948, 632), abs=2)
        assert_upright(received(result))


def test_a_hundred_megapixel_photograph_is_no_bomb():
    result = prepared(encoded(Image.new("L", (11_000, 9_000), 77), "PNG"))
    assert result.width * result.height <= POLICY.max_pixels


def test_metadata_does_not_travel_with_a_changed_picture():
    data = encoded(corners(), "JPEG", comment=b"a comment", icc_profile=b"a profile" * 20)
    for marker in (b"a comment", b"a profile"):
        assert marker not in payload(prepared(data, SMALL))


# --- refused ---


def png_of_claimed_size(width, height):
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", bytes(99)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


def jpeg_of_claimed_size(width, height):
    data = encoded(noise(16, 16), "JPEG")
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


GIF_OF_CLAIMED_SIZE = b"GIF89a\x09\0\x09\0\0\0\0," + struct.pack("<4H", 60_000, 60_000, 9, 9) + bytes(9)
BMP_OF_CLAIMED_SIZE = b"BM" + bytes(12) + struct.pack("<IiiHH", 40, 60_000, -60_000, 1, 24) + bytes(99)
TIFF_OF_CLAIMED_SIZE = encoded(noise(77, 77), "TIFF").replace(struct.pack("<II", 1, 77), struct.pack("<II", 1, 50_000))


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
        (encoded(noise(16, 16), "PPM"), ImageProblem.NOT_AN_IMAGE, "supported are"),
        (b"BM, said the text, is no bitmap at all", ImageProblem.TRUNCATED, "truncated"),
        (b"\x89PNG", ImageProblem.CORRUPT, "header"),
        (b"\xff\xd8\xff", ImageProblem.CORRUPT, "header"),
        (png_of_claimed_size(0, 10), ImageProblem.CORRUPT, "header"),
        (png_of_claimed_size(60_000, 60_000), ImageProblem.BOMB, "3600000000 pixels"),
        (png_of_claimed_size(20_000, 20_000), ImageProblem.BOMB, "400000000 pixels"),
        (jpeg_of_claimed_size(65_000, 65_000), ImageProblem.BOMB, "4225000000 pixels"),
        (BMP_OF_CLAIMED_SIZE, ImageProblem.BOMB, "3600000000 pixels"),
        (GIF_OF_CLAIMED_SIZE, ImageProblem.BOMB, "3601080081 pixels"),
        (TIFF_OF_CLAIMED_SIZE, ImageProblem.BOMB, "2500000000 pixels"),
        (encoded(noise(1, 40), "PNG"), ImageProblem.TOO_SMALL, "1×40"),
        (encoded(noise(40, 1), "GIF"), ImageProblem.TOO_SMALL, "40×1"),
        (encoded(noise(1, 1), "JPEG"), ImageProblem.TOO_SMALL, "not padded"),
        (encoded(noise(500, 2), "PNG"), ImageProblem.ASPECT_RATIO, "250"),
        (encoded(noise(2, 500), "WEBP"), ImageProblem.ASPECT_RATIO, "250"),
        (encoded(Image.new("F", (8, 8), float("nan")), "TIFF"), ImageProblem.CORRUPT, "not numbers"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_is_no_usable_image_is_refused_by_name(data, problem, says):
    message = refused(data, problem)
    assert message.startswith("x: ")
    assert says in message


def test_a_file_that_cannot_be_read_is_refused_and_never_waited_for(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    with (tmp_path / "sparse.png").open("wb") as sparse:
        sparse.truncate(1 << 40)
    for name, problem, says in (
        ("nowhere.png", ImageProblem.MISSING, "there is no file"),
        ("file/below.png", ImageProblem.MISSING, "there is no file"),
        ("folder.png", ImageProblem.UNREADABLE, "directory"),
        ("pipe.png", ImageProblem.UNREADABLE, "regular file"),
        ("loop.png", ImageProblem.UNREADABLE, "cannot be read"),
        ("n" * 300, ImageProblem.UNREADABLE, "cannot be read"),
        ("sparse.png", ImageProblem.UNREADABLE, "1,099,511,627,776 bytes"),
        ("a\0b", ImageProblem.BAD_VALUE, "file name"),
    ):
        assert says in refused(ImageSource(name, path=f"{tmp_path}/{name}"), problem)


NOBODY = 65534


def test_a_file_without_permission_is_unreadable(tmp_path):
    file = tmp_path / "secret.png"
    file.write_bytes(encoded(noise(), "PNG"))
    file.chmod(0)
    user = os.geteuid()
    if user == 0:  # root may read every file, so be somebody else for a moment
        os.seteuid(NOBODY)
    try:
        said = refused(ImageSource("secret.png", path=str(file)), ImageProblem.UNREADABLE)
    finally:
        if user == 0:
            os.seteuid(user)
    assert "ermission" in said


def test_a_source_that_is_known_to_be_bad_is_refused_at_once():
    for problem in ImageProblem:
        source = ImageSource("a/b.png", problem=problem.value, detail="the reason")
        assert refused(source, problem) == "a/b.png: the reason"
    assert "neither" in refused(ImageSource("nothing"), ImageProblem.BAD_VALUE)


# --- cut and damaged ---

THUMBNAIL_EXIF = b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0" + encoded(noise(32, 24), "JPEG")
ORIENTATION_6 = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
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


@both_policies
@pytest.mark.parametrize("name", WHOLE)
def test_a_file_that_was_cut_is_never_sent_as_a_whole_one(name, policy):
    data = WHOLE[name]
    expected = np.asarray(received(prepared(data, policy)), int)
    for kept in {*range(1, 64), *range(64, len(data), max(1, len(data) // 61)), *range(len(data) - 24, len(data))}:
        try:
            result = prepared(data[:kept], policy)
        except BadImage as error:
            problem = error.problem
        else:
            assert len(data) - kept <= 24, f"{len(data) - kept} bytes are missing and nobody noticed"
            np.testing.assert_allclose(np.asarray(received(result), int), expected, atol=60)
            continue
        assert problem in (ImageProblem.TRUNCATED, ImageProblem.CORRUPT) or (
            kept < 20 and problem is ImageProblem.NOT_AN_IMAGE
        )


@both_policies
@pytest.mark.parametrize("name", ["jpeg", "progressive", "jpeg with thumbnail", "png"])
def test_a_download_that_was_interrupted_and_padded_with_zeros_is_refused(name, policy):
    half = len(WHOLE[name]) // 2
    with pytest.raises(BadImage):
        prepared(WHOLE[name][:half] + bytes(half), policy)


@both_policies
def test_damaged_metadata_does_not_stop_a_good_picture(policy):
    broken = b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x1a\x01\x05\0\x01\0\0\0\xf0\xff\xff\xff" + bytes(range(40))
    for form in ("JPEG", "PNG", "WEBP"):
        for exif in (broken, b"Exif\0\0nothing of the kind"):
            assert_upright(received(prepared(encoded(corners(), form, exif=exif), policy)), 25)


MAGIC = [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x10\0\0\0WEBPVP8 ", b"GIF89a", b"BM"]
MAGIC += [b"II*\0", b"MM\0*", b"II+\0"]
CORPUS = [
    *WHOLE.values(),
    encoded(corners().convert("CMYK"), "JPEG"),
    encoded(corners().quantize(8), "PNG", transparency=bytes(range(8))),
    encoded(corners().convert("RGBA"), "WEBP", exif=ORIENTATION_6),
    encoded(corners(), "PNG", exif=ORIENTATION_6),
    *(animated(form) for form in ("PNG", "GIF", "MPO")),
    encoded(corners(), "TIFF", compression="jpeg"),
    encoded(corners(), "TIFF", big_tiff=True, compression="tiff_deflate"),
    encoded(Image.new("1", (64, 64)), "TIFF", compression="group4"),
]


def assert_an_image_or_an_image_error(data, policy=POLICY):
    """A visible warning is an exception here (pyproject.toml), and no ImageError."""
    try:
        result = prepared(data, policy)
    except ImageError:
        return
    assert result.source_bytes == len(data)
    assert result.pieces[2] == b'"}}'


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.sampled_from(range(len(CORPUS))), st.integers(1, 6), st.randoms(use_true_random=False))
def test_damaged_bytes_raise_nothing_but_an_image_error(number, wounds, chance):
    body = damaged(CORPUS[number], wounds, chance)
    for policy in (POLICY, SMALL):
        assert_an_image_or_an_image_error(body, policy)


def damaged(data, wounds, chance):
    body = bytearray(data)
    for _ in range(wounds):
        # Headers are where the traps are, so half of the damage goes there.
        at = chance.randrange(min(chance.choice((64, 400, len(body))), len(body)))
        new = chance.randbytes(chance.randrange(7))
        body[at : at + (len(new) if chance.random() < 0.5 else chance.randrange(7))] = new
    return bytes(body)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(MAGIC), st.binary(max_size=300))
def test_random_bytes_behind_any_magic_raise_nothing_but_an_image_error(magic, tail):
    assert_an_image_or_an_image_error(magic + tail)


def test_threads_meet_the_same_and_leave_warning_filters_and_pillows_settings_alone():
    before = list(warnings.filters), Image.MAX_IMAGE_PIXELS
    chance = random.Random(7)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(assert_an_image_or_an_image_error, [damaged(data, 3, chance) for data in CORPUS * 20]))
    assert before == (list(warnings.filters), Image.MAX_IMAGE_PIXELS)


SCRIPT = """
import logging, sys, warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from captionqa.core.items import ImageSource
from captionqa.core.vision import ImagePolicy
from captionqa.data.images import prepare_image
from captionqa.errors import ImageError

def ask(data):
    try:
        prepare_image(ImageSource("x", data=data), ImagePolicy())
    except ImageError:
        pass

logging.basicConfig(stream=sys.stdout, level=logging.WARNING)
logging.captureWarnings(True)
with ThreadPoolExecutor(4) as pool:
    for file in Path(sys.argv[1]).iterdir():
        data = file.read_bytes()
        list(pool.map(ask, (data[:at] + b"\\xff\\xee" + data[at + 2 :] for at in range(8, min(len(data), 3000), 7))))
"""


@pytest.mark.parametrize("action", ["always", "error"])
def test_no_warning_and_no_log_line_of_pillows_reaches_the_user(tmp_path, action):
    """Both end on standard error, where the progress bar is. libtiff writes there as well, from C; that stays."""
    plain = encoded(corners(48, 32), "TIFF")
    logged = plain.replace(struct.pack("<HHIH", 277, 3, 1, 3), struct.pack("<HHIH", 277, 3, 1, 2000))
    for number, data in enumerate([*CORPUS, plain, logged]):
        (tmp_path / str(number)).write_bytes(data)
    run = subprocess.run(
        [sys.executable, "-W", action, "-c", SCRIPT, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(images.__file__).parents[2])},
    )
    assert (run.returncode, run.stdout) == (0, "")
