"""Later published trainings of PWC-Net: one-cycle, MMFlow, PWC-Net+. No torch is imported here."""

from __future__ import annotations

from kinema.recipes.base import BUNDLED
from kinema.recipes.pwcnet_labelled import PwcnetLabelledConfig
from kinema.recipes.pwcnet_published import ORIGINAL, adjusted

_STAGE = 150_000
_HALVINGS = (45_000, 65_000, 85_000, 95_000, 97_500, 100_000, 110_000, 120_000, 130_000, 140_000)
_ONE_CYCLE = PwcnetLabelledConfig(
    steps=1_200_000,
    optimizer="adamw",
    weight_decay=1e-4,
    clip_norm=1.0,
    ema_decay=0.0,
    schedule="onecycle",
    anneal="linear",
    warmup_steps=60_000,
    loss_mean="samples",
    downsampling="area",
    occluded_from=0,
)
_FINE_TUNED = adjusted(ORIGINAL, batch_size=4, loss="robust", init=BUNDLED)


def _stages(*rates: float) -> dict[str, object]:
    """Stages of 150,000 steps: each halves its rate ten times; the next begins from its own."""
    found = []
    for number, rate in enumerate(rates):
        if number:
            found.append(f"{number * _STAGE}:{rate / rates[0]:.10g}")
        found += [str(number * _STAGE + step) for step in _HALVINGS]
    return {"steps": _STAGE * len(rates), "learning_rate": rates[0], "milestones": ",".join(found)}


def pwcnet_onecycle_chairs() -> PwcnetLabelledConfig:
    """PWC-Net (dc) from scratch on FlyingChairs, the modern way: AdamW, one cycle, 1.2 million steps.

    ``kinema train pwcnet-onecycle-chairs --data flyingchairs@train:DIR``

    ezflow's public recipe: crops of 384x448, batches of 8, up to 4e-4 within 5 % of the steps and down in a
    line, decay 1e-4, gradients clipped to 1, RAFT's augmentation. Hardware: one GPU. Expected after
    ``pwcnet-onecycle-things``, protocol sintel: 2.06 on Sintel clean, 3.43 on final.
    """
    return adjusted(
        _ONE_CYCLE,
        batch_size=8,
        learning_rate=4e-4,
        data="flyingchairs@train:DIR",
        validation="flyingchairs@val:DIR",
        crop="384x448",
        augmentation="raft-chairs",
    )


def pwcnet_onecycle_things() -> PwcnetLabelledConfig:
    """PWC-Net (dc) from FlyingChairs to FlyingThings3D, clean and final, the modern way: 1.2 million steps.

    ``kinema train pwcnet-onecycle-things --data flyingthings-clean@train:DIR,flyingthings-final@train:DIR
    --init runs/pwcnet-onecycle-chairs/last.safetensors``

    ezflow's second stage: crops of 384x768, batches of 4, up to 1.25e-4, flow beyond 1000 px not known.
    Hardware: one GPU. Expected, protocols sintel and kitti15: 2.06 on Sintel clean, 3.43 on final, 11.04 and
    32.68 % on KITTI 2015.
    """
    return adjusted(
        _ONE_CYCLE,
        batch_size=4,
        learning_rate=1.25e-4,
        data="flyingthings-clean@train:DIR,flyingthings-final@train:DIR",
        validation="flyingthings-clean-left-future@test:DIR",
        crop="384x768",
        augmentation="raft-things",
        init=BUNDLED,
    )


def pwcnet_mmflow_sintel() -> PwcnetLabelledConfig:
    """PWC-Net (dc) to Sintel in two stages, as MMFlow: 300,000 steps, robust loss.

    ``kinema train pwcnet-mmflow-sintel --data sintel-clean@training:DIR,sintel-final@training:DIR
    --init THINGS.safetensors``

    Clean and final, crops of 384x768, batches of 4, from 3e-5 and again from 2e-5, each halved ten times in
    150,000 steps. Hardware: one GPU. Protocol: sintel, on the pairs it learned from. Expected: 1.50 on clean,
    2.06 on final. What differs: the augmentation is PWC-Net+'s.
    """
    return adjusted(
        _FINE_TUNED,
        **_stages(3e-5, 2e-5),
        data="sintel-clean@training:DIR,sintel-final@training:DIR",
        validation="sintel-clean@val:DIR,sintel-final@val:DIR",
        crop="384x768",
        augmentation="pwcnet-plus-sintel",
    )


def pwcnet_mmflow_kitti() -> PwcnetLabelledConfig:
    """PWC-Net (dc) to KITTI 2012 and 2015 in two stages, as MMFlow: 300,000 steps, robust loss.

    ``kinema train pwcnet-mmflow-kitti --data kitti2012:DIR,kitti2015:DIR --init THINGS.safetensors``

    Crops of 320x896, batches of 4, the schedule of ``pwcnet-mmflow-sintel``; pixels without truth do not
    count. Hardware: one GPU. Protocols: kitti12 and kitti15, on the pairs it learned from. Expected: 1.07;
    1.64 and 6.09 %. What differs: the augmentation is RAFT's for KITTI, which never blends sparse truth.
    """
    return adjusted(
        _FINE_TUNED,
        **_stages(3e-5, 2e-5),
        data="kitti2012@training:DIR,kitti2015@training:DIR",
        validation="kitti2015@training:DIR,kitti2012@training:DIR",
        crop="320x896",
        augmentation="raft-kitti",
    )


def pwcnet_plus_sintel() -> PwcnetLabelledConfig:
    """PWC-Net+ (dc) on Sintel, KITTI 2015 and HD1K together: five stages, 750,000 steps.

    ``kinema train pwcnet-plus-sintel --data
    sintel-clean@training:DIR,sintel-final@training:DIR,kitti2015:DIR,custom:HD1K --init THINGS.safetensors``

    Sun et al. 2019 (Models matter, so does training). Each batch has two pairs of Sintel, one of KITTI and
    one of HD1K; crops of 320x768; from 5e-5, 3e-5, 2e-5, 1e-5 and 5e-6. The loss looks at levels 6 to 3 and,
    robustly, at the whole size. HD1K must be prepared as a custom set at half its size, which is how the
    original saw it (crops of 640x1536, halved). Hardware: one GPU. Expected: 3.45 and 4.60 on Sintel's test
    server, clean and final; the released weights have 1.85 and 2.34 on the pairs they learned from (protocol
    sintel).
    """
    return adjusted(
        _FINE_TUNED,
        **_stages(5e-5, 3e-5, 2e-5, 1e-5, 5e-6),
        loss="plus-sintel",
        data="sintel-clean@training:DIR,sintel-final@training:DIR,kitti2015@training:DIR,custom:DIR",
        validation="sintel-clean@val:DIR,sintel-final@val:DIR",
        crop="320x768",
        augmentation="pwcnet-plus-sintel,pwcnet-plus-sintel,raft-kitti,raft-kitti",
    )


def pwcnet_plus_kitti() -> PwcnetLabelledConfig:
    """PWC-Net+ (dc) on KITTI 2012 and 2015: four stages, 600,000 steps.

    ``kinema train pwcnet-plus-kitti --data kitti2012:DIR,kitti2015:DIR
    --init runs/pwcnet-plus-sintel/last.safetensors``

    Sun et al. 2019. Each batch has two pairs of each; crops of 320x896; from 4e-5, 4e-5, 2e-5 and 1e-5. The
    loss looks at levels 6 to 3, each enlarged to the next, and at the whole size, all with the exponent
    0.2. Hardware: one GPU. Expected on the test servers: 3.36 % Out-Noc on KITTI 2012, 7.72 % Fl-all on KITTI
    2015. What differs: levels are enlarged bilinearly and not by the network's own layers; the augmentation
    is RAFT's for KITTI.
    """
    return adjusted(
        _FINE_TUNED,
        **_stages(4e-5, 4e-5, 2e-5, 1e-5),
        loss="plus-kitti",
        data="kitti2012@training:DIR,kitti2015@training:DIR",
        validation="kitti2015@training:DIR,kitti2012@training:DIR",
        crop="320x896",
        augmentation="raft-kitti",
    )
