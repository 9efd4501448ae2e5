import re
import sys

import pytest

from measure import ingest


@pytest.mark.slow
def test_every_kind_of_fault_is_found_and_none_invented(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["measure.ingest", "--rows", str(ingest.FAULTY_EVERY * len(ingest.FAULTS))])
    assert ingest.main() == 0
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert re.fullmatch(r"ingest: [\d.]+ s, \d+ MB peak, found 20 of 20 faults, 0 false", last)
