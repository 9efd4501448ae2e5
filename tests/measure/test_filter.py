import re
import sys

import pytest

from measure import filter as measured
from measure.cost import Cost


@pytest.mark.slow
def test_every_rule_rejects_its_own_rows_and_no_other(monkeypatch, capsys):
    rows = 2 * measured.FAULTY_EVERY * len(measured.FAULTS)
    monkeypatch.setattr(sys, "argv", ["measure.filter", "--rows", str(rows)])
    assert measured.main() == 0
    last = capsys.readouterr().out.strip().splitlines()[-1]
    kept = rows - rows // measured.FAULTY_EVERY
    assert re.fullmatch(rf"filter: [\d.]+ s, \d+ MB peak, {kept} rows kept of {rows}", last)


def test_a_rule_that_lets_its_rows_pass_is_told(monkeypatch, capsys):
    monkeypatch.setitem(measured.FAULTS, "refusal", lambda row, _: row)
    monkeypatch.setattr(measured, "run", lambda stage: Cost(stage(), 0.0, 0.0))
    monkeypatch.setattr(sys, "argv", ["measure.filter", "--rows", str(measured.FAULTY_EVERY * len(measured.FAULTS))])
    assert measured.main() == 1
    assert "rejected by rule" in capsys.readouterr().err
