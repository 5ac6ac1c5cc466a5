"""Models of other programs as ours, and ours as theirs: names of tensors, orders of rows, keys of configs."""
