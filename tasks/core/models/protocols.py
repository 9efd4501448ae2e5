"""The parts of transformers' models and processors that this project uses; type checkers cannot follow the library."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch


class Tokenizer(Protocol):
    """Text to token ids and back."""

    pad_token_id: int
    eos_token_id: int
    padding_side: str

    def __call__(self, text: Any, **options: Any) -> Any:
        """Token ids of a text, or of several, under the key `input_ids`."""
        ...

    def decode(self, token_ids: Any, **options: Any) -> str:
        """Text of token ids."""
        ...

    def convert_tokens_to_ids(self, tokens: Any) -> Any:
        """Id of a token, or ids of several."""
        ...

    def get_vocab(self) -> dict[str, int]:
        """Token -> id."""
        ...


class Processor(Protocol):
    """Chat messages and clips to the inputs of a model: tokenizer, image and video processor of a checkpoint."""

    tokenizer: Tokenizer
    image_processor: Any
    video_processor: Any
    chat_template: str | None

    def apply_chat_template(self, conversation: Any, **options: Any) -> Any:
        """Chat messages in the form that the model was trained on."""
        ...

    def save_pretrained(self, save_directory: str | Path) -> Any:
        """Write all files of the processor into a folder."""
        ...


class Model(Protocol):
    """A vision-language model; its forward takes token ids, masks, pixels or features, and positions."""

    config: Any
    generation_config: Any
    device: Any
    model: Any
    """The modules without the output layer."""

    def __call__(self, *arguments: Any, **inputs: Any) -> Any:
        """Forward pass."""
        ...

    def generate(self, **inputs: Any) -> Any:
        """Token ids (B, L): the inputs and what is sampled behind them."""
        ...

    def get_output_embeddings(self) -> Any:
        """The output layer (hidden -> vocabulary)."""
        ...

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """All weights."""
        ...

    def named_parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """All weights with their names."""
        ...

    def named_modules(self) -> Iterator[tuple[str, torch.nn.Module]]:
        """All modules with their names, the model itself first."""
        ...

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Weights and buffers by name."""
        ...

    def train(self, mode: bool = True) -> Any:
        """Training mode, or evaluation mode."""
        ...

    def eval(self) -> Any:
        """Evaluation mode."""
        ...

    def to(self, *arguments: Any, **options: Any) -> Any:
        """Move to a device or change the type of weights, in place."""
        ...

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Let all weights train, or freeze them."""
        ...

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> Any:
        """Write weights and configuration into a folder."""
        ...
