"""The text that lies beside rendered data: what it is, and how to make it again."""

from __future__ import annotations

import shlex

from kinema.data.synth.plan import SynthPlan


def readme(plan: SynthPlan, count: int) -> str:
    """Describe a written folder.

    Args:
        plan: what was written.
        count: of samples.

    Returns:
        Plain text.
    """
    facts = plan.facts
    height, width = plan.size_hw
    words = ["kinema", "data", "synth", "--layout", plan.layout, "--count", str(count)]
    words += ["--seed", str(plan.seed), "--size", f"{height}x{width}", "--frames", str(plan.frames)]
    words += ["--textures", str(plan.textures)] if plan.textures is not None else []
    reads = "\n".join(f"  --data {spec}:THIS_FOLDER" for spec in facts.specs)
    samples = f"{count} {facts.unit}" + ("" if count == 1 else "s")
    return (
        f"Rendered data in the layout of {plan.layout}. This is not the published data set: nothing of it\n"
        "is in here, only its names of files and folders, so that what reads it reads this as well.\n\n"
        f"Content: {samples} of {plan.frames} frames, {width}x{height} pixels: {facts.holds}.\n"
        "All truth is exact but for the rounding of the formats.\n\n"
        f"Made by: {shlex.join(words)} -o FOLDER\n"
        "The same command writes the same files; a larger count adds to them.\n\n"
        f"Read as:\n{reads}\n"
    )
