"""The 7B profile through every stage on a processor: real widths and pixels, few layers and rows, random weights."""
