"""A folder of a tiny random model of every family, made once a session."""

import pytest

from tasks.core.backbones import backbone_of
from tests.support.families import missing, write


@pytest.fixture(scope="session")
def family_folder(tmp_path_factory):
    """`family_folder(model_type)`: the folder; the test is skipped where the family cannot be tried."""
    made = {}

    def folder(model_type):
        if (reason := missing(model_type)) is not None:
            pytest.skip(reason)
        if model_type not in made:
            made[model_type] = write(backbone_of(model_type), tmp_path_factory.mktemp("models") / model_type)
        return made[model_type]

    return folder
