"""ask: one question about one clip or image, answered by any checkpoint folder of a known backbone."""
