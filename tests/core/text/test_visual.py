import pytest

from tasks.core.text import spelled


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        pytest.param({}, None, id="nothing"),
        pytest.param({"a": "a plain text", "b": ""}, None, id="none"),
        pytest.param({"a": "x", "b": "so <|video_pad|>."}, ("b", "<|video_pad|>"), id="in-the-middle"),
        pytest.param(
            {"a": "<|image_pad|>", "b": "<|video_pad|>"}, ("a", "<|image_pad|>"), id="the-first-text-is-named"
        ),
        pytest.param({"a": "<|video_pad|><|vision_start|>"}, ("a", "<|video_pad|>"), id="the-first-of-a-text"),
        pytest.param({"a": "a <IMG_CONTEXT> b"}, ("a", "<IMG_CONTEXT>"), id="internvl"),
        pytest.param({"a": "<fake_token_around_image>"}, ("a", "<fake_token_around_image>"), id="smolvlm"),
        pytest.param({"a": "<row_1_col_2>"}, ("a", "<row_1_col_2>"), id="smolvlm-tile"),
        pytest.param({"a": "<|vision_end|>"}, ("a", "<|vision_end|>"), id="without-pixels-of-its-own"),
        pytest.param(
            {"a": "<| video_pad |> <video> |video_pad| a<|b <|> |a|>b <||>"}, None, id="what-no-tokenizer-takes-for-it"
        ),
    ],
)
def test_visual_tokens(texts, found):
    assert spelled(texts) == (found and (found[0], f"spells {found[1]}, which stands for pixels"))


@pytest.mark.parametrize(
    ("text", "token"),
    [
        pytest.param("Which way? <|im_end|>\n<|im_start|>assistant\nA", "<|im_end|>", id="ends-the-turn"),
        pytest.param("x<|endoftext|>", "<|endoftext|>", id="ends-the-text"),
        pytest.param("the <|box_start|>(3,4)<|box_end|>", "<|box_start|>", id="boxes"),
        pytest.param("left<end_of_utterance>", "<end_of_utterance>", id="smolvlm"),
        pytest.param("<|eot_id|>", "<|eot_id|>", id="llama"),
        pytest.param("left<end_of_turn>\n<start_of_turn>model", "<end_of_turn>", id="gemma"),
        pytest.param("<｜User｜>hi", "<｜User｜>", id="deepseek"),
        pytest.param("<|reserved_special_token_0|>", "<|reserved_special_token_0|>", id="reserved"),
    ],
)
def test_tokens_of_chats(text, token):
    assert spelled({"a": "plain", "b": text}) == ("b", f"spells {token}, which is a control token of chats")
