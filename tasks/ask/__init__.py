"""ask: one question about one clip or image, answered by any Qwen2.5-VL checkpoint folder."""
