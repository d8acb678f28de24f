"""Training a SuperTransformer: one randomly chosen SubTransformer an update, after HAT."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from compress_gym.live.translation.batches import Batch, TokenPairs, batch_of, batches_by_length
from compress_gym.live.weights import read_checkpoint, write_checkpoint
from compress_gym.networks.supertransformer import PAD, Transformer
from compress_gym.networks.transformer import Architecture, TransformerSpace
from compress_gym.support.errors import AssetError

_CHECKPOINT_SECONDS = 180
_PROGRESS_UPDATES = 50


@dataclass(frozen=True)
class TranslationRecipe:
    """How a SuperTransformer is trained: Adam, a warm-up, a plateau, and a linear descent to zero at the end.

    Attributes:
        updates: Number of updates.
        tokens: Most tokens of a batch, padding included.
        peak_lr: Learning rate of the plateau.
        warmup: Updates until the plateau is reached.
        descent: The last so much of the updates lower the learning rate, as a fraction.
        dropout: Of embeddings, and of what is added to them.
        label_smoothing: How much probability the other tokens share.
        weight_decay: Of matrices (AdamW).
        clip: Largest norm of a gradient.
        average: Decay of the running average of weights that is the result.
        largest: Fraction of the updates that train the largest SubTransformer,
        smallest: and the smallest one (the sandwich rule, Yu and Huang 2019, one part an update); the others are drawn
            with equal chances of each gene.
    """

    updates: int
    tokens: int = 1024
    peak_lr: float = 1e-3
    warmup: int = 1000
    descent: float = 0.3
    dropout: float = 0.1
    label_smoothing: float = 0.1
    weight_decay: float = 0.01
    clip: float = 1.0
    average: float = 0.999
    largest: float = 0.2
    smallest: float = 0.05

    def learning_rate(self, update: int) -> float:
        """Returns the learning rate of an update, which is numbered from 0."""
        falling = self.descent * self.updates
        left = (self.updates - update) / falling if falling else 1.0
        return self.peak_lr * min(1.0, (update + 1) / self.warmup, left)

    def architecture(self, space: TransformerSpace, rng: np.random.Generator) -> Architecture:
        """Draws what an update of a SuperTransformer trains."""
        draw = rng.random()
        if draw < self.largest:
            return space.largest
        return space.smallest if draw < self.largest + self.smallest else space.sample(rng)


# Called with the number of updates made, the training loss of late, and the averaged weights.
Progress = Callable[[int, float, Transformer], None]


def batch_loss(module: Transformer, batch: Batch, architecture: Architecture, label_smoothing: float) -> Tensor:
    """Returns the cross-entropy of a batch's target tokens, the mean over them, in nats."""
    hidden = module.hidden(batch.source, batch.entering, architecture)
    predicted = batch.leaving != PAD
    logits = module.logits(hidden[predicted]).float()  # bfloat16 would round the sum over the vocabulary
    return functional.cross_entropy(logits, batch.leaving[predicted], label_smoothing=label_smoothing)


def train_supertransformer(
    module: Transformer,
    space: TransformerSpace | None,
    pairs: TokenPairs,
    recipe: TranslationRecipe,
    seed: int,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    until: float | None = None,
    bf16: bool = False,
) -> int:
    """Trains a SuperTransformer in place; the running average of its weights is the result (nothing is selected).

    Every update draws its batch, its architecture and its dropout from the seed and its own number, so that a training
    which was killed goes on exactly where it was.

    Args:
        module: What is trained where it lies, on the processor or a CUDA device; left in evaluation mode.
        space: Its SubTransformers; `None` trains the module's own architecture alone.
        pairs: Training sentences.
        recipe: The recipe.
        seed: Of everything random.
        checkpoint: Written every three minutes and at the end, continued from if it exists.
        progress: Called every 50 updates.
        until: Stop after so many seconds, with a checkpoint, whatever is left.
        bf16: Whether to compute in bfloat16 (autocast).

    Returns:
        The number of updates made, those before the checkpoint included.

    Raises:
        AssetError: The checkpoint is damaged, or another training's.
    """
    module.train()
    device = module.positions.device
    optimizer = _optimizer(module, recipe)
    average = deepcopy(module).eval().requires_grad_(False)
    run = {"seed": seed, "space": (space or module.architecture).to_json(), "sentences": len(pairs.source)}
    done = _resume(checkpoint, module, optimizer, average, run) if checkpoint and checkpoint.exists() else 0
    started = saved = time.monotonic()
    epoch, batches, first = -1, list[np.ndarray](), 0
    per_epoch = len(batches_by_length(pairs, recipe.tokens))
    late = 0.0
    for update in range(done, recipe.updates):
        if update // per_epoch != epoch:
            epoch, first = update // per_epoch, update // per_epoch * per_epoch
            batches = batches_by_length(pairs, recipe.tokens, np.random.default_rng([seed, 0, epoch]))
        rng = np.random.default_rng([seed, 1, update])
        torch.manual_seed(int(rng.integers(2**31)))
        batch = batch_of(pairs, batches[update - first]).to(device)
        architecture = recipe.architecture(space, rng) if space else module.architecture
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = batch_loss(module, batch, architecture, recipe.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), recipe.clip)
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate(update)
        optimizer.step()
        with torch.no_grad():
            # Early weights are forgotten: the average of n updates weighs the new one at least 1 / n.
            new = max(1 - recipe.average, 1 / (update + 1))
            torch._foreach_lerp_(list(average.parameters()), list(module.parameters()), new)
        done, late = update + 1, loss.item() if not late else 0.98 * late + 0.02 * loss.item()
        now = time.monotonic()
        if progress and done % _PROGRESS_UPDATES == 0:
            progress(done, late, average)
        over = until is not None and now - started > until
        if checkpoint and (now - saved > _CHECKPOINT_SECONDS or over or done == recipe.updates):
            _save(checkpoint, module, optimizer, average, {**run, "recipe": asdict(recipe), "updates_done": done})
            saved = now
        if over:
            break
    module.load_state_dict(average.state_dict())
    module.eval()
    return done


def _optimizer(module: nn.Module, recipe: TranslationRecipe) -> torch.optim.AdamW:
    matrices = [p for p in module.parameters() if p.ndim > 1]
    vectors = [p for p in module.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.peak_lr, betas=(0.9, 0.98), fused=True)


def _save(
    path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, average: nn.Module, run: dict[str, object]
) -> None:
    tensors = {f"average.{name}": tensor for name, tensor in average.state_dict().items()}
    for name, parameter in module.named_parameters():
        tensors[f"module.{name}"] = parameter.detach()
        # A part that no update has trained yet has no moments.
        tensors |= {f"{key}.{name}": value for key, value in optimizer.state[parameter].items()}
    write_checkpoint(path, tensors, run)


def _resume(
    path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, average: nn.Module, run: dict[str, object]
) -> int:
    """Loads a checkpoint and returns the number of updates it holds; the recipe may have changed since."""
    stored, tensors = read_checkpoint(path, "updates_done")
    done = stored.pop("updates_done")
    stored.pop("recipe", None)
    if stored != json.loads(json.dumps(run)):
        raise AssetError(f"{path}: written by another training (another space, seed or data); remove it to start anew")
    for part, prefix in ((module, "module."), (average, "average.")):
        part.load_state_dict({n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)})
    for name, parameter in module.named_parameters():
        if f"step.{name}" not in tensors:  # no update has trained it yet
            continue
        optimizer.state[parameter] = {
            key: tensors[f"{key}.{name}"].to(parameter.device, copy=True) for key in ("exp_avg", "exp_avg_sq", "step")
        }
    return done
