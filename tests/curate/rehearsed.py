"""A curation against the rehearsal archive: catalogue files, lists of places, and what the shards then hold."""

import csv
import hashlib
import sys
from pathlib import Path

import yaml

from skysense.curate.catalogue import PRESETS
from skysense.curate.run import Pace, curate
from skysense.curate.sample import Settings
from skysense.curate.settings import Curation
from skysense.data.shards.read import Shards

NAMES = {"planetary": "planetary-computer", "earth-search": "earth-search-all-baselines"}
SOUTH_WEST = (750_940, 4_499_600)
"""Lower left corner of the granule 15TYF of the small archive, EPSG:32615; it has 1.28 km each way."""


def catalogue_file(archive, name: str, folder: Path) -> str:
    """A preset whose addresses are those of a rehearsal."""
    told = yaml.safe_load(PRESETS.read_text(encoding="utf-8"))[NAMES[name]]
    told |= {"url": archive.url(name), "simulated": True}
    if "signing" in told:
        told["signing"] = {
            "files": f"{archive.host}/blob/{{account}}/{{container}}/",
            "token_url": f"{archive.url('sas')}/token/{{account}}/{{container}}",
        }
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump({name: told}), encoding="utf-8")
    return str(file)


def places_file(folder: Path, lonlat, name="places.csv") -> Path:
    file = folder / name
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([("name", "lon", "lat"), *((f"p{at}", *one) for at, one in enumerate(lonlat))])
    return file


def positions(*metres):
    """Longitude and latitude of places so many metres east and north of `SOUTH_WEST`."""
    from skysense.curate.rehearsal.footprints import transformer

    to_degrees = transformer("EPSG:32615", "EPSG:4326")
    west, south = SOUTH_WEST
    return [to_degrees.transform(west + east, south + north) for east, north in metres]


def curation(catalogue: str, places: Path, **more) -> Curation:
    """Small places, and as few frames as the small archive has."""
    sample = Settings(cells=16, fewest_s2=1, fewest_s1=1, **more.pop("sample", {}))
    told = {"years": (2022, 2022), "most_cloud": 80, "places_per_shard": 2, **more}
    return Curation(places=places, catalogues=(catalogue,), sample=sample, **told)


def hashes(out: Path):
    """What a corpus holds: digest of each shard, hash of its index, and the names in it."""
    corpus = Shards(out)
    index = hashlib.sha256((out / "places.npy").read_bytes()).hexdigest()
    manifest = hashlib.sha256((out / "shards.json").read_bytes()).hexdigest()
    return [one.digest for one in corpus.manifest.shards], index, manifest, [one.name for one in corpus]


def main() -> None:
    """Curate in a process of its own, which says what is done as soon as it begins: CATALOGUE PLACES OUT."""
    catalogue, places, out = sys.argv[1:]
    settings = curation(catalogue, Path(places))

    def say(told):
        sys.stdout.write(f"{told.blocks_before} {sorted(one.name for one in Path(out).rglob('*.npz'))}\n")
        sys.stdout.flush()

    curate(settings, out, Pace(workers=2), begin=say)


if __name__ == "__main__":
    main()
