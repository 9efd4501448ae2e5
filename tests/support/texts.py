"""What the tokenizer of a tiny model is trained on."""

TEXT = [
    "You are a helpful assistant.",
    "Which way does the red ball move? A. left B. right C. up D. down",
    "<think>The red ball starts left and ends right: right is B</think><answer>B</answer>",
    "How many blue squares appear? <think>one, two, three</think><answer>3</answer>",
]
