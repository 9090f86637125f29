from __future__ import annotations

import copy
import json
import pickle
from itertools import product
from typing import Any

import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from dynamic_network_architectures.building_blocks.residual import BasicBlockD
from dynamic_network_architectures.building_blocks.unet_decoder import UNetDecoder
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from torch import nn

from nnunet_ext.errors import InputError
from nnunet_ext.networks.multitask_unet import MultiTaskUNet

HEADS = {"front": 2, "zones": 3, "boundary": 1}
MIXED = {"front": "late", "zones": "early", "boundary": "late"}
FEATURES = (4, 6, 8)
CHANNELS = 2

dimensions = pytest.mark.parametrize("dimension", [2, 3])
kinds = pytest.mark.parametrize("kind", ["plain", "residual"])
branchings = pytest.mark.parametrize("branching", ["early", "late", MIXED], ids=["early", "late", "mixed"])
switch = pytest.mark.parametrize("deep_supervision", [False, True], ids=["one_output", "deep_supervision"])


def plan(dimension: int = 2, kind: str = "plain") -> dict[str, Any]:
    """Architecture of three stages, the second of which halves all axes but the first, as nnU-Net plans hold it."""
    return {
        "n_stages": 3,
        "features_per_stage": FEATURES,
        "conv_op": f"torch.nn.modules.conv.Conv{dimension}d",
        "kernel_sizes": [[1] + [3] * (dimension - 1), [3] * dimension, [3] * dimension],
        "strides": [[1] * dimension, [1] + [2] * (dimension - 1), [2] * dimension],
        "n_conv_per_stage" if kind == "plain" else "n_blocks_per_stage": [1, 2, 1],
        "n_conv_per_stage_decoder": [2, 1],
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dimension}d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }


def imported(plan: dict[str, Any]) -> dict[str, Any]:
    dimension = plan["conv_op"][-2]
    operations = {
        "conv_op": getattr(nn, f"Conv{dimension}d"),
        "norm_op": getattr(nn, f"InstanceNorm{dimension}d"),
        "nonlin": nn.LeakyReLU,
    }
    return plan | operations


def build(
    heads: dict[str, int] = HEADS,
    branching: Any = "early",
    *,
    dimension: int = 2,
    kind: str = "plain",
    **more: Any,
) -> MultiTaskUNet:
    torch.manual_seed(0)
    arguments = imported(plan(dimension, kind)) | more
    return MultiTaskUNet(CHANNELS, sum(heads.values()), list(heads), list(heads.values()), branching, **arguments)


def build_stock(classes: int, *, dimension: int = 2, kind: str = "plain", **more: Any) -> Any:
    stock = PlainConvUNet if kind == "plain" else ResidualEncoderUNet
    return stock(input_channels=CHANNELS, num_classes=classes, **imported(plan(dimension, kind)), **more)


def image(dimension: int = 2) -> torch.Tensor:
    return torch.randn((2, CHANNELS, *(4, 8, 12)[:dimension]), generator=torch.Generator().manual_seed(1))


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def parameters_of_library_decoder(network: MultiTaskUNet, classes: int) -> int:
    decoder = UNetDecoder(network.encoder, classes, plan()["n_conv_per_stage_decoder"], True)
    return parameters(decoder) - parameters(network.encoder)


def set_head_biases(decoder: Any, biases: list[float]) -> None:
    """Let all resolutions of a decoder give constants."""
    for layer in decoder.seg_layers:
        nn.init.zeros_(layer.weight)
        layer.bias.data = torch.tensor(biases)


def has_gradient(module: nn.Module) -> bool:
    return any(p.grad is not None and bool(p.grad.any()) for p in module.parameters())


@dimensions
@kinds
@branchings
def test_each_level_has_all_heads(dimension: int, kind: str, branching: Any) -> None:
    network = build(branching=branching, dimension=dimension, kind=kind, deep_supervision=True)
    size = (4, 8, 12)[:dimension]
    half = (4, *(length // 2 for length in size[1:]))
    assert [tuple(level.shape) for level in network(image(dimension))] == [(2, 6, *size), (2, 6, *half)]


@branchings
def test_deep_supervision_is_switched_at_the_decoder(branching: Any) -> None:
    network = build(branching=branching, deep_supervision=True)
    levels = network(image())
    network.decoder.deep_supervision = False
    assert network.decoder.deep_supervision is False
    output = network(image())
    assert torch.equal(output, levels[0])
    network.decoder.deep_supervision = True
    assert len(network(image())) == 2


def test_heads_are_in_task_order_whatever_the_branching() -> None:
    network = build(branching=MIXED, deep_supervision=True)
    set_head_biases(network.decoder_of("front"), [1.0, 2.0, 6.0])
    set_head_biases(network.decoder_of("zones"), [3.0, 4.0, 5.0])
    for level in network(image()):
        expected = torch.arange(1.0, 7.0).reshape(1, 6, 1, 1).expand_as(level)
        assert torch.equal(level, expected)


@switch
@kinds
@dimensions
@pytest.mark.parametrize(("heads", "branching"), [({"front": 3}, "early"), (HEADS, "late")])
def test_one_decoder_is_the_stock_network(
    heads: dict[str, int], branching: str, dimension: int, kind: str, deep_supervision: bool
) -> None:
    settings = {"dimension": dimension, "kind": kind, "deep_supervision": deep_supervision}
    network, stock = build(heads, branching, **settings), build_stock(sum(heads.values()), **settings)
    network.encoder.load_state_dict(stock.encoder.state_dict())
    weights = {key: value for key, value in stock.decoder.state_dict().items() if not key.startswith("encoder.")}
    network.decoder_of("front").load_state_dict(weights)

    ours, theirs = network(image(dimension)), stock(image(dimension))
    if not deep_supervision:
        ours, theirs = [ours], [theirs]
    assert len(ours) == len(theirs)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@kinds
def test_an_early_task_adds_one_decoder(kind: str) -> None:
    counts = [
        parameters(build({name: HEADS[name] for name in tasks}, kind=kind))
        for tasks in (["front"], ["front", "zones"], ["front", "zones", "boundary"])
    ]
    network = build(kind=kind)
    assert counts[0] == parameters(build_stock(HEADS["front"], kind=kind))
    assert counts[1] - counts[0] == parameters_of_library_decoder(network, HEADS["zones"])
    assert counts[2] - counts[1] == parameters_of_library_decoder(network, HEADS["boundary"])


def test_a_late_task_adds_its_head_only() -> None:
    one, two = (build({name: HEADS[name] for name in tasks}, "late") for tasks in (["front"], ["front", "zones"]))
    assert parameters(two) - parameters(one) == sum((features + 1) * HEADS["zones"] for features in FEATURES[:-1])


def test_early_tasks_own_disjoint_parameters() -> None:
    network = build()
    decoders = [{id(p) for p in network.decoder_of(task).parameters()} for task in HEADS]
    encoder = {id(p) for p in network.encoder.parameters()}
    assert len(set().union(encoder, *decoders)) == len(encoder) + sum(map(len, decoders))
    assert len(list(network.parameters())) == len(encoder) + sum(map(len, decoders))


def test_late_tasks_share_a_decoder_and_early_ones_do_not() -> None:
    network = build(branching=MIXED)
    assert network.decoder_of("front") is network.decoder_of("boundary")
    assert network.decoder_of("zones") is not network.decoder_of("front")
    assert len(network.decoder.decoders) == 2
    assert len(build(branching="late").decoder.decoders) == 1


def test_a_task_that_branching_does_not_name_is_early() -> None:
    network = build(branching={"front": "late"})
    assert len({network.decoder_of(task) for task in HEADS}) == 3


@kinds
def test_an_early_head_trains_its_own_decoder_and_the_encoder(kind: str) -> None:
    network = build(kind=kind)
    network(image())[:, : HEADS["front"]].square().sum().backward()
    assert has_gradient(network.encoder)
    assert has_gradient(network.decoder_of("front"))
    assert not has_gradient(network.decoder_of("zones"))
    assert not has_gradient(network.decoder_of("boundary"))


def test_a_late_head_trains_the_shared_decoder_but_no_other_head() -> None:
    network = build(branching=MIXED)
    network(image())[:, : HEADS["front"]].square().sum().backward()
    shared: Any = network.decoder_of("boundary")
    assert has_gradient(shared.stages)
    assert shared.seg_layers[-1].weight.grad[: HEADS["front"]].any()
    assert not shared.seg_layers[-1].weight.grad[HEADS["front"] :].any()
    assert not has_gradient(network.decoder_of("zones"))


@dimensions
@kinds
@switch
def test_feature_map_size_counts_the_encoder_and_every_decoder(
    dimension: int, kind: str, deep_supervision: bool
) -> None:
    settings = {"dimension": dimension, "kind": kind, "deep_supervision": deep_supervision}
    size = (16, 32, 64)[:dimension]
    stock = build_stock(3, **settings)
    decoder = stock.decoder.compute_conv_feature_map_size(size)
    sizes = [
        build(dict.fromkeys(("front", "zones", "boundary")[:tasks], 3), **settings).compute_conv_feature_map_size(size)
        for tasks in (1, 2, 3)
    ]
    assert sizes == [stock.compute_conv_feature_map_size(size) + extra * decoder for extra in range(3)]


@dimensions
def test_feature_map_size_counts_the_reconstruction(dimension: int) -> None:
    without, network = (build(dimension=dimension, reconstruction=on) for on in (False, True))
    measured = 0

    def count(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        nonlocal measured
        measured += output[0].numel()

    convolutions = [m for m in network.reconstruction_decoder.modules() if isinstance(m, nn.modules.conv._ConvNd)]
    for convolution in convolutions:
        convolution.register_forward_hook(count)
    network.reconstruct = True
    network(image(dimension))
    size = image(dimension).shape[2:]
    assert network.compute_conv_feature_map_size(size) - without.compute_conv_feature_map_size(size) == measured


@kinds
def test_compiles_to_one_graph_in_every_state(kind: str) -> None:
    torch._dynamo.reset()
    network = build(branching=MIXED, kind=kind, reconstruction=True)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    for deep_supervision, reconstruct in product((True, False), (False, True)):
        network.decoder.deep_supervision = deep_supervision
        network.reconstruct = reconstruct
        torch.testing.assert_close(compiled(image()), network(image()), rtol=0, atol=0)


@kinds
def test_is_built_from_a_plans_file(kind: str) -> None:
    tasks = {"tasks": list(HEADS), "heads": list(HEADS.values()), "branching": MIXED, "reconstruction": True}
    network = get_network_from_plans(
        "nnunet_ext.networks.multitask_unet.MultiTaskUNet",
        json.loads(json.dumps(plan(3, kind) | tasks)),
        ["conv_op", "norm_op", "dropout_op", "nonlin"],
        input_channels=CHANNELS,
        output_channels=6,
        deep_supervision=True,
    )
    assert [level.shape[1] for level in network(image(3))] == [6, 6]
    assert all(not m.bias.any() for m in network.modules() if isinstance(m, nn.Conv3d) and m.bias is not None)
    blocks = [m for m in network.modules() if isinstance(m, BasicBlockD)]
    assert bool(blocks) == (kind == "residual")
    assert all(not block.conv2.norm.weight.any() for block in blocks)


@dimensions
@branchings
def test_reconstruction_follows_the_heads_of_the_full_resolution(dimension: int, branching: Any) -> None:
    network = build(branching=branching, dimension=dimension, reconstruction=True, deep_supervision=True)
    heads = network(image(dimension))
    assert [level.shape[1] for level in heads] == [6, 6]

    keys = list(network.state_dict())
    network.reconstruct = True
    assert list(network.state_dict()) == keys
    levels = network(image(dimension))
    assert [level.shape[1] for level in levels] == [6 + CHANNELS, 6]
    assert torch.equal(levels[0][:, :6], heads[0])
    assert torch.equal(levels[1], heads[1])

    network.decoder.deep_supervision = False
    assert torch.equal(network(image(dimension)), levels[0])


def test_reconstruction_trains_the_encoder_through_the_bottleneck_only() -> None:
    network = build(reconstruction=True)
    network.reconstruct = True
    rebuilt = network(image())[:, -CHANNELS:]
    assert torch.equal(rebuilt, network.reconstruction_decoder(network.encoder(image())[-1]))
    rebuilt.square().sum().backward()
    assert has_gradient(network.reconstruction_decoder)
    assert has_gradient(network.encoder)
    assert not has_gradient(network.decoder)


def test_reconstruction_cannot_be_asked_for_where_there_is_none() -> None:
    network = build()
    with pytest.raises(InputError, match="reconstruction=True"):
        network.reconstruct = True
    network.reconstruct = False
    assert network.reconstruct is False


@kinds
@branchings
@pytest.mark.parametrize("reconstruction", [False, True])
def test_state_dict_round_trips_between_training_and_inference(kind: str, branching: Any, reconstruction: bool) -> None:
    trained = build(branching=branching, kind=kind, reconstruction=reconstruction, deep_supervision=True)
    loaded = build(branching=branching, kind=kind, reconstruction=reconstruction, deep_supervision=False)
    for parameter in loaded.parameters():
        nn.init.zeros_(parameter)
    loaded.load_state_dict(trained.state_dict(), strict=True)
    assert torch.equal(loaded(image()), trained(image())[0])


def test_state_dict_holds_the_encoder_once() -> None:
    keys = build(branching=MIXED, reconstruction=True).state_dict()
    assert not [key for key in keys if "encoder." in key and not key.startswith("encoder.")]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))])
def test_copies_compute_the_same_on_their_own(copied: Any) -> None:
    network = build(branching=MIXED)
    other = copied(network)
    assert torch.equal(other(image()), network(image()))
    assert other.decoder_of("front").encoder is other.encoder
    assert other.compute_conv_feature_map_size((8, 8)) == network.compute_conv_feature_map_size((8, 8))


@pytest.mark.parametrize("reconstruct", [False, True])
def test_trains_with_distributed_data_parallel(reconstruct: bool) -> None:
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        network = build(branching=MIXED, deep_supervision=True, reconstruction=reconstruct)
        network.reconstruct = reconstruct
        parallel = nn.parallel.DistributedDataParallel(network)
        for _ in range(2):
            sum(level.square().mean() for level in parallel(image())).backward()
    finally:
        torch.distributed.destroy_process_group()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("tasks", "heads", "classes", "message"),
    [
        ([], [], 0, "needs to know its tasks"),
        (["front", "front"], [1, 1], 2, "unique"),
        (["front.line"], [1], 1, r"no dot; got \['front.line'\]"),
        (["front", "zones"], [2], 2, r"heads \[2\]"),
        (["front", "zones"], [2, 0], 2, r"heads \[2, 0\]"),
        (["front", "zones"], [2, 3], 4, "5 channels together, but num_classes is 4"),
    ],
)
def test_tasks_heads_and_classes_have_to_fit(tasks: list[str], heads: list[int], classes: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        MultiTaskUNet(CHANNELS, classes, tasks, heads, **imported(plan()))


@pytest.mark.parametrize(
    ("branching", "message"),
    [
        ("middle", "expected 'early' or 'late' for each task, found .*'front': 'middle'"),
        ({"zones": "middle"}, "expected 'early' or 'late' for each task, found .'zones': 'middle'"),
        ({"roots": "late"}, "unknown tasks .'roots'., expected some of .'front', 'zones', 'boundary'"),
    ],
)
def test_unknown_branching_is_named_with_the_known_ones(branching: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(branching=branching)


@pytest.mark.parametrize(
    ("kind", "more", "message"),
    [
        ("plain", {"n_blocks_per_stage": [1, 1, 1]}, "exactly one of n_conv_per_stage"),
        ("plain", {"n_conv_per_stage": None}, "exactly one of n_conv_per_stage"),
        ("plain", {"block": BasicBlockD, "stem_channels": 4}, "block, stem_channels is for a residual encoder"),
        ("residual", {"nonlin_first": True}, "nonlin_first is for a plain encoder"),
    ],
)
def test_the_kind_of_encoder_has_to_be_clear(kind: str, more: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(kind=kind, **more)


def test_the_decoder_of_an_unknown_task_is_an_error() -> None:
    with pytest.raises(InputError, match="front, zones, boundary, but got 'roots'"):
        build().decoder_of("roots")
