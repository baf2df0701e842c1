"""`skysense view`: what it refuses, what it prints, and that it answers."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import urllib.request

from skysense.cli import build_parser, main
from tests.viewer.farm import write_map


def test_another_address_needs_a_token(tmp_path, capsys):
    assert main(["view", str(tmp_path / "a.tif"), "--host", "0.0.0.0", "--no_browser", "true"]) == 2
    assert "add --token auto" in capsys.readouterr().err
    assert main(["view", str(tmp_path / "a.tif"), "--host", "0.0.0.0", "--token", "short"]) == 2
    assert "can be guessed" in capsys.readouterr().err


def test_a_port_in_use_is_told(tmp_path, capsys):
    path = write_map(tmp_path / "farm.tif")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["view", str(path), "--port", str(taken.getsockname()[1])]) == 2
    assert "choose another one with --port" in capsys.readouterr().err


def test_a_missing_file_is_told_before_anything_is_served(tmp_path, capsys):
    assert main(["view", str(tmp_path / "a.tif")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_the_page_is_answered_until_it_is_interrupted(tmp_path):
    path = write_map(tmp_path / "farm.tif")
    command = [sys.executable, "-m", "skysense.cli", "view", str(path), "--port", "0", "--no_browser", "true"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            address = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())[0]
            with urllib.request.urlopen(address, timeout=20) as answer:
                assert b"skysense view" in answer.read()
        finally:
            process.terminate()


def test_defaults_are_this_machine_only():
    options = build_parser().parse_args(["view", "map.tif"])
    assert (options.view.host, options.view.port, options.view.token) == ("127.0.0.1", 8756, None)


def test_a_page_without_a_server(tmp_path, capsys):
    path = write_map(tmp_path / "farm.tif")
    assert main(["view", str(path), "--save_html", str(tmp_path / "page.html")]) == 0
    assert (tmp_path / "page.html").stat().st_size > 10_000
    assert str(tmp_path / "page.html") in capsys.readouterr().out.replace("\n", "")
