"""benchmark: one model on the test split and on public benchmarks, with ordered frames and on two controls."""
