"""Who may ask: only this machine, only by its name, only with the token where there is one."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from skysense.viewer.guard import LONGEST_BODY, Guard

TOKEN = "a-token-of-some-length"


async def answer(request):
    return PlainTextResponse(f"{len(await request.body())}")


def client(token: str | None = None, host: str = "127.0.0.1", base: str = "http://127.0.0.1:8756") -> TestClient:
    routes = [Route(path, answer, methods=["GET", "POST"]) for path in ("/", "/api/about")]
    return TestClient(Guard(Starlette(routes=routes), host, token), base_url=base)


@pytest.mark.parametrize("name", ["127.0.0.1:8756", "localhost:8756", "[::1]:8756", "LocalHost:8756"])
def test_this_machine_is_answered_by_its_names(name):
    assert client().get("/api/about", headers={"host": name}).status_code == 200


@pytest.mark.parametrize(
    "name", ["evil.example", "127.0.0.1.evil.example:8756", "", "localhost.evil:8756", "[::2]:8756"]
)
def test_names_that_were_made_to_point_here_are_refused(name):
    refused = client().get("/api/about", headers={"host": name})
    assert refused.status_code == 403 and "open it by the address it printed" in refused.json()["error"]


def test_other_pages_cannot_embed_answers_but_links_to_the_page_work():
    strange = {"sec-fetch-site": "cross-site"}
    assert client().get("/api/about", headers=strange).status_code == 403
    assert client().get("/", headers=strange).status_code == 200


def test_every_answer_and_refusal_says_what_a_browser_may_do():
    for answered in (client().get("/"), client().get("/", headers={"host": "evil.example"}), client().get("/nothing")):
        policy = answered.headers["content-security-policy"]
        assert "default-src 'self'" in policy and "unsafe" not in policy and "http" not in policy
        assert answered.headers["x-content-type-options"] == "nosniff"
        assert answered.headers["cross-origin-resource-policy"] == "same-origin"


def test_with_a_token_nothing_is_answered_without_it():
    asked = client(TOKEN, "192.0.2.7", "http://192.0.2.7:8756")
    for path in ("/", "/api/about", f"/api/about?token={TOKEN}x", f"/?token={TOKEN[:-1]}", "/?token=%ff"):
        assert asked.get(path).status_code == 401, path
    assert asked.get("/api/about", headers={"cookie": "skysense_8756=wrong"}).status_code == 401
    assert asked.get(f"/api/about?token={TOKEN}").status_code == 200


def test_the_token_becomes_a_cookie_and_leaves_the_address():
    asked = client(TOKEN, "192.0.2.7", "http://192.0.2.7:8756")
    first = asked.get(f"/?token={TOKEN}", follow_redirects=False)
    assert (first.status_code, first.headers["location"]) == (303, "/")
    cookie = first.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=lax" in cookie
    assert asked.get("/api/about").status_code == 200


def test_long_bodies_and_bodies_of_unknown_length_are_refused():
    assert client().post("/", content=b"x" * LONGEST_BODY).text == str(LONGEST_BODY)
    assert client().post("/", content=b"x" * (LONGEST_BODY + 1)).status_code == 413
    assert client().post("/", content=iter([b"x"])).status_code == 413
    assert client().post("/", content=b"x", headers={"content-length": "-1"}).status_code == 413


def test_bound_to_every_address_any_name_will_do_since_the_token_is_needed():
    asked = client(TOKEN, "0.0.0.0", "http://station.lan:8756")
    assert asked.get("/api/about").status_code == 401
    assert asked.get(f"/api/about?token={TOKEN}").status_code == 200
