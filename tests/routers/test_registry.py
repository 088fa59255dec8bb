"""The names under which routers are known."""

import inspect
import sys
from importlib.metadata import EntryPoint

import pytest
import torch

import routers
from routers import registry

ROUTER_SOURCE = """
import torch
import routers

{decorator}
class {name}(routers.Router):
    def compute_router_probabilities(self, hidden_states):
        return torch.full((*hidden_states.shape[:-1], self.num_experts), 1 / self.num_experts)
"""


class UniformRouter(routers.Router):
    def compute_router_probabilities(self, hidden_states):
        return torch.full((*hidden_states.shape[:-1], self.num_experts), 1 / self.num_experts)


@pytest.fixture(autouse=True)
def registry_put_back():
    with registry.restored_registry():
        yield


@pytest.fixture
def router_file(tmp_path):
    """Writes a module with one router of a name of its own, as modules stay loaded for the whole session."""

    def write(stem, name="MyRouter", decorator=""):
        path = tmp_path / f"{stem}.py"
        path.write_text(ROUTER_SOURCE.format(name=name, decorator=decorator))
        return path

    return write


@pytest.fixture
def entry_point(monkeypatch):
    """Makes entry points known as if a package that declares them were installed."""

    def install(**values):
        points = [EntryPoint(name, value, registry.ENTRY_POINT_GROUP) for name, value in values.items()]
        monkeypatch.setattr(registry, "entry_points", lambda group: points if group == "moe_routers" else [])

    return install


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


def test_knows_the_packages_own_routers():
    own = {name for name in routers.list_routers() if routers.get_router_class(name).__module__.startswith("routers.")}
    assert own >= {
        "attention",
        "hadamard",
        "hadamard_unconstrained",
        "hash",
        "hybrid",
        "linear",
        "mlp",
        "mlp_hadamard",
        "self_supervised",
    }


BEYOND = {
    "cosine",
    "expert_choice",
    "gating_residual",
    "noisy_top_k",
    "normed_linear",
    "recurrent_mlp",
    "sinkhorn",
    "soft",
    "switch",
    "token_hash",
}


def test_routers_beyond_the_paper_are_listed_where_they_are_asked_for():
    measured = set(routers.list_routers())
    not_of_tokens = measured - set(routers.list_routers(token_choice=True))  # of files that `--router` names
    assert set(routers.list_routers(every=True)) == measured | BEYOND
    assert not measured & BEYOND
    with registry.restored_registry():
        routers.ask_for("switch")
        assert set(routers.list_routers()) == measured | {"switch"}
        routers.ask_for("all")
        assert routers.list_routers() == routers.list_routers(every=True)
        of_tokens = set(routers.list_routers(token_choice=True))
        assert {"expert_choice", "soft"} == (measured | BEYOND) - of_tokens - not_of_tokens
    assert set(routers.list_routers()) == measured
    with pytest.raises(ValueError, match=r"unknown router 'swich'; there are: .*attention, cosine"):
        routers.ask_for("swich")
    assert set(routers.list_routers()) == measured


def test_a_registered_router_is_listed_and_made():
    assert routers.register_router("uniform")(UniformRouter) is UniformRouter
    assert "uniform" in routers.list_routers()
    assert routers.list_routers() == sorted(routers.list_routers())
    made = routers.create_router("uniform", hidden_size=4, num_experts=3, top_k=2, norm_topk_prob=False)
    assert isinstance(made, UniformRouter)
    assert (made.hidden_size, made.num_experts, made.top_k, made.norm_topk_prob) == (4, 3, 2, False)


def test_a_taken_name_is_refused_and_its_owner_named():
    with pytest.raises(
        ValueError, match=r"\'linear\' is already registered, as routers\.scorers\.linear\.LinearRouter"
    ):
        routers.register_router("linear")(UniformRouter)
    assert routers.get_router_class("linear").__name__ == "LinearRouter"


def test_registering_a_class_twice_under_its_name_is_no_error():
    routers.register_router("uniform")(UniformRouter)
    assert routers.register_router("uniform")(UniformRouter) is UniformRouter


@pytest.mark.parametrize("name", ["", "a b", "a-b", "a[0]", "a/b"])
def test_a_name_that_cannot_stand_in_a_test_id_is_refused(name):
    with pytest.raises(ValueError, match="letters, digits"):
        routers.register_router(name)


@pytest.mark.parametrize("thing", [torch.nn.Linear, UniformRouter.__init__, 3])
def test_only_routers_can_be_registered(thing):
    with pytest.raises(TypeError, match=r"'thing': .* is not a subclass of routers\.Router"):
        routers.register_router("thing")(thing)


def test_an_unknown_name_is_refused_with_those_that_exist():
    with pytest.raises(ValueError, match="unknown router 'lineer'") as error:
        routers.create_router("lineer", hidden_size=4, num_experts=3, top_k=2)
    assert ", ".join(routers.list_routers(every=True)) in one_line(error)


def test_an_unknown_option_is_refused():
    with pytest.raises(TypeError, match="unheard_of"):
        routers.create_router("linear", hidden_size=4, num_experts=3, top_k=2, unheard_of=1)


def test_a_router_comes_from_a_file_and_is_named_after_its_class(router_file):
    target = f"{router_file('uniform_in_a_file')}:MyRouter"
    assert routers.register_from_path(target) == "my_router"
    assert routers.register_from_path(target) == "my_router", "asking twice changes nothing"
    probs = routers.create_router("my_router", hidden_size=4, num_experts=2, top_k=1)(torch.zeros(3, 4)).router_probs
    assert torch.equal(probs, torch.full((3, 2), 0.5))


def test_a_router_comes_from_a_module(router_file, monkeypatch):
    monkeypatch.syspath_prepend(router_file("uniform_in_a_module", name="TwoWords").parent)
    assert routers.register_from_path("uniform_in_a_module:TwoWords") == "two_words"


def test_a_class_that_registers_itself_keeps_its_name(router_file):
    path = router_file("registers_itself", decorator='@routers.register_router("named.by_itself")')
    assert routers.register_from_path(f"{path}:MyRouter") == "named.by_itself"
    assert "my_router" not in routers.list_routers()
    assert routers.register_from_path("routers.scorers.linear:LinearRouter") == "linear"


@pytest.mark.parametrize(
    ("target", "named"),
    [
        pytest.param("MyRouter", "must have the form", id="no_module"),
        pytest.param(":MyRouter", "must have the form", id="empty_module"),
        pytest.param("routers.scorers.linear:", "must have the form", id="empty_class"),
        pytest.param("no_such_module:MyRouter", "no_such_module cannot be imported", id="unknown_module"),
        pytest.param("no/such/file.py:MyRouter", "no file no/such/file.py", id="unknown_file"),
        pytest.param("routers.scorers.linear:Missing", "routers.scorers.linear has no Missing", id="unknown_class"),
        pytest.param("math:pi", "is not a subclass", id="no_class"),
        pytest.param("torch.nn:Linear", "is not a subclass", id="no_router"),
    ],
)
def test_a_wrong_path_is_refused_in_one_line(target, named):
    with pytest.raises(ValueError, match=named) as error:
        routers.register_from_path(target)
    one_line(error)


def test_a_file_that_fails_names_its_error_each_time(tmp_path):
    path = tmp_path / "fails_when_imported.py"
    path.write_text("raise RuntimeError('first line\\nsecond line')")
    for _ in range(2):
        with pytest.raises(ValueError, match=r"cannot be imported.*first line") as error:
            routers.register_from_path(f"{path}:MyRouter")
        one_line(error)


def test_a_name_that_a_path_would_take_twice_is_refused(router_file):
    routers.register_from_path(f"{router_file('first_of_two')}:MyRouter")
    with pytest.raises(ValueError, match=r"'my_router' is already registered, as first_of_two\.MyRouter"):
        routers.register_from_path(f"{router_file('second_of_two')}:MyRouter")


def test_an_entry_point_is_listed_without_loading_and_loaded_when_asked_for(entry_point):
    entry_point(from_a_package="routers.scorers.mlp:MLPRouter", broken="no_such_package:Router")
    assert {"broken", "from_a_package", "linear"} <= set(routers.list_routers())
    assert routers.get_router_class("from_a_package").__name__ == "MLPRouter"


@pytest.mark.parametrize("value", ["no_such_package:Router", "routers.scorers.mlp:Missing"])
def test_a_broken_entry_point_is_named(entry_point, value):
    entry_point(broken=value)
    with pytest.raises(ValueError, match=f"router 'broken': entry point {value} cannot be loaded") as error:
        routers.get_router_class("broken")
    one_line(error)


def test_the_packages_own_router_wins_over_an_entry_point_of_its_name(entry_point):
    entry_point(linear="no_such_package:Router")
    assert routers.get_router_class("linear").__name__ == "LinearRouter"
    assert routers.list_routers().count("linear") == 1


def test_a_temporary_router_is_known_inside_alone():
    with routers.temporary_router("passing", UniformRouter):
        assert routers.get_router_class("passing") is UniformRouter
        routers.register_router("another")(UniformRouter)
    assert not {"passing", "another"} & set(routers.list_routers())


def test_a_temporary_router_stands_in_place_of_one_of_its_name():
    linear = routers.get_router_class("linear")
    with routers.temporary_router("linear", UniformRouter):
        assert routers.get_router_class("linear") is UniformRouter
    assert routers.get_router_class("linear") is linear


def test_a_temporary_router_is_refused_as_any_other():
    with pytest.raises(ValueError, match="must consist of letters"), routers.temporary_router("a b", UniformRouter):
        pass
    with pytest.raises(TypeError, match="is not a subclass of"), routers.temporary_router("other", dict):
        pass
    assert "other" not in routers.list_routers()


def test_a_name_that_no_table_shows_is_refused_in_a_short_line():
    with pytest.raises(ValueError, match="has 201 characters, at most 200 are allowed") as refusal:
        routers.register_router("x" * 201)
    assert len(str(refusal.value)) < 120


@pytest.mark.parametrize("name", ["stock", "all"])
def test_a_name_that_stands_for_something_else_is_refused(name, tmp_path):
    file = tmp_path / "own.py"
    file.write_text(f"from routers.scorers.linear import LinearRouter\nclass {name.title()}(LinearRouter): ...\n")
    with pytest.raises(ValueError, match=f"router name '{name}' is reserved") as error:
        routers.register_from_path(f"{file}:{name.title()}")
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="reserved"), routers.temporary_router(name, UniformRouter):
        pass


@pytest.mark.parametrize("name", ["random.py", "wave.py", "routers.py", "my.router.py"])
def test_a_file_may_have_the_name_of_any_module(tmp_path, name):
    known = sys.modules.get(name.removesuffix(".py"))
    for folder in ("first", "second"):
        path = tmp_path / folder / name
        path.parent.mkdir()
        lines = "from routers.scorers.linear import LinearRouter", f"class {folder.title()}(LinearRouter):", "    pass"
        path.write_text("\n".join(lines))
        assert routers.register_from_path(f"{path}:{folder.title()}") == folder
        router_class = routers.get_router_class(folder)
        assert inspect.getfile(router_class) == str(path)  # by which results are resumed and fresh processes find it
        assert "." not in router_class.__module__
        assert routers.register_from_path(f"{path}:{folder.title()}") == folder  # the same class, not another
    assert sys.modules.get(name.removesuffix(".py")) is known
