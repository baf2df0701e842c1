import http.client
import json
import urllib.error
import urllib.request
from urllib.parse import quote, urlsplit

import pytest
import rasterio

from skysense.curate.rehearsal import Apart, Rehearsal
from skysense.errors import InputError, SkySenseError


@pytest.fixture(scope="module")
def archive(folder):
    with Rehearsal(folder, largest_page=4) as archive:
        yield archive


def ask(url, method=None, body=None, **headers):
    """Status, headers and body."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def told(url, **more):
    status, _, body = ask(url, **more)
    assert status == 200, body
    return json.loads(body)


def href(item, key):
    return item["assets"][key]["href"]


def search(archive, catalogue, **body):
    return told(f"{archive.url(catalogue)}/search", body=body)["features"]


NAMES = ["earth-search", "planetary"]


@pytest.mark.parametrize("name", NAMES)
def test_root_leads_everywhere(archive, name):
    root = told(archive.url(name))
    assert root["conformsTo"] == told(f"{archive.url(name)}/conformance")["conformsTo"]
    assert "https://api.stacspec.org/v1.0.0/item-search#query" in root["conformsTo"]
    links = [one for one in root["links"] if one["rel"] in ("self", "root", "data", "conformance", "child")]
    assert len(links) > 4 and all(ask(one["href"])[0] == 200 for one in links)
    listed = told(f"{archive.url(name)}/collections")["collections"]
    for collection in listed:
        assert told(f"{archive.url(name)}/collections/{collection['id']}") == collection
        items = told(next(one["href"] for one in collection["links"] if one["rel"] == "items"))
        one = items["features"][0]
        assert told(next(link["href"] for link in one["links"] if link["rel"] == "self")) == one
    for wrong in ("collections/none", f"collections/{listed[0]['id']}/items/none", "nowhere"):
        assert ask(f"{archive.url(name)}/{wrong}")[0] == 404


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_paging_gives_each_item_once(archive, name, method):
    collections = [one["id"] for one in told(f"{archive.url(name)}/collections")["collections"]]
    asked = {"collections": collections, "datetime": "2022-01-01T00:00:00Z/..", "query": {"datetime": {"gt": ""}}}
    if method == "POST":
        page = told(f"{archive.url(name)}/search", body=asked)
    else:
        query = quote(json.dumps(asked["query"]))
        page = told(
            f"{archive.url(name)}/search?collections={','.join(collections)}"
            f"&datetime={quote(asked['datetime'])}&query={query}"
        )
    seen, pages = [], 0
    while page is not None:
        pages += 1
        assert 1 <= len(page["features"]) <= 4
        seen += [item["id"] for item in page["features"]]
        following = [one for one in page["links"] if one["rel"] == "next"]
        page = None
        if following:
            assert following[0]["method"] == method
            assert following[0].get("merge", False) is False  # the body is whole
            page = told(following[0]["href"], body=following[0].get("body"))
    expected = 15 if name == "earth-search" else 15 + 6 + 1
    assert len(seen) == len(set(seen)) == expected and pages == -(-expected // 4)


def test_cursors_look_like_theirs(archive):
    for name, key in zip(NAMES, ("next", "token"), strict=True):
        page = told(f"{archive.url(name)}/search", body={"collections": ["sentinel-2-l2a"], "limit": 2})
        body = next(one for one in page["links"] if one["rel"] == "next")["body"]
        last = page["features"][-1]
        cursor = f"{last['properties']['datetime']},{last['id']},sentinel-2-l2a"
        assert body[key] == (cursor if key == "next" else f"next:sentinel-2-l2a:{last['id']}")
        assert body["limit"] == 2 and body["collections"] == ["sentinel-2-l2a"]
        assert ask(f"{archive.url(name)}/search", body={key: "nonsense"})[0] == 400
    assert "numberMatched" not in page


def test_limits(archive):
    for name, large in (("earth-search", 200), ("planetary", 400)):
        assert ask(f"{archive.url(name)}/search", body={"limit": 20_000})[0] == large
        assert ask(f"{archive.url(name)}/search", body={"limit": 0})[0] == 400
        assert ask(f"{archive.url(name)}/search?limit=x")[0] == 400
        assert ask(f"{archive.url(name)}/search", body={"datetime": "2022"})[0] == 400
        assert ask(f"{archive.url(name)}/conformance", body={})[0] == 405
        assert ask(f"{archive.url(name)}/search", method="POST", body=None)[0] == 200


def test_files_by_range(archive, folder):
    url = href(search(archive, "earth-search", limit=1)[0], "red")
    name = archive.files[urlsplit(url).path]
    whole = (folder / name).read_bytes()
    status, headers, body = ask(url)
    assert (status, body) == (200, whole) and headers["Accept-Ranges"] == "bytes"
    assert headers["Content-Length"] == str(len(whole)) and headers["Content-Type"] == "image/tiff"
    for asked, first, last in (("0-15", 0, 15), ("100-", 100, len(whole) - 1), ("-7", len(whole) - 7, len(whole) - 1)):
        status, headers, body = ask(url, Range=f"bytes={asked}")
        assert (status, body) == (206, whole[first : last + 1])
        assert headers["Content-Range"] == f"bytes {first}-{last}/{len(whole)}"
    status, headers, body = ask(url, Range=f"bytes={len(whole)}-")
    assert (status, body, headers["Content-Range"]) == (416, b"", f"bytes */{len(whole)}")
    assert ask(url, Range="bytes=0-1,4-5")[0] == 200
    status, headers, body = ask(url, method="HEAD")
    assert (status, body, headers["Content-Length"]) == (200, b"", str(len(whole)))
    status, headers, body = ask(url, method="HEAD", Range="bytes=0-9")
    assert (status, body, headers["Content-Length"]) == (206, b"", "10")
    assert ask(url + "x")[0] == 404


def test_a_connection_serves_many_requests(archive):
    url = urlsplit(href(search(archive, "earth-search", limit=1)[0], "red"))
    connection = http.client.HTTPConnection(url.netloc)
    sockets = set()
    for path in (url.path, "/nowhere", url.path, "/earth-search/v1"):
        connection.request("GET", path, headers={"Range": "bytes=0-99"})
        answer = connection.getresponse()
        answer.read()
        sockets.add(id(connection.sock))
        assert answer.version == 11
    assert len(sockets) == 1
    connection.close()


def test_gdal_reads_windows_of_it(archive, folder):
    window = rasterio.windows.Window(30, 40, 50, 60)
    with Apart(folder) as apart:
        url = href(search(apart, "earth-search", limit=1)[0], "nir")
        with rasterio.open(url) as far, rasterio.open(folder / archive.files[urlsplit(url).path]) as near:
            assert (far.read(1, window=window) == near.read(1, window=window)).all()


def test_blobs_want_a_token(folder):
    with Rehearsal(folder) as archive:
        item = search(archive, "planetary", collections=["sentinel-2-l2a"], limit=1)[0]
        url, sas = href(item, "B04"), archive.url("sas")
        status, headers, body = ask(url)
        assert status == 409 and headers["x-ms-error-code"] == "PublicAccessNotPermitted" and b"<Code>" in body
        by_collection = told(f"{sas}/token/sentinel-2-l2a")
        by_container = told(f"{sas}/token/sentinel2l2a01/sentinel2-l2")
        for token in (by_collection, by_container):
            assert ask(f"{url}?{token['token']}", Range="bytes=0-3")[0] == 206
            assert token["msft:expiry"] in token["token"].replace("%3A", ":")
        signed = told(f"{sas}/sign?href={quote(url, safe='')}")
        assert signed["href"].startswith(url) and ask(signed["href"], Range="bytes=0-3")[0] == 206
        other = told(f"{sas}/token/naip")["token"]
        status, headers, _ = ask(f"{url}?{other}")
        assert (status, headers["x-ms-error-code"]) == (403, "AuthenticationFailed")
        assert ask(f"{sas}/token/none")[0] == 404 and ask(f"{sas}/sign?href=http://elsewhere/x")[0] == 400
        assert archive.counts.requests["token"] == 4 and archive.counts.requests["sign"] == 2
    with Rehearsal(folder, token_seconds=-2) as archive:
        token = told(f"{archive.url('sas')}/token/naip")["token"]
        flight = search(archive, "planetary", collections=["naip"], limit=1)[0]
        assert ask(f"{href(flight, 'image')}?{token}")[0] == 403


def test_counts_by_kind(folder):
    with Rehearsal(folder) as archive:
        item = search(archive, "earth-search", limit=1)[0]
        ask(href(item, "red"), Range="bytes=0-999")
        ask(href(item, "red"), method="HEAD")
        ask(archive.url("earth-search"))
        assert archive.counts.requests == {"search": 1, "file": 2, "root": 1}
        assert archive.counts.bytes["file"] == 1000
        assert archive.counts.statuses == {200: 3, 206: 1}


def test_pystac_client_pages_through_both(archive):
    pystac_client = pytest.importorskip("pystac_client")
    for name, expected in zip(NAMES, (15, 15), strict=True):
        client = pystac_client.Client.open(archive.url(name))
        for method in ("GET", "POST"):
            found = client.search(
                method=method, collections=["sentinel-2-l2a"], bbox=[-90.1, 40.5, -89.9, 40.7], datetime="2022"
            )
            assert len({item.id for item in found.items()}) == expected
        few = client.search(collections=["sentinel-2-l2a"], query={"eo:cloud_cover": {"lte": 20}})
        assert {item.properties["eo:cloud_cover"] <= 20 for item in few.items()} == {True}


def test_only_on_loopback_and_closed_after(folder):
    with Rehearsal(folder) as archive:
        url = archive.url("planetary")
        assert url.startswith("http://127.0.0.1:")
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url, timeout=2)
    with pytest.raises(InputError, match="holds no archive"):
        Rehearsal(folder.parent)


@pytest.mark.long
def test_in_a_process_of_its_own(folder, tmp_path):
    with Apart(folder, bandwidth=50e6) as archive:
        assert told(archive.url("earth-search"))["id"] == "earth-search-aws"
        assert archive.counts()["requests"] == {"root": 1}
        archive.reset_counts()
        assert archive.counts()["requests"] == {}
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(SkySenseError, match="something else"), Apart(tmp_path):
        pass
