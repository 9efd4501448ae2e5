"""Prompt wordings by template name.

`video_r1` is the published wording (github.com/tulerfeng/Video-R1, src/eval_bench.py and src/generate_cot_vllm.py), in
the form with "and" between the tags. The published SFT and RL scripts leave that word out; here one wording serves all
stages.
`brief` asks for the same contract in a sentence, for models of a few million weights.
"""

QUESTION_TEMPLATES = {
    "video_r1": (
        "{question}\n"
        "Please think about this question as if you were a human pondering deeply. "
        "Engage in an internal dialogue using expressions such as 'let me think', 'wait', 'Hmm', 'oh, I see', "
        "'let's break it down', etc, or other natural language thought expressions "
        "It's encouraged to include self-reflection or verification in the reasoning process. "
        "Provide your detailed reasoning between the <think> and </think> tags, "
        "and then give your final answer between the <answer> and </answer> tags."
    ),
    "brief": "{question}\nThink in <think> </think>, then answer in <answer> </answer>.",
}

_LETTER = " Please provide only the single option letter (e.g., A, B, C, D, etc.) within the <answer> </answer> tags."
_NUMBER = " Please provide the numerical value (e.g., 42 or 3.14) within the <answer> </answer> tags."

TYPE_TEMPLATES = {
    "video_r1": {
        "multiple choice": _LETTER,
        "numerical": _NUMBER,
        "OCR": (
            " Please transcribe text from the image/video clearly and provide your text answer"
            " within the <answer> </answer> tags."
        ),
        "free-form": " Please provide your text answer within the <answer> </answer> tags.",
        "regression": _NUMBER,
    },
    "brief": {
        "multiple choice": " One letter.",
        "numerical": " A number.",
        "OCR": " The text.",
        "free-form": " A phrase.",
        "regression": " A number.",
    },
}
