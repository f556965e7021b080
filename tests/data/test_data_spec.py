import pytest

from kinema.data.spec import DataSpec, parse_spec
from kinema.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("middlebury:/data/mb", [DataSpec("middlebury", path="/data/mb")]),
        ("sintel-clean:/d", [DataSpec("sintel", "clean", path="/d")]),
        ("sintel-clean@training:rel/dir", [DataSpec("sintel", "clean", "training", "rel/dir")]),
        ("flyingchairs@val:/data/chairs", [DataSpec("flyingchairs", split="val", path="/data/chairs")]),
        ("footage:clips/*.mp4", [DataSpec("footage", path="clips/*.mp4")]),
        ("procedural", [DataSpec("procedural")]),
        (r"sintel-final:C:\data with spaces", [DataSpec("sintel", "final", path=r"C:\data with spaces")]),
        (
            "2*sintel-clean:/a, 0.5*kitti2012:/b,procedural",
            [
                DataSpec("sintel", "clean", path="/a", weight=2.0),
                DataSpec("kitti2012", path="/b", weight=0.5),
                DataSpec("procedural"),
            ],
        ),
    ],
)
def test_specs_are_read(text, expected):
    assert parse_spec(text) == expected


@pytest.mark.parametrize(
    "text", ["", ":/data", "sintel-clean:", "Sintel:/d", "sintel@:/d", "sintel-:/d", "a:/b,,c:/d", "-2*a:/b"]
)
def test_what_is_no_spec_is_refused_with_the_grammar(text):
    with pytest.raises(UsageError, match=r"NAME\[-VARIANT\]\[@SPLIT\]:PATH"):
        parse_spec(text)


def test_a_weight_of_zero_is_refused():
    with pytest.raises(UsageError, match="above zero"):
        parse_spec("0*sintel-clean:/d")


def test_a_spec_is_written_as_it_is_read():
    text = "2*sintel-clean@training:/data/sintel"
    assert str(parse_spec(text)[0]) == text
    assert parse_spec(text)[0].label == "sintel-clean@training"
