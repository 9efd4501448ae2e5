"""What a run of params.yaml will do, need and take, told before it begins."""
