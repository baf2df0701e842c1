import http.client
import json
import re
import urllib.error
import urllib.request
from collections import Counter

import pytest
from rasterio.errors import RasterioIOError
from rasterio.io import MemoryFile

from skysense.curate.rehearsal import ALWAYS, Faults, Rehearsal, When
from skysense.curate.rehearsal.faults import Fate


@pytest.fixture
def served(folder):
    """Serve the archive with faults until the test ends."""
    running = []

    def serve(**faults):
        running.append(Rehearsal(folder, faults=Faults(**faults)))
        return running[-1].__enter__()

    yield serve
    for one in running:
        one.__exit__(None, None, None)


def get(url, body=None, **headers):
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=20) as answer:
        return answer.read()


def failure(url, **more):
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(url, **more)
    return caught.value


def features(archive, name, **body):
    return json.loads(get(f"{archive.url(name)}/search", body={"limit": 200, **body}))["features"]


def red(archive):
    return features(archive, "earth-search")[0]["assets"]["red"]["href"]


def test_nothing_goes_wrong_by_default(served):
    archive = served()
    for item in features(archive, "earth-search"):
        assert get(item["assets"]["red"]["href"], Range="bytes=0-3") == b"II*\0"
    assert set(archive.counts.statuses) == {200, 206}


def test_too_many_requests(served):
    archive = served(too_many=When("B04", first=2), retry_after=0.25)
    url = red(archive)
    for _ in range(2):
        error = failure(url)
        assert error.code == 429 and error.headers["Retry-After"] == "0.25"
    assert len(get(url)) > 1000
    assert archive.counts.statuses[429] == 2


def test_catalogue_down_for_a_while_and_for_good(served):
    archive = served(unavailable=When("earth-search/v1", first=1))
    assert failure(archive.url("earth-search")).code == 503
    assert json.loads(get(archive.url("earth-search")))["type"] == "Catalog"
    down = served(unavailable=When("earth-search/v1", share=1))
    for _ in range(3):
        assert failure(down.url("earth-search")).code == 503
    assert json.loads(get(down.url("planetary")))["type"] == "Catalog"


def test_reset(served):
    archive = served(reset=When("B04", first=1))
    url = red(archive)
    with pytest.raises((ConnectionError, urllib.error.URLError)) as caught:
        get(url)
    reason = getattr(caught.value, "reason", caught.value)
    assert isinstance(reason, ConnectionResetError | http.client.RemoteDisconnected)
    assert len(get(url)) > 1000
    assert archive.counts.statuses[0] == 1


def test_truncated_body(served):
    archive = served(truncated=When("B04", first=1))
    url = red(archive)
    with pytest.raises(http.client.IncompleteRead) as caught:
        get(url, Range="bytes=0-999")
    assert len(caught.value.partial) == 500 and caught.value.expected == 500
    assert len(get(url, Range="bytes=0-999")) == 1000


def test_slow(served):
    archive = served(slow=ALWAYS, slow_seconds=3)
    with pytest.raises(TimeoutError):
        urllib.request.urlopen(archive.url("planetary"), timeout=0.3)


def test_stale_tokens(served):
    archive = served(stale_tokens=1)
    url = features(archive, "planetary", collections=["naip"])[0]["assets"]["image"]["href"]
    tokens = [json.loads(get(f"{archive.url('sas')}/token/naip"))["token"] for _ in range(2)]
    assert failure(f"{url}?{tokens[0]}").code == 403
    assert get(f"{url}?{tokens[1]}", Range="bytes=0-3") == b"II*\0"


def test_gone(served):
    archive = served(gone="B04")
    assert failure(red(archive)).code == 404
    assert get(features(archive, "earth-search")[0]["assets"]["blue"]["href"], Range="bytes=0-3") == b"II*\0"


def test_corrupt_pixels_behind_a_whole_header(served):
    archive = served(corrupt="B04")
    url = red(archive)
    with MemoryFile(get(url)) as memory, memory.open() as file:
        assert file.shape == (128, 128)
        with pytest.raises(RasterioIOError):
            file.read(1)
    assert get(url) == get(url)  # the file is what it is: a second try does not help
    assert get(url)[5000:6000] == get(url, Range="bytes=5000-5999")


def test_missing_assets(served):
    archive = served(missing=r"16TBL.*/(red|B04)$")
    lacking = Counter()
    for name, key in (("earth-search", "red"), ("planetary", "B04")):
        for item in features(archive, name, collections=["sentinel-2-l2a"]):
            assert (key in item["assets"]) == ("16TBL" not in item["id"])
            lacking[name] += key not in item["assets"]
    assert lacking == {"earth-search": 5, "planetary": 5}


def test_displaced_and_unflagged_items(served, folder):
    archive = served(displaced="16TBK", unflagged="16TBL")
    for item in features(archive, "earth-search"):
        asset, properties = item["assets"]["nir"], item["properties"]
        crs = properties.get("proj:code") or f"EPSG:{properties['proj:epsg']}"
        with MemoryFile(get(asset["href"])) as memory, memory.open() as file:
            right = file.crs.to_string() == crs and list(file.transform)[:6] == pytest.approx(asset["proj:transform"])
        assert right == ("16TBK" not in item["id"])
        if "16TBL" in item["id"]:
            assert properties["earthsearch:boa_offset_applied"] is False


def test_empty(served):
    archive = served(empty="sentinel-1-rtc")
    assert features(archive, "planetary", collections=["sentinel-1-rtc"]) == []
    assert features(archive, "planetary", collections=["naip"])


def test_fate_depends_on_nothing_but_path_and_count():
    paths = [f"/a/{index}" for index in range(300)]

    def fates(seed, order):
        fate = Fate(Faults(seed=seed, unavailable=When(share=0.2), reset=When("/a/1", share=0.2, first=1)))
        return {path: fate.of(path) for path in order}

    one = fates(0, paths)
    assert one == fates(0, paths[::-1])
    assert one != fates(1, paths)
    troubles = Counter(one.values())
    assert 35 <= troubles["unavailable"] <= 90
    assert all((fate is not None) for path, fate in one.items() if path.startswith("/a/1"))


def test_patterns_are_checked_at_once():
    with pytest.raises(re.error):
        Faults(gone="(")
    with pytest.raises(re.error):
        Faults(slow=When("["))
