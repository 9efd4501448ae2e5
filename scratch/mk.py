import sys; sys.path.insert(0,'.')
import torch
from tests.support.texts import TEXT
from tasks.core.models.load import save_model
from tasks.core.world.model import build_model, build_processor
processor = build_processor("qwen2_5_vl", TEXT * 4, vocabulary=360)
model = build_model(processor, hidden_size=64, layers=2, heads=2, vision_layers=1, seed=7)
with torch.no_grad():
    for weight in model.parameters():
        if weight.ndim > 1:
            weight *= 8
    model.get_input_embeddings().weight[processor.video_token_id] *= 4
save_model(model, processor, "/tmp/srv/tiny")
