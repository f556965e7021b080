"""The published trainings of PWC-Net by its authors and its re-implementers. No torch is imported here.

What they share: the originals keep no moving average of the weights, clip no gradient unless their text says
so, and compute in float32. All of that can be set otherwise on the command line.
"""

from __future__ import annotations

from kinema.recipes.base import BUNDLED
from kinema.recipes.pwcnet_labelled import PwcnetLabelledConfig

ORIGINAL = PwcnetLabelledConfig(
    optimizer="adam",
    weight_decay=4e-4,
    decay_biases=False,
    clip_norm=0.0,
    ema_decay=0.0,
    schedule="multistep",
    milestones="1",
    warmup_steps=0,
    loss_mean="samples",
    downsampling="triangle",
    occluded_from=0,
)
"""The authors' Caffe training, but for data and schedule."""

_TFOPTFLOW = ORIGINAL.model_copy(
    update={
        "preset": "tfoptflow",
        "decay_biases": True,
        "downsampling": "subsample",
        "loss_epsilon": 0.0,
        "augmentation": "tfoptflow-heavy",
    }
)
"""tfoptflow's training, but for data and schedule."""

_TFOPTFLOW_MIX = "7*flyingchairs@train:DIR,6*flyingthings-clean-left-future-half@train:DIR"


def adjusted(config: PwcnetLabelledConfig, **changes: object) -> PwcnetLabelledConfig:
    """Change settings, and check them all.

    Args:
        config: the settings.
        changes: by name.

    Returns:
        The settings.
    """
    return type(config).model_validate({**dict(config), **changes})


def pwcnet_chairs_long() -> PwcnetLabelledConfig:
    """PWC-Net (dc) from scratch on FlyingChairs: the paper's S_long, 1.2 million steps.

    ``kinema train pwcnet-chairs-long --data flyingchairs@train:DIR --then-evaluate sintel-clean:SINTEL``

    Sun et al. 2018, section 4: crops of 384x448, batches of 8, 1e-4, halved at 400, 600, 800 thousand and one
    million. The authors' released protocol has crops of 320x448. Hardware: one GPU. Expected, protocols
    sintel, kitti12, kitti15: 3.33 on Sintel clean, 4.59 on final, 5.14 on KITTI 2012, 13.20 and 41.79 % on
    KITTI 2015. What differs: deconvolutions are decayed as convolutions are.
    """
    return adjusted(
        ORIGINAL,
        steps=1_200_000,
        batch_size=8,
        learning_rate=1e-4,
        milestones="400000,600000,800000,1000000",
        data="flyingchairs@train:DIR",
        validation="flyingchairs@val:DIR",
        crop="384x448",
        augmentation="flownet2",
    )


def pwcnet_things_fine() -> PwcnetLabelledConfig:
    """PWC-Net (dc) from FlyingChairs to FlyingThings3D: the paper's S_fine, 500,000 steps.

    ``kinema train pwcnet-things-fine --data flyingthings-clean-left-future@train:DIR
    --init runs/pwcnet-chairs-long/last.safetensors``

    Sun et al. 2018, section 4: crops of 384x768, batches of 4, 1e-5, halved at 200, 300 and 400 thousand; the
    originals drop pairs with flow beyond 1000 px, here its pixels count as not known. Hardware: one GPU.
    Expected, protocols sintel, kitti12, kitti15: 2.55 on Sintel clean, 3.93 on final, 4.14 on KITTI 2012,
    10.35 and 33.67 % on KITTI 2015.
    """
    return adjusted(
        ORIGINAL,
        steps=500_000,
        batch_size=4,
        learning_rate=1e-5,
        milestones="200000,300000,400000",
        data="flyingthings-clean-left-future@train:DIR",
        validation="flyingthings-clean-left-future@test:DIR",
        crop="384x768",
        augmentation="flownet2",
        init=BUNDLED,
    )


def pwcnet_sintel_finetune() -> PwcnetLabelledConfig:
    """PWC-Net (dc) to Sintel: the schedule of tfoptflow's fine-tuning with the loss it meant, 200,000 steps.

    ``kinema train pwcnet-sintel-finetune --data sintel-clean@train:DIR --then-evaluate sintel-clean@val:DIR``

    Crops of 384x768, batches of 4, 1e-4, halved at 80, 120 and 160 thousand, tfoptflow's "heavy"
    augmentation. The robust norm acts on each cell, with Adam; ``pwcnet-sintel-finetune-legacy`` is the run
    as it was. With other batches give ``--steps`` and ``--milestones`` times 4 over their size. Hardware: one
    GPU. Protocol: sintel. Expected: none of this loss is published; the legacy run has 1.76 on the pairs that
    it learned from, and says nothing about others. Validation: Sintel's scenes of ``@val``.
    """
    return adjusted(
        _TFOPTFLOW,
        preset="dc",
        matching="auto",
        steps=200_000,
        batch_size=4,
        learning_rate=1e-4,
        milestones="80001,120001,160001",
        data="sintel-clean@train:DIR",
        validation="sintel-clean@val:DIR",
        crop="384x768",
        loss="robust",
        loss_epsilon=0.01,
        downsampling="triangle",
        decay_biases=False,
        init=BUNDLED,
    )


def pwcnet_sintel_finetune_legacy() -> PwcnetLabelledConfig:
    """PWC-Net (tfoptflow) to Sintel as its Ascend port did: tfoptflow's own loss, 200,000 steps.

    ``kinema train pwcnet-sintel-finetune-legacy --data sintel-clean@training:DIR
    --init tfoptflow-595000.safetensors``

    All 1041 pairs of Sintel clean, crops of 384x768, batches of 4, 1e-4, halved at 80, 120 and 160 thousand.
    The loss is tfoptflow's: the exponent of 0.4 acts on the sum of a level; several devices take it of
    their own samples each. It begins from tfoptflow's checkpoint 595000, which ``kinema weights convert``
    reads. Hardware: one GPU or one Ascend 910. Protocol: sintel, on the pairs it learned from. Expected: 1.76
    (from 2.60). The best of the validations was kept (step 176,000).
    """
    return adjusted(
        _TFOPTFLOW,
        steps=200_000,
        batch_size=4,
        optimizer="sgd",
        learning_rate=1e-4,
        milestones="80001,120001,160001",
        data="sintel-clean@training:DIR",
        validation="sintel-clean@legacy-val:DIR",
        crop="384x768",
        loss="legacy-robust",
        loss_epsilon=0.01,
        init=BUNDLED,
        keep_best=10,
    )


def pwcnet_sintel_finetune_second() -> PwcnetLabelledConfig:
    """PWC-Net (tfoptflow) on Sintel from the legacy run on: the later revision, 60,000 steps.

    ``kinema train pwcnet-sintel-finetune-second --data sintel-clean@training:DIR
    --init runs/pwcnet-sintel-finetune-legacy/best.safetensors``

    Multi-scale loss and Adam at 1e-5, halved; where is not published, here every 20,000 steps. Hardware: one
    Ascend 910 or one GPU. Protocol: sintel, on the pairs it learned from. Expected: 1.25.
    """
    return adjusted(
        _TFOPTFLOW,
        steps=60_000,
        batch_size=4,
        learning_rate=1e-5,
        milestones="20001,40001",
        data="sintel-clean@training:DIR",
        validation="sintel-clean@legacy-val:DIR",
        crop="384x768",
        init=BUNDLED,
    )


def pwcnet_multisteps() -> PwcnetLabelledConfig:
    """PWC-Net (tfoptflow) from scratch on FlyingChairs and FlyingThings3D at half size, 600,000 steps.

    ``kinema train pwcnet-multisteps --data
    7*flyingchairs@train:DIR,6*flyingthings-clean-left-future-half@train:DIR``

    tfoptflow's lg-6-2: crops of 256x448, batches of 16 on each of two GPUs, 1e-4, halved at 200, 300, 400 and
    500 thousand. The shares are those of the sets' sizes. Hardware: two GPUs: ``torchrun --nproc_per_node 2
    --no-python kinema train ...``. The original was restarted by hand after losses that were no
    numbers: ``--non-finite skip``. Expected, protocols chairs-val and sintel: 1.44 on FlyingChairs, 2.60 on
    Sintel clean, 3.70 on final; with ``--connections plain --context finest``, its small network, 1.71, 2.96
    and 3.83.
    """
    return adjusted(
        _TFOPTFLOW,
        steps=600_000,
        batch_size=32,
        learning_rate=1e-4,
        milestones="200001,300001,400001,500001",
        data=_TFOPTFLOW_MIX,
        validation="flyingchairs@val:DIR",
        crop="256x448",
    )


def pwcnet_cyclic() -> PwcnetLabelledConfig:
    """PWC-Net (tfoptflow) from scratch on the mix of multi-steps with a cyclic rate, 200,000 steps.

    ``kinema train pwcnet-cyclic --data
    7*flyingchairs@train:DIR,6*flyingthings-clean-left-future-half@train:DIR``

    Triangles from 1e-5 to 5e-4 (more ended in losses that were no numbers), each half as high as the one
    before, 20,000 steps up and as many down; steps and half cycle over the number of GPUs and, with batches
    other than 8, times 8 over their size. To fine-tune: ``--lowest-rate 1e-6 --learning-rate 2e-5``.
    Hardware: one GPU. Expected, protocol sintel: 3.99 on Sintel clean, 5.08 on final; its small network 4.34
    and 5.30.
    """
    return adjusted(
        _TFOPTFLOW,
        steps=200_000,
        batch_size=8,
        schedule="triangular2",
        learning_rate=5e-4,
        lowest_rate=1e-5,
        half_cycle=20_000,
        data=_TFOPTFLOW_MIX,
        validation="flyingchairs@val:DIR",
        crop="256x448",
    )
