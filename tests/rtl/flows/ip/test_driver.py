"""The C driver of the package: clean for C and C++ compilers, timeouts, the objective, and a search that is saved."""

import re
import subprocess

import pytest

from rtl.flows.ip.package import files
from rtl.spec.params import RLUParams
from rtl.spec.registers import REGISTERS
from sim.devices.device import GoldenDevice, address_of
from sim.devices.objective import Objective
from tests.piped_driver import PIPE, served
from tests.places import ROOT
from tests.require import require_command

UNITS = {
    "published": RLUParams(states=20, actions=5),
    "small": RLUParams(states=5, actions=3, q_width=8, q_frac=6, coef_frac=6, gain_frac=4, lfsr_width=8),
    "planning": RLUParams(states=9, actions=4, episodes=8, points=4),
    "episodic": RLUParams(states=9, actions=4, episodes=8),
}
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wsign-conversion", "-pedantic", "-Werror"]
STANDARDS = {"c99": "gcc", "c11": "gcc", "c++11": "g++", "c++17": "g++"}


@pytest.fixture(scope="module")
def drivers(tmp_path_factory):
    """Folder with the driver and the register header of each unit."""
    folders = {}
    for name, params in UNITS.items():
        folders[name] = tmp_path_factory.mktemp(name)
        for path, text in files(params, "none", [], clock_mhz=80.0).items():
            if path.startswith("driver/") or path == "rlu_regs.h":
                (folders[name] / path.removeprefix("driver/")).write_text(text)
    return folders


def compile_(folder, standard, source, *more):
    compiler, language = STANDARDS[standard], "c++" if "+" in standard else "c"
    command = [require_command(compiler, compiler), "-x", language, f"-std={standard}", *WARNINGS, *more, source]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("standard", STANDARDS)
@pytest.mark.parametrize("unit", UNITS)
def test_it_compiles_without_a_warning_as_c_and_as_cpp(drivers, unit, standard, tmp_path):
    for source in ("rlu.c", "example.c"):
        done = compile_(drivers[unit], standard, source, "-c", "-o", tmp_path / "x.o")
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("standard", STANDARDS)
def test_a_conversion_that_loses_bits_is_noticed(drivers, standard, tmp_path):
    text = (drivers["published"] / "rlu.c").read_text()
    wrong = text.replace("trials[row] = (uint8_t)word;", "trials[row] = word;", 1)
    assert wrong != text
    (tmp_path / "rlu.c").write_text(wrong)
    done = compile_(drivers["published"], standard, tmp_path / "rlu.c", "-I", ".", "-c", "-o", tmp_path / "x.o")
    assert done.returncode != 0 and "conversion" in done.stderr


def test_it_saves_every_register_that_a_task_depends_on(drivers):
    (listed,) = re.findall(r"saved_registers\[\] = \{(.*?)\};", (drivers["planning"] / "rlu.c").read_text(), re.DOTALL)
    saved = re.findall(r"RLU_(\w+)_OFFSET", listed)
    apart = {"STATES", "REWARD"}  # saved by themselves, because a write of them is work
    others = {"IRQ_ENABLE", "MEMORY_ADDRESS", "MEMORY_DATA"}  # no state of a task
    assert len(saved) == len(set(saved))
    assert set(saved) == {r.name for r in REGISTERS if r.access == "rw"} - apart - others


def built(folder, program, name):
    (folder / f"{name}.c").write_text(program)
    gcc = require_command("gcc", "gcc")
    subprocess.run(
        [gcc, "-std=c99", *WARNINGS, "-o", name, f"{name}.c", "rlu.c"], cwd=folder, check=True, timeout=120
    )  # fmt: skip
    return folder / name


BUSY = r"""
/* A unit that stays busy, or is done after some polls. */
#include <stdio.h>

#include "rlu.h"

static unsigned polls, busy_for;

static uint32_t read_word(void *context, uint32_t offset)
{
    (void)context;
    if (offset == RLU_STATUS_OFFSET)
        return polls++ < busy_for ? RLU_STATUS_BUSY_MASK : 0;
    return offset == RLU_ID_OFFSET        ? RLU_ID_RESET
           : offset == RLU_VERSION_OFFSET ? RLU_VERSION_RESET
           : offset == RLU_CONFIG_OFFSET  ? RLU_CONFIG_RESET
           : offset == RLU_FORMATS_OFFSET ? RLU_FORMATS_RESET
           : offset == RLU_STATES_OFFSET  ? RLU_STATES_RESET
           : offset == RLU_EPISODES_OFFSET ? RLU_EPISODES_RESET
           : offset == RLU_PLAN_OFFSET     ? RLU_PLAN_RESET
                                           : 0;
}

static void write_word(void *context, uint32_t offset, uint32_t word)
{
    (void)context;
    (void)offset;
    (void)word;
}

#define SAY(call)                                         \
    do {                                                  \
        polls = 0;                                        \
        int said = call;                                  \
        printf("%s %d %u\n", #call, said, polls);         \
    } while (0)

int main(void)
{
    static uint32_t state[RLU_STATE_WORDS];
    static uint8_t policy[RLU_PARAM_STATES], counts[RLU_PARAM_STATES];
    rlu_unit unit = {read_word, write_word, 0, 0, 7};
    rlu_task task = {counts, 2, 1, 0, 0};
    rlu_planning how = {0, RLU_GAIN(1.0)};
    int32_t reward;
    uint32_t accuracy;

    busy_for = 0;
    SAY(rlu_save(&unit, state));
    busy_for = 1u << 30;
    SAY(rlu_wait(&unit));
    SAY(rlu_put(&unit, RLU_ALPHA_OFFSET, 0));
    SAY(rlu_open(&unit));
    SAY(rlu_configure(&unit, &task));
    SAY(rlu_set_weights(&unit, 0, 0, 0));
    SAY(rlu_set_thresholds(&unit, 0, 0, 0));
    SAY(rlu_set_ranges(&unit, 0, RLU_COEF(1.0), 0, RLU_COEF(1.0)));
    SAY(rlu_sample(&unit, 0, policy, 2));
    SAY(rlu_is_outlier(&unit, 0, 0));
    SAY(rlu_learn(&unit, 0, &reward));
    SAY(rlu_plans(&unit, &how));
    SAY(rlu_plan(&unit, 0, 0, policy, 2));
    SAY(rlu_recommend(&unit, 0, 0, policy, 2, &accuracy, 0));
    SAY(rlu_save(&unit, state + 0));
    SAY(rlu_restore(&unit, state));
    SAY(rlu_enable_irq(&unit, 0));
    busy_for = 6;
    SAY(rlu_wait(&unit));
    busy_for = 1000;
    unit.patience = 0; /* for ever */
    SAY(rlu_wait(&unit));
    return 0;
}
"""


@pytest.mark.parametrize("unit", ["published", "planning"])
def test_a_unit_that_stays_busy_gives_a_timeout_in_every_function_that_waits(drivers, unit):
    program = built(drivers[unit], BUSY, "busy")
    said = subprocess.run([program], capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    results = [line.rpartition(")")[2].split() for line in said]
    assert results[0][0] == "0"  # a state to restore, from a unit that answers
    assert len(results) == 19 and all(r == ["-4", "7"] for r in results[1:-2]), said
    assert results[-2:] == [["0", "7"], ["0", "1001"]]
    waiting = set(re.findall(r"rlu_\w+(?=\(&unit)", " ".join(said)))
    header = (drivers[unit] / "rlu.h").read_text()
    # These start no work, or look whether the unit is busy without waiting.
    others = {
        "rlu_check", "rlu_write_policy", "rlu_q_value", "rlu_load_costs", "rlu_read_memory", "rlu_write_memory",
        "rlu_episodes", "rlu_acknowledge_irq",
    }  # fmt: skip
    assert waiting | others == set(re.findall(r"^\w+ (rlu_\w+)\(const rlu_unit", header, re.MULTILINE))


HOST = (
    PIPE
    + r"""
static const rlu_unit unit = {pipe_read, pipe_write, NULL, NULL, 100};
"""
)

OBJECTIVE = (
    HOST
    + r"""
int main(void)
{
    const uint32_t one = RLU_COEF(1.0);

    const int set[] = {
        rlu_set_weights(&unit, RLU_COEF(0.5), RLU_COEF(0.375), RLU_COEF(0.125)),
        rlu_set_thresholds(&unit, RLU_COEF(0.75), RLU_COEF(0.5), RLU_COEF(0.625)),
        rlu_set_ranges(&unit, RLU_COEF(0.25), RLU_COEF(1.0), RLU_COEF(0.125), RLU_COEF(1.0))};
    const int refused[] = {
        rlu_set_weights(&unit, one + 1, 0, 0),
        rlu_set_thresholds(&unit, 0, one + 1, 0),
        rlu_set_ranges(&unit, 0, one + 1, 0, one),
        rlu_set_ranges(&unit, 5, 5, 0, one),
        rlu_set_ranges(&unit, 0, one, 6, 5),
        rlu_set_ranges(&unit, 0, one, 5, 6)}; /* 1 / (6 - 5) of the smallest step is no gain */

    printf("set %d %d %d\n", set[0], set[1], set[2]);
    printf("refused %d %d %d %d %d %d\n", refused[0], refused[1], refused[2], refused[3], refused[4], refused[5]);
    return 0;
}
"""
)


@pytest.mark.parametrize("unit", ["published", "small"])
def test_weights_thresholds_and_normalisation_are_those_of_the_python_driver(drivers, unit):
    params, device = UNITS[unit], GoldenDevice(UNITS[unit])
    said = served(built(drivers[unit], OBJECTIVE, "objective"), device)
    assert said == ["set 0 0 0", "refused -3 -3 -3 -3 -3 -3"]
    objective = Objective(
        weight_a=0.5, weight_l=0.375, weight_e=0.125, accuracy_th=0.75, latency_th_ms=0.5, energy_th_uj=0.625,
        latency_low_ms=0.25, latency_high_ms=1.0, energy_low_uj=0.125, energy_high_uj=1.0,
    )  # fmt: skip
    registers = objective.registers(params)
    registers |= {"WEIGHT_L": 0, "WEIGHT_E": 0, "ACCURACY_TH": 0, "ENERGY_TH": 0}  # written beside a refused one
    assert {name: device.read(address_of(name)) for name in registers} == registers


SAVE = (
    HOST
    + r"""
#define ROWS (RLU_PARAM_STATES - 1)

static void print_policy(const char *name, const uint8_t *policy)
{
    printf("%s", name);
    for (uint32_t row = 0; row < ROWS; row++)
        printf(" %d", policy[row]);
    printf("\n");
}

/* Some rounds of a search; what it does is printed. */
static int rounds(uint32_t count)
{
    uint8_t policy[RLU_PARAM_STATES];
    int result = 0;

    for (uint32_t i = 0; i < count; i++) {
        uint32_t accuracy = RLU_COEF(0.25);
        int32_t reward = 0;

#if RLU_PARAM_POINTS > 0
        result |= rlu_plan(&unit, RLU_COEF(0.5), RLU_COEF(0.05), policy, ROWS);
#else
        result |= rlu_sample(&unit, RLU_COEF(0.25), policy, ROWS);
#endif
        print_policy("policy", policy);
        for (uint32_t row = 0; row < ROWS; row++)
            accuracy += RLU_COEF(0.03) * (uint32_t)(policy[row] == row % 3);
        result |= rlu_is_outlier(&unit, RLU_COEF(0.3), RLU_COEF(0.3));
        result |= rlu_learn(&unit, accuracy, &reward);
        printf("reward %ld q %ld\n", (long)reward, (long)rlu_q_value(&unit, ROWS - 1, 1));
    }
    return result;
}

int main(void)
{
    static uint32_t state[RLU_STATE_WORDS + 1];
    uint8_t counts[RLU_PARAM_STATES];
    rlu_task task = {counts, ROWS, 1, RLU_COEF(0.25), RLU_COEF(0.99)};
    int result = rlu_open(&unit);

    for (uint32_t row = 0; row < ROWS; row++)
        counts[row] = 3;
    state[RLU_STATE_WORDS] = 0x5A5A;
    result |= rlu_configure(&unit, &task);
    result |= rlu_set_weights(&unit, RLU_COEF(0.75), RLU_COEF(0.125), RLU_COEF(0.125));
    result |= rlu_set_ranges(&unit, RLU_COEF(0.125), RLU_COEF(0.75), RLU_COEF(0.125), RLU_COEF(1.0));
#if RLU_PARAM_POINTS > 0
    rlu_planning how = {RLU_PLANNING_RESET, RLU_GAIN(2.0)};

    result |= rlu_plans(&unit, &how);
    for (uint32_t point = 0; point < RLU_PARAM_POINTS; point++)
        for (uint32_t row = 0; row < ROWS; row++) {
            uint32_t latency[3], energy[3];

            for (uint32_t action = 0; action < 3; action++) {
                latency[action] = RLU_COEF(0.04) * action + RLU_COEF(0.01) * point;
                energy[action] = RLU_COEF(0.1) - RLU_COEF(0.04) * action + RLU_COEF(0.002) * row;
            }
            result |= rlu_load_costs(&unit, point, row, latency, energy, 3);
        }
    {
        const uint32_t one = 1;
        const int costs[] = {
            rlu_load_costs(&unit, RLU_PARAM_POINTS, 0, &one, &one, 1),
            rlu_load_costs(&unit, 0, 256, &one, &one, 1), /* would be a row of the next point */
            rlu_load_costs(&unit, 0, 0, &one, &one, RLU_PARAM_ACTIONS + 1)};

        printf("costs %d %d %d\n", costs[0], costs[1], costs[2]);
    }
#endif
    result |= rounds(11);
    result |= rlu_save(&unit, state);
    printf("saved %d %x\n", result, (unsigned)state[RLU_STATE_WORDS]);
    result = rounds(4);
    printf("reset\n");
    state[40] ^= 1;
    result |= rlu_restore(&unit, state) != RLU_DAMAGED;
    state[40] ^= 1;
    result |= rlu_restore(&unit, state);
    printf("again %d\n", result);
    result |= rounds(4);
    printf("restored %d\n", result);
    return 0;
}
"""
)


@pytest.mark.parametrize("unit", ["published", "planning", "episodic", "small"])
def test_a_saved_search_goes_on_after_a_reset_as_if_nothing_had_happened(drivers, unit):
    """On another unit that has just been switched on; one that has forgotten episodes, and plans, too."""
    params = UNITS[unit]
    said = served(built(drivers[unit], SAVE, "save"), GoldenDevice(params), GoldenDevice(params))
    saved, resumed = said.index("saved 0 5a5a"), said.index("again 0")
    went_on, again = said[saved + 1 : resumed], said[resumed + 1 : -1]
    assert said[-1] == "restored 0" and len(went_on) == 8
    assert went_on == again
    assert len({line for line in said if line.startswith("policy")}) > 2
    if unit == "planning":
        assert said[0] == "costs -3 -3 -3"


@pytest.mark.parametrize(
    ("unit", "old", "new"),
    [
        ("published", "RLU_LFSR_OFFSET,", "RLU_ALPHA_OFFSET,"),
        ("published", "4,\n                    state + STATE_Q_TABLE", "4,\n                    state + STATE_COUNTS"),
        ("planning", "result |= rlu_write_memory(unit, RLU_COST_WORD(point, row, 0), words, RLU_PARAM_ACTIONS);", ""),
        ("planning", "result |= rlu_write_memory(unit, RLU_TRIALS_WORD(row, 0), words, RLU_PARAM_ACTIONS);", ""),
        ("planning", "result |= rlu_write_memory(unit, RLU_RESULT_WORD(place), state + STATE_RESULTS + i, 1);", ""),
    ],
    ids=["random numbers", "Q-values", "costs", "trials", "results"],
)
def test_a_driver_that_restores_something_else_is_noticed(drivers, unit, old, new, tmp_path):
    for path in drivers[unit].glob("*.[ch]"):
        (tmp_path / path.name).write_text(path.read_text())
    source = (tmp_path / "rlu.c").read_text()
    before, restore, after = source.partition("static int restore_plan") if unit == "planning" else ("", "", source)
    assert old in after
    (tmp_path / "rlu.c").write_text(before + restore + after.replace(old, new))
    said = served(built(tmp_path, SAVE, "save"), GoldenDevice(UNITS[unit]), GoldenDevice(UNITS[unit]))
    resumed = next(i for i, line in enumerate(said) if line.startswith("again"))
    assert said[resumed - 8 : resumed] != said[resumed + 1 : -1]


OTHER = (
    HOST
    + r"""
int main(void)
{
    static uint32_t state[RLU_STATE_WORDS];
    int result = rlu_save(&unit, state);

    for (uint32_t i = 0; i < RLU_STATE_WORDS; i++)
        printf("word %lu\n", (unsigned long)state[i]);
    printf("saved %d\n", result);
    (void)rlu_put(&unit, RLU_MODE_OFFSET, RLU_MODE_EPISODIC_MASK);
    result = rlu_save(&unit, state);
    printf("episodic %d\n", result);
    (void)rlu_put(&unit, RLU_MODE_OFFSET, RLU_MODE_EPISODIC_MASK | RLU_MODE_PLANNING_MASK);
    result = rlu_save(&unit, state);
    printf("both %d\n", result);
    return 0;
}
"""
)


def test_an_episodic_search_is_not_saved(drivers):
    """Nobody can read its episodes. A unit that plans does not look at the mode's other bit."""
    said = served(built(drivers["episodic"], OTHER, "other"), GoldenDevice(UNITS["episodic"]))
    assert said[-3:] == ["saved 0", "episodic -3", "both -3"]
    said = served(built(drivers["planning"], OTHER, "other"), GoldenDevice(UNITS["planning"]))
    assert said[-3:] == ["saved 0", "episodic -3", "both 0"]


FOREIGN = HOST + "static uint32_t state[] = {WORDS};\n" + r"""
int main(void)
{
    printf("foreign %d\n", rlu_restore(&unit, state));
    return 0;
}
"""  # fmt: skip


def test_the_state_of_another_unit_is_refused_and_nothing_is_written(drivers):
    from dataclasses import replace

    (words,) = [[int(line.split()[1]) for line in served(built(drivers["episodic"], OTHER, "other"),
                 GoldenDevice(UNITS["episodic"])) if line.startswith("word")]]  # fmt: skip
    words[2] ^= 1 << 8  # FORMATS: another unit, of the same size
    total = sums = 1
    sums = 0
    for word in words[:-1]:
        total = (total + word) % 2**32
        sums = (sums + total) % 2**32
    words[-1] = sums
    device = GoldenDevice(replace(UNITS["episodic"]))
    program = FOREIGN.replace("WORDS", ", ".join(f"{word}u" for word in words))
    before = device.read(address_of("STATES"))
    assert served(built(drivers["episodic"], program, "foreign"), device) == ["foreign -2"]
    assert device.read(address_of("STATES")) == before and device.read(address_of("STATUS")) & 0xF00 == 0


@pytest.mark.parametrize(("saved", "into"), [("episodic", "published"), ("published", "episodic")])
def test_the_state_of_a_unit_of_another_size_is_refused_by_its_first_words(drivers, saved, into):
    """A shorter state ends before this unit's checksum, so nothing behind its first words may be looked at."""
    said = served(built(drivers[saved], OTHER, "other"), GoldenDevice(UNITS[saved]))
    first = [line.split()[1] for line in said if line.startswith("word")][:4]
    program = FOREIGN.replace("WORDS", ", ".join(f"{word}u" for word in first))
    assert served(built(drivers[into], program, "foreign"), GoldenDevice(UNITS[into])) == ["foreign -2"]


ELSEWHERE = HOST + r"""
int main(void)
{
    static uint32_t state[RLU_STATE_WORDS + 1];
    int result;

    for (uint32_t i = 0; i <= RLU_STATE_WORDS; i++)
        state[i] = 0x5A5A;
    result = rlu_save(&unit, state);
    printf("%d", result);
    for (uint32_t i = 0; i <= RLU_STATE_WORDS && result == RLU_OTHER_UNIT; i++)
        if (state[i] != 0x5A5A)
            printf(" %lu", (unsigned long)i);
    printf("\n");
    return 0;
}
"""  # fmt: skip


def test_a_unit_of_another_size_is_not_saved_over_what_follows_the_state(drivers):
    program = built(drivers["episodic"], ELSEWHERE, "elsewhere")
    assert served(program, GoldenDevice(UNITS["published"])) == ["-2"]
    assert served(program, GoldenDevice(UNITS["episodic"])) == ["0"]


NEIGHBOURS = HOST + r"""
int main(void)
{
    static uint8_t policy[RLU_PARAM_STATES + 1], counts[RLU_PARAM_STATES + 1];
    const rlu_task task = {counts, RLU_PARAM_STATES + 1, 1, 0, 0};
    static uint32_t state[RLU_STATE_WORDS];
    int result = rlu_configure(&unit, &task);

    printf("configure %d\n", result);
    unit.write(unit.context, 0xFFC, 0); /* a mistake, whose flag the next refusal clears */
    policy[0] = 0x13;
    result = rlu_write_policy(&unit, policy, 2);
    printf("policy %d\n", result);
    policy[0] = 0;
    result = rlu_write_policy(&unit, policy, RLU_PARAM_STATES + 1);
    printf("policy %d\n", result);
    printf("flags %d\n", rlu_check(&unit, NULL));
    unit.write(unit.context, 0xFFC, 0); /* somebody else's mistake */
    printf("saved %d\n", rlu_save(&unit, state));
    return 0;
}
"""  # fmt: skip


def test_what_would_reach_other_registers_is_refused_and_not_written(drivers):
    device = GoldenDevice(UNITS["published"])
    said = served(built(drivers["published"], NEIGHBOURS, "neighbours"), device)
    assert said == ["configure -3", "policy -3", "policy -3", "flags 0", "saved 0"]
    assert device.read(address_of("STATES")) == UNITS["published"].states


def test_the_guide_names_what_the_driver_has():
    page = (ROOT / "docs" / "integrate" / "integration.md").read_text()
    header = (ROOT / "rtl" / "flows" / "ip" / "shipped" / "rlu.h").read_text()
    _, _, part = page.partition("## A driver loop in C")
    for name in re.findall(r"`((?:rlu|RLU)_[a-zA-Z_]+)`", part.partition("\n## ")[0]):
        assert re.search(rf"\b{name}\b", header), name
    for wanted in ("patience", "rlu_set_weights", "rlu_set_thresholds", "rlu_set_ranges", "rlu_save", "rlu_restore"):
        assert wanted in page
