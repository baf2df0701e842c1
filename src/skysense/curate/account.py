"""What has been done, block by block. The account of a block is written last: a block that has one is done."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from skysense.curate.outcome import Outcome, parse_outcome
from skysense.data.shards.layout import MANIFEST_FILE, ShardInfo
from skysense.data.shards.store import find_bytes, list_names, parse_json, read_bytes, write_bytes
from skysense.errors import ConfigError, InputError
from skysense.files import flat

SETTINGS_FILE = "curation.json"
TOTALS_FILE = "account.json"
FOLDER = "accounts"
FORMAT, VERSION = "skysense-curation", 1


@dataclass(frozen=True)
class Account:
    """What became of a block.

    Attributes:
        outcomes: of its places, without imagery, in ascending order of numbers.
        shard: what was stored; None if no place remained.
    """

    outcomes: Sequence[Outcome]
    shard: ShardInfo | None


def block_name(block: int) -> str:
    """Of a block's account and of its shard."""
    return f"{block:06d}"


def write_account(root: str | Path, block: int, account: Account) -> None:
    """Say that a block is done.

    Raises:
        OutputError: no space, no permission.
    """
    content = {
        "format": FORMAT,
        "version": VERSION,
        "block": block,
        "shard": None if account.shard is None else asdict(account.shard),
        "places": [one.to_json() for one in account.outcomes],
    }
    text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    write_bytes((text + "\n").encode(), root, FOLDER, f"{block_name(block)}.json")


def read_account(root: str | Path, block: int) -> Account:
    """The account of a block that is done.

    Raises:
        InputError: there is none, or it is not one.
    """
    parts = (FOLDER, f"{block_name(block)}.json")
    file = "/".join([str(root), *parts])
    content = parse_json(read_bytes(root, *parts), file)
    try:
        shard = None if content["shard"] is None else ShardInfo(**content["shard"])
        return Account([parse_outcome(one) for one in content["places"]], shard)
    except (KeyError, TypeError, ValueError) as error:
        fix = "Remove it; the block will be done again"
        raise InputError(f"is no account of a block ({error!r})", file=file, fix=fix) from error


def done_blocks(root: str | Path) -> set[int]:
    """Blocks that have an account."""
    names = (Path(name) for name in list_names(root, FOLDER))
    return {int(name.stem) for name in names if name.suffix == ".json" and name.stem.isdigit()}


def is_done(root: str | Path, block: int) -> bool:
    """Whether a block has an account."""
    return find_bytes(root, FOLDER, f"{block_name(block)}.json") is not None


def keep_settings(root: str | Path, settings: Mapping[str, Any]) -> None:
    """Write down what a corpus is made with, or see that it is the same as before.

    Raises:
        ConfigError: names every setting that differs.
        OutputError: no space, no permission.
    """
    wanted = {"format": FORMAT, "version": VERSION, **settings}
    content = find_bytes(root, SETTINGS_FILE)
    if content is None:
        if find_bytes(root, MANIFEST_FILE) is not None:
            raise ConfigError(f"{root} holds a corpus that was not curated here. Choose another folder")
        write_bytes((json.dumps(wanted, indent=1, ensure_ascii=False) + "\n").encode(), root, SETTINGS_FILE)
        return
    found = parse_json(content, f"{root}/{SETTINGS_FILE}")
    old, new = flat(found), flat(wanted)
    differ = [key for key in sorted(old | new) if old.get(key) != new.get(key)]
    if differ:
        changes = "; ".join(f"{key}: {_short(old.get(key))} -> {_short(new.get(key))}" for key in differ)
        raise ConfigError(
            f"{root} is being curated with other settings ({changes}). Choose another folder, or these settings"
        )


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
