"""Which reports the page is made of."""

import pytest

from tasks.report.inputs import reports_by_stage


@pytest.mark.parametrize("world", ["world", "world_other"])
def test_of_several_worlds_the_one_of_the_parameters_is_shown(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("world", "world_other", "sft", "worldly"):
        (tmp_path / "reports" / folder).mkdir(parents=True)
        (tmp_path / "reports" / folder / "curve.csv").write_text(folder)
    read = {stage: path.read_text() for stage, path in reports_by_stage("curve.csv", world)}
    assert read == {"world": world, "sft": "sft", "worldly": "worldly"}
