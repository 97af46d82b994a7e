"""Searches that take costs as known: what they propose, what they learn from, and what they deploy."""

import numpy as np
import pytest

from algo.search.exact_choice import Ascent, ExactChoice, Worth
from algo.search.known_costs import known_costs
from algo.search.methods.additive import BayesLinear, OneAtATime
from algo.search.methods.registry import METHODS, Noise
from algo.search.searcher import BELIEVED, Outcomes, Problem
from algo.search.tables.policy_table import PolicyTable
from algo.search.tables.scored_table import score_table
from algo.space.policy import PolicySpace
from sim.devices.objective import Objective
from tests.algo.search.test_exact_choice import made_problem
from tests.small_tables import small_scored, small_table

KNOWING = ("one-at-a-time", "bayes-linear", "gp", "evolution-costs", "tpe-costs")
BELIEVING = [name for name, method in METHODS.items() if method.believes]


def additive_scored(layers=4, seed=2, **objective):
    """A small table whose accuracy is a sum over the rows: nothing but noise misleads a model."""
    table = small_table(layers=layers)
    loss = np.random.default_rng(seed).uniform(0.004, 0.03, layers)
    actions = np.indices(table.space.action_counts).reshape(layers + 1, -1)[:-1]
    accuracy = 0.9 - (loss[:, None] * np.array([1.0, 0.3, 0.0])[actions]).sum(axis=0)
    made = PolicyTable(table.space, table.points, accuracy, table.latency_ms, table.energy_uj, "made up")
    return score_table(made, Objective(**{"accuracy_th": 0.86} | objective))


def layers_of(scored, places):
    return places // scored.table.space.points


@pytest.mark.parametrize("name", KNOWING)
def test_no_choice_of_the_layers_is_tried_twice_while_another_may_be_better(name):
    scored = small_scored()
    chosen = METHODS[name].run(scored, [1, 2, 3], 14)
    assert all(len(set(layers_of(scored, column))) == 14 for column in chosen.T)


@pytest.mark.parametrize("name", KNOWING)
def test_every_policy_has_the_operating_point_that_suits_it_best(name):
    scored = small_scored(accuracy_th=0.0)
    chosen = METHODS[name].run(scored, [1, 2], 14)
    best = scored.scores.reshape(-1, scored.table.space.points).max(axis=1)
    assert (scored.scores[chosen] == best[layers_of(scored, chosen)]).all()


@pytest.mark.parametrize("name", ["evolution-costs", "tpe-costs"])
def test_evolution_and_tpe_propose_nothing_that_could_not_beat_the_best_seen(name):
    fastest = small_table(layers=4).latency_ms.reshape(81, -1).min(axis=1)
    scored = additive_scored(latency_th_ms=float(np.quantile(fastest, 0.6)), latency_high_ms=8.0, latency_low_ms=1.0)
    table, known = scored.table, known_costs(Problem(scored.table.space, scored.objective, 1, scored.table.measure))
    assert scored.skipped.reshape(81, -1).all(axis=1).sum() > 20  # choices of the layers without any point
    policies = np.array(list(np.ndindex(table.space.action_counts)))
    for column in METHODS[name].run(scored, [1, 2, 3], 20).T:
        for n, place in enumerate(column):
            tried = column[:n][~scored.skipped[column[:n]]]
            best, accuracy = (scored.scores[tried].max(), table.accuracy[tried].max()) if n else (0.0, 1.0)
            hoped = known.scores(policies, np.full(len(policies), accuracy))
            hoped[np.isin(layers_of(scored, np.arange(len(hoped))), layers_of(scored, column[:n]))] = 0
            if hoped[place] < best:  # allowed only when nothing was left to hope for
                assert (hoped <= best + 2**-13).mean() > 0.99
                break
            assert not scored.skipped[place]


@pytest.mark.parametrize("name", ["one-at-a-time", "bayes-linear", "gp"])
def test_a_search_with_the_right_model_finds_the_best_policy_of_a_sum(name):
    scored = additive_scored(layers=5)
    regret = scored.regret(METHODS[name].run(scored, range(1, 6), 20))[-1]
    assert regret.max() < 1e-3 < scored.regret(METHODS["random"].run(scored, range(1, 6), 20))[-1].mean()


@pytest.mark.parametrize("kind", [BayesLinear, OneAtATime])
def test_a_skipped_policy_teaches_no_accuracy(kind):
    scored = additive_scored()
    table = scored.table
    searches = kind(Problem(table.space, scored.objective, 20, table.measure), [1, 2, 3])
    for n in range(15):  # after nine, a model of sums knows all
        outcome = scored.outcomes(searches.ask() @ table.space.strides)
        skipped = np.full(3, n >= 10)
        accuracy, score = np.where(skipped, 0.0, outcome.accuracy), np.where(skipped, 0.0, outcome.score)
        searches.tell(Outcomes(accuracy, outcome.latency_ms, outcome.energy_uj, score, skipped))
    assert (scored.scores[searches.recommend() @ table.space.strides] > scored.optimum - 1e-3).all()


def test_one_at_a_time_deploys_no_action_that_it_never_tried():
    scored = additive_scored()
    table = scored.table
    searches = OneAtATime(Problem(table.space, scored.objective, 20, table.measure), [1, 2, 3])
    tried = []
    for _ in range(4):  # fewer than the actions
        tried.append(searches.ask()[:, :-1])
        searches.tell(scored.outcomes(tried[-1] @ table.space.strides[:-1]))
        deployed = searches.recommend()[:, :-1]
        assert (np.array(tried) == deployed).any(axis=0).all()


@pytest.mark.parametrize("name", BELIEVING)
def test_with_noise_what_the_model_believes_is_deployed_and_better_than_the_luckiest(name):
    scored = additive_scored()
    seeds = 20 if name == "gp" else 200  # with too few, rounding decides, which differs between processors
    found = METHODS[name].search(scored, range(1, seeds + 1), 20, noise=Noise(0.01), at=[12, 20])
    assert found.deployed.shape == found.luckiest.shape == (2, seeds)
    believed, lucky = ((scored.optimum - scored.scores[one])[-1].mean() for one in (found.deployed, found.luckiest))
    assert believed < lucky


def test_recommending_changes_nothing_in_the_search():
    scored = additive_scored()
    for name in BELIEVING:
        asked = METHODS[name].search(scored, [1, 2], 14, at=range(1, 15)).chosen
        assert (asked == METHODS[name].run(scored, [1, 2], 14)).all(), name


@pytest.mark.parametrize("name", ["one-at-a-time", "bayes-linear", "gp", "planning", "random"])
def test_what_takes_the_place_of_enumeration_is_said_where_there_are_too_many_policies(name):
    small, large = (PolicySpace.of_bit_widths(layers, points=9, weight_choices=(2, 4, 8)) for layers in (8, 12))
    assert METHODS[name].note_on(small) == ""
    said = METHODS[name].note_on(large)
    exact = name in ("one-at-a-time", "bayes-linear", "gp")
    assert (f"this space has {large.size:,}" in said) == exact and bool(said) == exact


def test_a_searcher_says_how_it_found_what_it_recommends():
    scored = additive_scored()
    for name in ("bayes-linear", "random"):
        searcher = METHODS[name].searcher(Problem(scored.table.space, scored.objective, 5, scored.table.measure), 1)
        assert searcher.recommend() is None
        searcher.ask()
        searcher.tell(searcher_outcome(scored, searcher))
        found = searcher.recommend()
        assert (found is None) == (name == "random")
        assert found is None or (found[1] == BELIEVED and scored.table.space.decode(found[0]))


def searcher_outcome(scored, searcher):
    from algo.search.searcher import Outcome

    place = scored.table.index(searcher._asked)
    table = scored.table
    return Outcome(table.accuracy[place], table.latency_ms[place], table.energy_uj[place], scored.scores[place])


def test_noise_is_the_same_for_all_methods_and_depends_on_the_seed():
    noise = Noise(0.01)
    assert (noise.errors(3, 5) == noise.errors(3, 9)[:5]).all() and (noise.errors(3, 5) != noise.errors(4, 5)).all()
    assert abs(noise.errors(1, 20000).std() - 1) < 0.02


def test_a_search_sees_noisy_accuracies_and_the_scores_that_follow_from_them():
    scored = additive_scored()
    table, places = scored.table, np.arange(200)
    true = scored.outcomes(places)
    errors = Noise(0.02).errors(7, 200)
    seen = Noise(0.02).on(true, places, errors, scored)
    assert np.allclose(seen.accuracy, np.clip(true.accuracy + 0.02 * errors, 0, 1), atol=0)
    known = known_costs(Problem(table.space, scored.objective, 1, table.measure))
    policies = np.array(list(np.ndindex(table.space.action_counts)))[:200]
    assert (seen.score == known.scores(policies, seen.accuracy)).all() and (seen.score != true.score).any()
    assert (Noise(50.0).on(true, places, errors, scored).accuracy.min(), seen.accuracy.max() <= 1) == (0.0, True)


@pytest.mark.parametrize("name", ["evolution", "bayes-linear", "rlu"])
def test_noise_of_0_is_no_noise(name):
    scored = small_scored()
    plain, none = (METHODS[name].search(scored, [1, 2], 12, noise=noise, at=[12]) for noise in (None, Noise(0.0)))
    assert (plain.chosen == none.chosen).all() and (plain.deployed == none.deployed).all()
    other = METHODS[name].search(scored, [1, 2], 33, noise=Noise(0.05)).chosen
    assert (other != METHODS[name].run(scored, [1, 2], 33)).any()


def test_without_a_model_the_luckiest_is_deployed():
    scored = small_scored()
    found = METHODS["random"].search(scored, range(1, 9), 10, noise=Noise(0.03), at=[4, 10])
    assert (found.deployed == found.luckiest).all()
    for k, seed in enumerate(range(1, 9)):
        errors = Noise(0.03).errors(seed, 10)
        column = found.chosen[:, k]
        seen = Noise(0.03).on(scored.outcomes(column), column, errors, scored).score
        assert found.luckiest[:, k].tolist() == [column[seen[:4].argmax()], column[seen.argmax()]]


def test_a_search_of_a_space_too_large_to_enumerate_comes_close_to_the_exact_choice():
    rng = np.random.default_rng(4)
    for seed in range(12):
        objective = Objective(accuracy_th=(0.0, 0.7)[seed % 2], latency_th_ms=(20.0, 7.0)[seed // 2 % 2])
        known = known_costs(made_problem((3, 4, 2, 3, 3), 3, objective, seed))
        effects, constant = rng.uniform(-0.06, 0.02, (1, 5, 4)), np.array([0.8])
        nothing = np.zeros((1, 0, 6), int)
        exact = ExactChoice(known).best(constant, effects)
        near = Ascent(known, Worth(objective)).best(constant, effects, nothing)
        scores = [known.scores(one, constant + effects[0, range(5), one[:, :-1]].sum(axis=1)) for one in (exact, near)]
        assert scores[1] >= 0.97 * scores[0]
        again = Ascent(known, Worth(objective)).best(constant, effects, near[:, None])
        assert (again[:, :-1] != near[:, :-1]).any()


@pytest.mark.parametrize("name", KNOWING)
def test_spaces_too_large_to_enumerate_are_searched(name):
    problem = made_problem((9,) * 8, 2, Objective(accuracy_th=0.5, energy_th_uj=1000.0, latency_th_ms=50.0), 3)
    searches = METHODS[name].make(problem, [1, 2])
    loss = np.random.default_rng(1).uniform(0, 0.02, (8, 9))
    known, seen = known_costs(problem), []
    for _ in range(6):
        policies = searches.ask()
        accuracy = 0.9 - loss[range(8), policies[:, :-1]].sum(axis=1)
        latency, energy = known.of(policies)
        scores = known.scores(policies, accuracy)
        searches.tell(Outcomes(accuracy, latency, energy, scores, np.zeros(2, bool)))
        seen.append(policies)
    assert len({tuple(one) for one in np.concatenate(seen)[:, :-1].tolist()}) >= 6
    found = searches.recommend()
    assert found is None or (found.shape == (2, 9) and (found >= 0).all() and (found < [*[9] * 8, 2]).all())


@pytest.mark.parametrize("threshold", ["latency_th_ms", "energy_th_uj"])
def test_the_planning_unit_begins_with_a_policy_that_passes_where_the_widest_misses_a_threshold(threshold):
    """Otherwise it draws policies until one passes, which with a tight threshold is never."""
    table = small_table(layers=4)
    figures = (table.latency_ms if threshold == "latency_th_ms" else table.energy_uj).reshape(81, -1)
    tight = float(np.quantile(figures, 0.03))
    assert (figures[-1] > tight).all()  # the widest
    scored = additive_scored(accuracy_th=0.5, **{threshold: tight})
    for column in METHODS["planning"].run(scored, [1, 2, 3], 6).T:
        assert not scored.skipped[column[0]]
        assert scored.scores[column].max() > 0
