"""`--exclude-layers` of dump, layers and fit; and `actstore layers --layers`, which sizes a selection."""

import json

import pytest

import actstore
import solvers
from solvers import load

DATA = "--data train=train.npz:x --target train:sign=train.npz:y"


def layers_of(path):
    with actstore.open(path) as store:
        return list(store.layers)


@pytest.mark.parametrize(
    ("options", "stored"),
    [
        ("--layers ** --exclude-layers hidden", ["double.out"]),
        ("--layers ** --exclude-layers double.*", ["hidden"]),
        ("--layers ** --exclude-layers re:d.*", ["hidden"]),
        ("--layers ** --layers input --exclude-layers ** --exclude-layers hidden", ["input"]),
        ("--layers hidden --exclude-layers double.out", ["hidden"]),
    ],
)
def test_a_dump_leaves_layers_out(run, net, options, stored):
    run(f"actstore dump {net} {DATA} {options} -o s.h5")
    assert layers_of("s.h5") == stored
    listed = json.loads(run(f"actstore layers {net} --data train.npz:x {options} --json").stdout)
    assert [layer["name"] for layer in listed["layers"]] == stored


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--layers ** --exclude-layers hiden", "no layer matches 'hiden'; the nearest: 'hidden'"),
        ("--layers ** --exclude-layers **", "no layers are left: --exclude-layers ** takes all 2"),
        ("--layers hidden --exclude-layers hid*", "no layers are left"),
    ],
)
def test_what_leaves_nothing_or_is_a_typing_mistake_is_refused(refused, net, folder, options, message):
    assert message in refused(f"actstore dump {net} {DATA} {options} -o s.h5")
    assert not (folder / "s.h5").exists()
    assert message in refused(f"actstore layers {net} --data train.npz:x {options}")


def test_a_fit_leaves_layers_out(run, refused, store):
    run(f"probe fit {store} --target sign --C 1 --exclude-layers hid* -o p.h5")
    assert [layer for layer, *_ in load("p.h5")] == ["double.out"]
    fit = f"probe fit {store} --target sign --C 1 -o q.h5"
    assert "no layer matches 'hiden'" in refused(f"{fit} --exclude-layers hiden")
    assert "no layers are left" in refused(f"{fit} --exclude-layers **")
    run(f"{fit} --concat hidden,double.out --exclude-layers hidden")
    assert [layer for layer, *_ in solvers.load("q.h5")] == ["double.out", "hidden+double.out"]
    own = "probe fit train.npz:x --target y=train.npz:y --C 1 -o r.h5 --exclude-layers x"
    assert "features of your own are one layer" in refused(own, code=2)


def test_layers_sizes_a_selection(run, net):
    line = f"actstore layers {net} --data train.npz:x"
    document = json.loads(run(f"{line} --layers hidden --json").stdout)
    assert [layer["name"] for layer in document["layers"]] == ["hidden"]
    assert (document["rows"], document["dump_bytes"]) == (300, 32 * 300)
    assert document["layers"][0]["order"] == 1
    assert run(f"{line} --layers hidden").stdout.splitlines()[-1] == "300 rows: 9.6 kB for the 1 layer listed"
    whole = run(f"{line} --layers ** --layers input").stdout.splitlines()[-1]
    assert whole == "300 rows: 24.0 kB for the 3 layers listed"
    assert "the nearest: 'hidden'" in run(f"{line} --layers hiden", code=1).stderr


def test_layers_without_data_names_a_selection(run, refused):
    found = json.loads(
        run("actstore layers demo:digits --layers hidden* --exclude-layers **.pre --json").stdout
    )
    assert [layer["name"] for layer in found["layers"]] == ["hidden0", "hidden1", "hidden2"]
    assert found["dump_bytes"] is None
    assert "no layer matches 'hiden*'" in refused("actstore layers demo:digits --layers hiden*")
    assert "no layers are left" in refused(
        "actstore layers demo:digits --layers hidden0 --exclude-layers hidden*"
    )
