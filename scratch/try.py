import sys, time; sys.path.insert(0,'.')
from contextlib import nullcontext
import torch
from tests.support.grpo_process import clip
from tests.support.grpo_stage import Stage
from tasks.core.models.load import load_model, load_processor
from tasks.core.train.features import encode_media
from tasks.grpo.engines import Policy, RolloutRequest, TransformersRollouts
from tasks.grpo.rollout import sample
from tasks.grpo.server_protocol import RolloutServer
from tasks.grpo.server_rollouts import ServerRollouts
from tasks.params import Sampling
torch.set_num_threads(1)
F="/tmp/srv/tiny"
processor=load_processor(F)
ends=[processor.tokenizer.eos_token_id]
greedy=Sampling(temperature=0.0, top_p=1.0, max_tokens=6)
t=time.time()
r=ServerRollouts(RolloutServer("http://127.0.0.1:8123",60),greedy,processor,ends,dtype="float32",max_len=512)
print("made",time.time()-t)
stage=Stage(F,clip)
asks=[]
for row in (0,1,3):
    p=stage.prompts[row]; o=stage.views(row)
    asks+=[RolloutRequest(p.text,p.record.data_type,v,[10*row+s]) for s,v in enumerate([o.ordered,*o.perturbed])]
model=load_model(F,"float32","cpu")
own=TransformersRollouts(greedy,processor,ends,True)
for version in (1,2):
    torch.manual_seed(version)
    with torch.no_grad():
        for w in model.parameters(): w+=0.02*w.std().nan_to_num(0.0)*torch.randn_like(w)+1e-4
    t=time.time()
    got=r.complete(Policy(model,version,False,nullcontext),encode_media,asks)
    print("complete",time.time()-t)
    enc=[a.view.encoded for a in asks]
    with torch.no_grad():
        want=sample(model,enc,encode_media(model,enc),[1]*len(asks),own._config)
    ids=[[c.ids for c in g] for g in got]
    print(ids==want, ids[:2], want[:2], got[0][0].log_probs)
