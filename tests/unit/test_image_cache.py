"""Prepared images are made once, shared between threads and questions, and dropped when they are too many."""

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from captionqa.core.items import ImageSource
from captionqa.core.vision import ImagePolicy
from captionqa.data import image_cache
from captionqa.data.image_cache import ImageCache
from captionqa.data.images import prepare_image
from captionqa.errors import BadImage, MissingImage

POLICY = ImagePolicy()
SMALL = ImagePolicy(max_pixels=1024)


def png(seed=0):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (120, 160, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def on_disk(folder, count):
    sources = []
    for number in range(count):
        file = folder / f"{number}.png"
        file.write_bytes(png(number))
        sources.append(ImageSource(file.name, path=str(file)))
    return sources


def test_threads_that_ask_at_the_same_time_prepare_an_image_once(tmp_path, monkeypatch):
    (source,) = on_disk(tmp_path, 1)
    calls = []
    others_wait = threading.Event()
    real = image_cache.fit_image

    def slow(*arguments):
        calls.append(arguments)
        assert others_wait.wait(20)
        return real(*arguments)

    monkeypatch.setattr(image_cache, "fit_image", slow)
    cache = ImageCache(POLICY)
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(cache.get, source) for _ in range(8)]
        while cache.prepared + cache.reused < 8:
            pass
        others_wait.set()
        payloads = {id(answer.result(20).pieces[1]) for answer in answers}
    assert len(calls) == len(payloads) == 1
    assert (cache.prepared, cache.reused) == (1, 7)


def test_the_least_recently_used_image_goes_first(tmp_path):
    first, second, third = on_disk(tmp_path, 3)
    weight = prepare_image(first, POLICY).weight
    cache = ImageCache(POLICY, max_bytes=int(weight * 2.5))
    for source in (first, second, first, third):
        cache.get(source)
    assert (cache.prepared, cache.reused) == (3, 1)
    for source in (first, third, second):
        cache.get(source)
    assert (cache.prepared, cache.reused) == (4, 3)
    assert 0 < cache.held_bytes <= cache.max_bytes


def test_an_image_larger_than_the_cache_is_served_and_not_kept(tmp_path):
    (source,) = on_disk(tmp_path, 1)
    cache = ImageCache(POLICY, max_bytes=100)
    assert cache.get(source) == cache.get(source)
    assert (cache.prepared, cache.reused, cache.held_bytes) == (2, 0, 0)


def test_a_refusal_is_remembered_and_named_after_who_asks(monkeypatch):
    cache = ImageCache(POLICY)
    for name in ("first", "second"):
        with pytest.raises(BadImage, match=f"^{name}: .* HTML"):
            cache.get(ImageSource(name, data=b"<html>404</html>"))
    assert (cache.prepared, cache.reused) == (1, 1)


def test_equal_bytes_in_two_rows_are_one_image_under_two_names():
    data = png()
    cache = ImageCache(POLICY)
    one = cache.get(ImageSource("q1#0", data=data))
    two = cache.get(ImageSource("q2#0", data=bytes(bytearray(data))))
    assert (one.name, two.name) == ("q1#0", "q2#0")
    assert two.pieces is one.pieces
    assert cache.get(ImageSource("q1#0", data=png(9))).pieces != one.pieces
    assert (cache.prepared, cache.reused) == (2, 1)


def test_a_bug_is_not_remembered_and_nobody_waits_for_ever(tmp_path, monkeypatch):
    (source,) = on_disk(tmp_path, 1)
    cache = ImageCache(POLICY)
    with monkeypatch.context() as patch:
        patch.setattr(image_cache, "fit_image", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            cache.get(source)
    assert cache.get(source).untouched


def test_many_threads_and_images_agree_with_preparing_alone(tmp_path):
    sources = on_disk(tmp_path, 12)
    alone = {source.name: prepare_image(source, SMALL) for source in sources}
    cache = ImageCache(SMALL, max_bytes=40_000)
    with ThreadPoolExecutor(8) as pool:
        for result in pool.map(cache.get, sources * 20):
            assert result == alone[result.name]
    assert cache.prepared + cache.reused == 240
    assert cache.held_bytes <= 40_000


def test_a_file_of_another_size_under_the_same_path_is_another_image(tmp_path):
    (source,) = on_disk(tmp_path, 1)
    cache = ImageCache(POLICY)
    old = cache.get(replace(source, version=1))
    (tmp_path / source.name).write_bytes(png(9))
    assert cache.get(replace(source, version=1)) is old
    assert cache.get(replace(source, version=2)).pieces != old.pieces


def test_inline_bytes_with_a_digest_are_not_hashed_again(monkeypatch):
    cache = ImageCache(POLICY)
    monkeypatch.setattr(image_cache.hashlib, "sha256", lambda data: 1 / 0)
    one = cache.get(ImageSource("q1#0", data=png(), version="digest of png 0"))
    assert cache.get(ImageSource("q1#0", data=png(), version="digest of png 0")) is one
    assert cache.get(ImageSource("q1#0", data=png(1), version="digest of png 1")) != one
    assert (cache.prepared, cache.reused) == (2, 1)


def test_a_source_that_is_known_to_be_bad_is_refused_at_once_and_not_counted():
    cache = ImageCache(POLICY)
    with pytest.raises(MissingImage, match=r"^a/b\.png: the reason$"):
        cache.get(ImageSource("a/b.png", problem="missing", detail="the reason"))
    assert (cache.prepared, cache.reused) == (0, 0)
