"""Bad input: one clear sentence, before a kernel starts."""

import nbformat
import pytest
from conftest import WALKTHROUGH
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mnist_nb.errors import ParameterError
from mnist_nb.runs.parameters import RULES, check_parameters, declared_parameters, read_values

NOTEBOOK = nbformat.read(WALKTHROUGH, as_version=4)
DEFAULTS = {name: d.default for name, d in declared_parameters(NOTEBOOK).items()}

BAD = [
    ("epochs", "0", "whole number from 1"),
    ("epochs", "-1", "whole number from 1"),
    ("epochs", "1.5", "whole number from 1"),
    ("epochs", "five", "whole number from 1"),
    ("lr", "0", "greater than 0"),
    ("lr", "nan", "greater than 0"),
    ("lr", "inf", "finite"),
    ("lr", "-0.1", "greater than 0"),
    ("dropout", "1", "not including, 1"),
    ("dropout", "1.5", "not including, 1"),
    ("dropout", "-0.1", "from 0"),
    ("batch_size", "0", "from 1"),
    ("batch_size", "70000", "from 1"),
    ("batch_size", "56000", "train_size, which is 55000"),
    ("train_size", "55001", "together 60,001"),
    ("val_size", "0", "from 1"),
    ("hidden", "0", "from 1"),
    ("dataset", "CIFAR", "'MNIST', 'FashionMNIST'"),
    ("device", "tpu", "'cpu', 'cuda'"),
    ("shuffle", "yes", "True or False"),
    ("seed", "1.0", "whole number"),
    ("num_threads", "0", "from 1"),
    ("epocs", "3", "did you mean 'epochs'?"),
    ("colour", "red", "it has seed, dataset"),
]


@pytest.mark.parametrize(("name", "word", "says"), BAD)
def test_a_bad_parameter_gets_one_sentence_that_names_it_what_it_got_and_what_it_takes(
    name, word, says
):
    with pytest.raises(ParameterError) as caught:
        read_values(NOTEBOOK, {name: word})
    sentence = str(caught.value)
    assert name in sentence and says in sentence and "\n" not in sentence
    assert word in sentence or name in ("epocs", "colour")


def test_cuda_without_one_is_refused():
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(ParameterError, match="this machine has none"):
        check_parameters(DEFAULTS | {"device": "cuda"})


def test_the_defaults_are_the_sources_choices_and_pass():
    assert check_parameters(DEFAULTS) == DEFAULTS
    assert set(DEFAULTS) == set(RULES)
    assert (DEFAULTS["batch_size"], DEFAULTS["hidden"], DEFAULTS["lr"]) == (32, 64, 0.01)
    assert (DEFAULTS["train_size"], DEFAULTS["val_size"]) == (55_000, 5_000)
    assert (DEFAULTS["dropout"], DEFAULTS["epochs"], DEFAULTS["num_threads"]) == (0.1, 5, 1)
    assert not DEFAULTS["shuffle"] and not DEFAULTS["eval_mode"] and DEFAULTS["preload"]


def test_words_become_values_of_the_declared_types():
    given_words = {"lr": "1", "epochs": "2", "shuffle": "true", "data_dir": "None"}
    values = read_values(NOTEBOOK, given_words)
    assert values == {"lr": 1.0, "epochs": 2, "shuffle": True, "data_dir": None}
    assert [type(v) for v in values.values()] == [float, int, bool, type(None)]


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just([])
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(RULES, ANYTHING)))
def test_any_values_at_all_pass_or_get_one_sentence(values):
    try:
        checked = check_parameters(DEFAULTS | values)
    except ParameterError as error:
        assert "\n" not in str(error) and str(error)
    else:
        assert checked.keys() == RULES.keys()
