"""A night and a comparison from Python, as a notebook starts them."""

import tastegraph


def test_a_night_and_a_comparison_are_started_from_python(source, prefect_server, monkeypatch, tmp_path):
    monkeypatch.setenv("PREFECT_API_URL", prefect_server)
    settings = {
        "model.system": "ease",
        "evaluation.min_users": 5,
        "images.size_px": 16,
        "recommend.num_recommendations": 10,
    }
    export = tastegraph.nightly(source, tmp_path / "root", settings)

    assert tastegraph.read(tmp_path / "root").run_id == export.run_id
    assert len(export.users) == 24
    assert set(export.metrics["system"]) == {"ease", "popularity", "random"}

    compared = tastegraph.compare(source, tmp_path / "root", ["popularity", "itemknn"])

    assert compared.failed == {}
    assert set(compared.results["system"]) == {"popularity", "itemknn"}
    assert (tmp_path / "root" / compared.folder / "index.html").exists()
    assert set(compared.tests["system"]) <= {"popularity", "itemknn"}
