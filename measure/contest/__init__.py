"""A fair contest of objectives: natural shortcuts, equal operations, controls, counterfactual tests."""
