"""A corpus in a bucket is written and read like one in a folder, and no more of it is fetched than is wanted."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from skysense.data.shards import store as kvstores
from skysense.data.shards.check import check
from skysense.data.shards.convert import convert
from skysense.data.shards.read import Shards
from skysense.data.shards.show import summary
from skysense.data.shards.write import write_shard
from skysense.errors import InputError, OutputError, Unreachable
from skysense.geo import Window
from tests.data.places_samples import make_sample, write_folder
from tests.data.shards.corpora import assert_sample, entries, write_corpus
from tests.data.shards.stores import ObjectStore, quick_tries, serve


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, ObjectStore]]:
    """One for each protocol; where Google's is, a process asks only once."""
    with serve() as amazon, serve() as google, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TENSORSTORE_GCS_HTTP_URL", google.url)
        patch.setenv("AWS_ENDPOINT_URL", amazon.url)
        patch.setenv("AWS_ACCESS_KEY_ID", "somebody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        yield {"s3": amazon, "gs": google}


@pytest.fixture(params=["s3", "gs"])
def bucket(request: pytest.FixtureRequest, servers: dict[str, ObjectStore]) -> Iterator[tuple[str, ObjectStore]]:
    server = servers[request.param]
    server.objects.clear()
    server.requests.clear()
    yield f"{request.param}://bucket/some/where", server
    server.broken = 0


def test_a_corpus_is_written_to_a_bucket_and_read_from_it(bucket: tuple[str, ObjectStore]) -> None:
    root, server = bucket
    corpus = write_corpus(root, entries())
    assert {key for key in server.objects if key.count("/") == 3} == {
        "bucket/some/where/shards.json",
        "bucket/some/where/places.npy",
    }
    assert [place.name for place in corpus] == ["p0", "p1", "p2", "p3", "p4"]
    for place, entry in zip(corpus, entries(), strict=True):
        assert_sample(corpus.read_sample(place), entry.sample)
        assert corpus.attributes(place) == entry.attributes
    assert_sample(pickle.loads(pickle.dumps(corpus)).read_sample(corpus[1]), entries()[1].sample)
    assert check(root).problems == [] and check(root, deep=False).problems == []


def test_the_group_is_the_last_file_of_a_shard_and_the_manifest_of_a_corpus(bucket: tuple[str, ObjectStore]) -> None:
    root, server = bucket
    write_corpus(root, entries(2))
    written = [
        key.removeprefix("bucket/some/where/") for method, key, _ in server.requests if method in ("PUT", "POST")
    ]
    assert written[-3:] == ["000000.zarr/zarr.json", "places.npy", "shards.json"]
    assert len(set(written)) == len(written) > 20


def test_only_what_is_wanted_is_fetched(bucket: tuple[str, ObjectStore]) -> None:
    root, server = bucket
    corpus = write_corpus(root, entries(8, height=16, width=16), 8)
    stored = sum(map(len, server.objects.values()))
    server.requests.clear()
    read = corpus.read_sample(corpus[3], ["s2"], Window(0, 0, 4, 4), {"s2": [2]})
    wanted = make_sample("p3", seed=3, height=16, width=16).series["s2"].take([2]).crop(Window(0, 0, 4, 4))
    assert (read.series["s2"].values == wanted.values).all()
    assert server.read() < stored / 20
    assert all(part for method, key, part in server.requests if "/s2/" in key)
    server.requests.clear()
    corpus.read_sample(corpus[3], ["s2"], Window(0, 0, 4, 4), {"s2": [3]})
    assert len(server.requests) == 1  # the masks of the place and the indexes of the files are known by now


def test_a_file_that_is_missing_or_damaged_in_a_bucket_is_named(bucket: tuple[str, ObjectStore]) -> None:
    root, server = bucket
    corpus = write_corpus(root, entries(4))
    key = "bucket/some/where/000001.zarr/s2/c/0/0/0/0"
    content = bytearray(server.objects[key])
    content[100] ^= 1
    server.objects[key] = bytes(content)
    assert_sample(corpus.read_sample(corpus[0]), entries()[0].sample)
    with pytest.raises(InputError, match=r"000001\.zarr/s2/c/0/0/0/0\S*: is damaged"):
        corpus.read_sample(corpus[2])
    del server.objects[key]
    with pytest.raises(InputError, match=r"000001\.zarr/s2/c/0/0/0/0\S*: is missing"):
        Shards(root).read_sample(corpus[3])
    del server.objects["bucket/some/where/000001.zarr/zarr.json"]
    with pytest.raises(InputError, match=r"000001\.zarr/zarr\.json: is not there"):
        Shards(root).read_sample(corpus[3])
    assert [str(one) for one in check(root, deep=False).problems] == ["000001: the shard is not there"]


def test_a_bucket_that_holds_no_corpus_or_lets_nobody_in_is_named(bucket: tuple[str, ObjectStore]) -> None:
    root, server = bucket
    with pytest.raises(InputError, match=rf"{root}: is no corpus of shards"):
        Shards(root)
    server.broken = 403
    with pytest.raises(InputError, match=rf"{root}/shards\.json: could not be read"):
        Shards(root)
    with pytest.raises(OutputError, match=rf"{root}/.*: could not be written"):
        write_shard(root, "000000", entries(1))


def test_a_store_that_is_down_is_given_up_soon(
    bucket: tuple[str, ObjectStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, server = bucket
    corpus = write_corpus(root, entries(2))
    opened = kvstores.context(1).spec.to_json()
    for protocol in ("s3", "gcs", "http"):
        tries = opened[f"{protocol}_request_retries"]
        assert tries["max_retries"] <= 6 and tries["max_delay"] == "8s"
    server.broken = 503
    with quick_tries(), monkeypatch.context() as patch, socket.socket() as nobody:
        before = len(server.requests)
        with pytest.raises(Unreachable, match="could not be read: ABORTED: All 2 retry attempts failed"):
            Shards(root)
        assert len(server.requests) == before + 3
        with pytest.raises(Unreachable):
            corpus.read_sample(corpus[0])
        with pytest.raises(OutputError, match="could not be written: ABORTED"):
            write_shard(root, "000009", entries(1))
        nobody.bind(("127.0.0.1", 0))  # a port that refuses: nobody listens
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        with pytest.raises(Unreachable, match="Could not connect to server"):
            Shards("s3://bucket/some/where")
    server.broken = 0
    assert_sample(Shards(root).read_sample(corpus[0]), entries()[0].sample)
    server.broken = 403
    with pytest.raises(InputError) as raised:
        Shards(root)
    assert not isinstance(raised.value, Unreachable)


def test_places_are_converted_into_a_bucket_and_go_on_there(bucket: tuple[str, ObjectStore], tmp_path: Path) -> None:
    root, server = bucket
    folder = write_folder(tmp_path / "farms", "p0", "p1", "p2")
    done = convert([folder], root, places_per_shard=2)
    local = convert([folder], tmp_path / "out", places_per_shard=2)
    assert done.manifest == local.manifest
    for name in ("shards.json", "places.npy", "000001.zarr/zarr.json"):
        del server.objects[f"bucket/some/where/{name}"]
    again = convert([folder], root, places_per_shard=2)
    assert (again.manifest, again.before) == (local.manifest, 2)
    assert summary(Shards(root)) == summary(Shards(tmp_path / "out"))


def test_where_a_store_is_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    assert kvstores.kvstore("s3://b/x/", "y") == {"driver": "s3", "bucket": "b", "path": "x/y/"}
    assert kvstores.kvstore("s3://b") == {"driver": "s3", "bucket": "b", "path": "/"}
    assert kvstores.kvstore("gs://b/x", "y", "z") == {"driver": "gcs", "bucket": "b", "path": "x/y/z/"}
    assert kvstores.kvstore("https://host/x", "y") == "https://host/x/y/"
    assert kvstores.kvstore(tmp_path, "y") == {"driver": "file", "path": f"{tmp_path.resolve()}/y/"}
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://other/")
    monkeypatch.setenv("AWS_REGION", "eu-west-3")
    found = kvstores.kvstore("s3://b/x")
    assert (found["endpoint"], found["aws_region"]) == ("http://other", "eu-west-3") and "aws_credentials" not in found
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://first")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "me")
    found = kvstores.kvstore("s3://b/x")
    assert (found["endpoint"], found["aws_credentials"]) == ("http://first", {"type": "environment"})
