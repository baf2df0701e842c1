"""What a corpus is recorded to be made with."""

import json
from dataclasses import replace

from skysense.curate.catalogue import open_catalogue
from skysense.curate.http import Signing
from skysense.curate.settings import Curation, identity

CURATION = Curation(years=(2021, 2021), number=3)


def test_secrets_stay_out_of_what_is_recorded():
    signing = Signing("https://{account}.net/{container}/", "https://t.net/{account}/{container}?key=secret2")
    catalogue = replace(open_catalogue("planetary-computer"), url="https://a.net/stac?key=secret1", signing=signing)
    told = identity(CURATION, {"s2": catalogue}, {})
    assert "secret" not in json.dumps(told)
    recorded = told["catalogues"]["planetary-computer"]
    assert recorded["url"] == "https://a.net/stac"
    assert recorded["signing"]["token_url"] == "https://t.net/{account}/{container}"


def test_a_local_catalogue_is_recorded_with_what_it_holds(tmp_path):
    file = tmp_path / "items.json"
    catalogue = replace(open_catalogue("planetary-computer"), url=None, items=file)
    told = []
    for name in ("one", "two"):
        file = tmp_path / f"{name}.json"
        feature = {"type": "Feature", "id": name}
        file.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
        told.append(identity(CURATION, {"s2": replace(catalogue, items=file)}, {})["catalogues"]["planetary-computer"])
    assert told[0]["holds"] != told[1]["holds"]
    (tmp_path / "a.tif").write_bytes(b"1")
    own = replace(catalogue, items=None, files=tmp_path / "*.tif", taken="2020-01-01")
    before = identity(CURATION, {"hr": own}, {})["catalogues"]["planetary-computer"]["holds"]
    (tmp_path / "a.tif").write_bytes(b"12")
    assert identity(CURATION, {"hr": own}, {})["catalogues"]["planetary-computer"]["holds"] != before
