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
        pytest.param({"a": "<|video_pad|><|vision_start|>"}, ("a", "<|vision_start|>"), id="one-of-two-is-enough"),
        pytest.param({"a": "<|vision_end|>"}, ("a", "<|vision_end|>"), id="without-pixels-of-its-own"),
        pytest.param(
            {"a": "<|VIDEO_PAD|> <| video_pad |> <video> |video_pad|"}, None, id="what-no-tokenizer-takes-for-it"
        ),
        pytest.param({"a": "<|im_end|>"}, None, id="a-special-token-of-text"),
    ],
)
def test_spelled(texts, found):
    assert spelled(texts) == (found and (found[0], f"spells {found[1]}, which stands for pixels"))
