"""Stage filter: rules keep the teacher answers worth learning from."""
