"""Time audit: what each question needs of its clip, asked of a model under changed frames."""
