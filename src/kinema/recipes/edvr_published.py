"""The published trainings of EDVR. No torch is imported here.

What they share: Adam without decay, the Charbonnier loss summed over the four samples of a device, cosine
falls with restarts, a moving average of the weights, no limit on the gradient. Stage 1 has no attention;
stage 2 begins from it and for 50,000 steps trains the attention alone, here as a function of the step, so
that a run that is resumed in that phase is still in it.
"""

from __future__ import annotations

from kinema.recipes.base import BUNDLED
from kinema.recipes.edvr_base import EdvrConfig

_REDS = EdvrConfig(
    data="reds@train:DIR",
    validation="reds@reds4:DIR",
    steps=600_000,
    batch_size=32,
    optimizer="adam",
    learning_rate=4e-4,
    beta2=0.99,
    weight_decay=0.0,
    clip_norm=0.0,
    ema_decay=0.999,
    schedule="cosine",
    warmup_steps=0,
    periods="150000,150000,150000,150000",
    lowest_rate=1e-7,
    loss_weight=4.0,
    validate_every=5000,
    checkpoint_every=5000,
    best_is="highest",
)
"""BasicSR's stage 1, but for the network."""

_STAGE_2: dict[str, object] = {
    "periods": "50000,100000,150000,150000,150000",
    "first_only": "fusion.*",
    "first_only_steps": 50_000,
    "init": BUNDLED,
}
_FALLING = "1,0.5,0.5,0.5"


def adjusted(config: EdvrConfig, **changes: object) -> EdvrConfig:
    """Change settings, and check them all.

    Args:
        config: the settings.
        changes: by name.

    Returns:
        The settings.
    """
    return type(config).model_validate({**dict(config), **changes})


def edvr_m_wotsa() -> EdvrConfig:
    """EDVR-M without attention from scratch on REDS (x4): stage 1, 600,000 steps.

    ``kinema train edvr-m-wotsa --data reds@train:DIR``

    BasicSR: crops of 64x64 (256x256 sharp), batches of 32, four falls from 4e-4 to 1e-7. Hardware: 8 GPUs.
    Protocol: reds4. Expected: 30.34 dB, SSIM 0.8664 (MMagic's run).
    """
    return adjusted(_REDS, preset="m-wotsa")


def edvr_m() -> EdvrConfig:
    """EDVR-M from stage 1 on REDS (x4): stage 2, 600,000 steps, 50,000 of them for the attention alone.

    ``kinema train edvr-m --data reds@train:DIR --init runs/edvr-m-wotsa/last.safetensors``

    BasicSR: as stage 1; falls of 50, 100 and three times 150 thousand steps from 4e-4. MMagic trains the
    attention alone for 5,000 steps, at 2e-4 and with a beta2 of 0.999. Where offsets run away,
    ``--rate-factors *dcn*:0.1`` slows their layers down, and ``--offset-limit 50`` calls them back. Hardware:
    8 GPUs. Protocol: reds4. Expected: 30.53 dB, SSIM 0.8699; MMagic's run 30.42 and 0.8684.
    """
    return adjusted(_REDS, preset="m", **_STAGE_2)


def edvr_l_wotsa() -> EdvrConfig:
    """EDVR-L without attention from scratch on REDS (x4): stage 1, 600,000 steps.

    ``kinema train edvr-l-wotsa --data reds@train:DIR``

    BasicSR: as the medium network; after the first fall the rate is halved. Hardware: 8 GPUs. Protocol:
    reds4. Expected: 31.00 dB, SSIM 0.8784 (MMagic's run).
    """
    return adjusted(_REDS, preset="l-wotsa", period_weights=_FALLING)


def edvr_l() -> EdvrConfig:
    """EDVR-L from stage 1 on REDS (x4): stage 2, 600,000 steps, 50,000 of them for the attention alone.

    ``kinema train edvr-l --data reds@train:DIR --init runs/edvr-l-wotsa/last.safetensors``

    BasicSR: as the medium network; after the first fall the rate is halved. Hardware: 8 GPUs. Protocol:
    reds4. Expected: 31.09 dB, SSIM 0.8800; MMagic's run 31.05 and 0.8793.
    """
    return adjusted(_REDS, preset="l", period_weights=f"{_FALLING},0.5", **_STAGE_2)


def edvr_l_vimeo90k() -> EdvrConfig:
    """EDVR-L with windows of 7 frames from scratch on Vimeo-90K (x4), 600,000 steps.

    ``kinema train edvr-l-vimeo90k --data vimeo90k@train:DIR``

    The schedule is not published: it is that of REDS, all of it at once. Hardware: 8 GPUs. Protocol:
    vimeo90k-y; papers test on Vid4 by vid4-y. Expected: 27.35 dB, SSIM 0.8264 on Vid4, 37.61 and 0.9489 on
    Vimeo-90K.
    """
    return adjusted(
        _REDS,
        preset="l-vimeo90k",
        period_weights=_FALLING,
        data="vimeo90k@train:DIR",
        validation="vimeo90k@test:DIR",
    )


def edvr_l_srblur() -> EdvrConfig:
    """EDVR-L from scratch on blurred and reduced REDS (x4), with a network for blur in front, 600,000 steps.

    ``kinema train edvr-l-srblur --data reds-blur_bicubic@train:DIR``

    The schedule is not published: it is that of the clean track. The authors trained the network for blur by
    itself first and say that it does less well otherwise. Hardware: 8 GPUs. Protocol: reds4. Expected: 28.88
    dB, SSIM 0.8361.
    """
    return adjusted(
        _REDS,
        preset="l-srblur",
        period_weights=_FALLING,
        data="reds-blur_bicubic@train:DIR",
        validation="reds-blur_bicubic@reds4:DIR",
    )


def edvr_l_deblur() -> EdvrConfig:
    """EDVR-L from scratch on blurred REDS at full size, 600,000 steps.

    ``kinema train edvr-l-deblur --data reds-blur@train:DIR``

    Crops of 256x256. The schedule is not published: it is that of the clean track. The authors trained the
    network for blur by itself first. Hardware: 8 GPUs. Protocol: reds4. Expected: 34.80 dB, SSIM 0.9487.
    """
    return adjusted(
        _REDS,
        preset="l-deblur",
        crop=256,
        period_weights=_FALLING,
        data="reds-blur@train:DIR",
        validation="reds-blur@reds4:DIR",
    )


def edvr_l_deblurcomp() -> EdvrConfig:
    """EDVR-L from scratch on blurred and compressed REDS at full size, 600,000 steps.

    ``kinema train edvr-l-deblurcomp --data reds-blur_comp@train:DIR``

    As ``edvr-l-deblur``. Hardware: 8 GPUs. Protocol: reds4. Expected: 30.24 dB, SSIM 0.8567.
    """
    return adjusted(edvr_l_deblur(), data="reds-blur_comp@train:DIR", validation="reds-blur_comp@reds4:DIR")


def edvr_ascend() -> EdvrConfig:
    """EDVR-M on REDS (x4) as its Ascend port trains it: one offset group, L1, batches of 4, 600,000 steps.

    ``kinema train edvr-ascend --data reds@train:DIR``

    The port's yaml: attention from the start, an L1 loss summed over each sample and meant over them, four
    falls from 4e-4 of heights 1, 0.5, 0.5 and 0.5 whose lowest rate is scaled too, no average of the weights.
    ``--steps 1000`` is its short run; 8 processes: ``torchrun --nproc_per_node 8 --no-python kinema train
    edvr-ascend ... --batch-size 32``. What differs: the port's mistakes in the network and in its padding are
    not repeated; crops reach the last row and column; mirrors and turns are drawn for each sample, and time
    runs forwards. Hardware: one Ascend 910 or one GPU. Protocol: reds4; the port scores floats by itself.
    Expected: 30.24 dB by its own scoring.
    """
    return adjusted(
        _REDS,
        offset_groups=1,
        batch_size=4,
        beta2=0.999,
        loss="l1",
        loss_weight=1.0,
        ema_decay=0.0,
        period_weights=_FALLING,
        restarts="ascend",
        reversed_share=0.0,
        seed=20210126,
        checkpoint_every=500,
        log_every=20,
    )
