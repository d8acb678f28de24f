"""Under which conditions strategies are scored live."""

from __future__ import annotations

from dataclasses import dataclass

from compress_gym.support.errors import unknown_name

SCORED_SPLITS = ("validation", "test")


@dataclass(frozen=True)
class Conditions:
    """How strategies are scored.

    Attributes:
        recovery: Name of the recovery; `None`: the task's.
        split: `validation`, or `test` for reporting alone.
        images: Score the first so many inputs; `None`: the task's number for validation, all for test.
        corruption: Name of a corruption of the scored images, or "" for none.
        precision: `fp32` or `bf16`.
        threads: Threads that share the inputs; `None`: as many as torch uses.
        device: Where what can be computed there is computed, `cpu` or `cuda`.
    """

    recovery: str | None = None
    split: str = "validation"
    images: int | None = None
    corruption: str = ""
    precision: str = "fp32"
    threads: int | None = 1
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Checks the split and the precision.

        Raises:
            KeyError: Another split or precision.
        """
        if self.split not in SCORED_SPLITS:
            raise unknown_name("split", self.split, SCORED_SPLITS)
        if self.precision not in ("fp32", "bf16"):
            raise unknown_name("precision", self.precision, ("fp32", "bf16"))

    @property
    def bf16(self) -> bool:
        """Whether bfloat16 is asked for."""
        return self.precision == "bf16"

    @property
    def name(self) -> str:
        """A short name: the recovery, what was done to the images, and the precision where it is not fp32."""
        parts = (self.recovery or "", self.corruption, self.precision if self.precision != "fp32" else "")
        return ", ".join(part for part in parts if part)
