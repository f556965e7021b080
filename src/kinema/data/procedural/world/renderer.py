"""Renders one clip, frame by frame, and measures what lies between neighbours."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from kinema.data.procedural.world.atlas import atlas_of
from kinema.data.procedural.world.config import WorldConfig
from kinema.data.procedural.world.develop import developed
from kinema.data.procedural.world.lighting import plan_look
from kinema.data.procedural.world.picture import draw, sensor_of
from kinema.data.procedural.world.shade import Moment, Seen
from kinema.data.procedural.world.solids import inverse
from kinema.data.procedural.world.surface import face_table
from kinema.data.procedural.world.truth import Truth, things_seen, truth_between
from kinema.data.procedural.world.view import Array, SolidTable, look
from kinema.data.procedural.world.worlds import REACH, plan_world


@dataclass(frozen=True, eq=False)
class _Frame:
    """One frame: the world then, what the camera saw, and where the things were."""

    moment: Moment
    places: Array
    picture: Tensor
    seen: Seen


class Renderer:
    """Renders one clip.

    Args:
        config: what worlds are made of.
        seed: of the data set, 0 or more.
        index: of the clip, 0 or more.
        frames: how many the clip has.
        device: to compute on.
    """

    def __init__(
        self, config: WorldConfig, seed: int, index: int, *, frames: int, device: torch.device
    ) -> None:
        self.config, self.device = config, device
        self.world = plan_world(config, seed, index, frames=frames)
        self.look = plan_look(config, self.world)
        self.table = SolidTable(self.world.groups)
        self.atlas = atlas_of(config, seed, index // config.bank_clips, str(device))
        self.faces = face_table(self.table, self.atlas, device)
        self.sensor = sensor_of(config.size_hw, self.world.K, device)
        self.times = [number / self.world.hz for number in range(frames)]
        self._placed_first = self.table.in_world(self.world.places_of_things(0.0))

    def moment(self, time: float) -> tuple[Moment, Array]:
        """Stop the world.

        Args:
            time: seconds.

        Returns:
            The world, and where its things are: (N + 1, 4, 4) world from thing.
        """
        places, camera = self.world.places_of_things(time), self.world.camera(time)
        T_camera_from_world = inverse(camera)
        now = self.table.in_world(places)
        window, eye = self.sensor.window, camera[:3, 3]
        view = look(self.table, now, T_camera_from_world, window=window, eye=eye, reach=REACH)
        moment = Moment(
            table=self.table,
            faces=self.faces,
            atlas=self.atlas,
            T_world_from_solid=now,
            T_light_from_solid=self._placed_first if self.look.baked else now,
            baked=self.look.baked,
            light=self.look.light(time, camera),
            T_camera_from_world=T_camera_from_world,
            view=view,
            reach=REACH,
        )
        return moment, places

    def tensors(self) -> dict[str, Tensor]:
        """Render the clip.

        Returns:
            The fields of `kinema.data.procedural.world.clip.RenderedClip` without their first dimension;
            without ``blurred`` where there is none.
        """
        rows: dict[str, list[Tensor]] = {}
        before: _Frame | None = None
        for time in self.times:
            frame = self._frame(time)
            _append(rows, self._facts(frame))
            if self.config.blur_samples:
                _append(rows, {"blurred": self._exposed(time)})
            if before is not None:
                _append(rows, _named(self._between(before, frame), "forward"))
                _append(rows, _named(self._between(frame, before), "backward"))
            before = frame
        result = {name: torch.stack(values) for name, values in rows.items()}
        for name in ("images", "blurred"):
            if name in result:
                result[name] = developed(result[name], self.look, self.times)
        return self._without_flow() | result | self._poses()

    def _frame(self, time: float) -> _Frame:
        moment, places = self.moment(time)
        picture, seen = draw(moment, self.sensor, antialias=self.config.antialias)
        return _Frame(moment, places, picture, seen)

    def _facts(self, frame: _Frame) -> dict[str, Tensor]:
        shape = (1, *self.config.size_hw)
        sky = torch.isinf(frame.seen.depth)
        return {
            "images": frame.picture,
            "depth": torch.where(sky, 0.0, frame.seen.depth).view(shape),
            "sky": sky.view(shape),
            "instance": things_seen(frame.moment, frame.seen).to(torch.int16).view(shape),
        }

    def _between(self, first: _Frame, second: _Frame) -> Truth:
        return truth_between(
            (first.moment, first.seen, first.places),
            (second.moment, second.places),
            self.sensor,
            farthest=self.config.valid_displacement * self.config.size_hw[1],
        )

    def _exposed(self, time: float) -> Tensor:
        """The mean of moments while the shutter is open, around a time."""
        count = self.config.blur_samples
        total = torch.zeros((3, *self.config.size_hw), device=self.device)
        for number in range(count):
            part = ((number + 0.5) / count - 0.5) * self.look.exposure / self.world.hz
            moment, _ = self.moment(time + part)
            total += draw(moment, self.sensor, antialias=self.config.antialias)[0]
        return total / count

    def _poses(self) -> dict[str, Tensor]:
        things = np.stack([self.world.places_of_things(time) for time in self.times])
        numbers = {
            "K": self.world.K,
            "T_world_from_camera": np.stack([self.world.camera(time) for time in self.times]),
            "T_world_from_thing": things,
            "seconds": np.array(self.times),
        }
        return {name: torch.from_numpy(values).to(self.device) for name, values in numbers.items()}

    def _without_flow(self) -> dict[str, Tensor]:
        """What a clip of one frame has instead of flow."""
        height, width = self.config.size_hw
        names = [field.name for field in fields(Truth)]
        empty = {name: torch.zeros((0, 1, height, width), dtype=torch.bool) for name in names}
        for name in ("flow", "rigid"):
            empty[name] = torch.zeros((0, 2, height, width))
        ways = ("forward", "backward")
        return {f"{name}_{way}": values.to(self.device) for name, values in empty.items() for way in ways}


def _named(truth: Truth, way: str) -> dict[str, Tensor]:
    return {f"{field.name}_{way}": getattr(truth, field.name) for field in fields(Truth)}


def _append(rows: dict[str, list[Tensor]], values: dict[str, Tensor]) -> None:
    for name, value in values.items():
        rows.setdefault(name, []).append(value)
