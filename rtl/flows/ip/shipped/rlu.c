#include "rlu.h"

#include <stddef.h>

#define ERROR_FLAGS                                                                      \
    (RLU_STATUS_ERROR_ADDRESS_MASK | RLU_STATUS_ERROR_BUSY_MASK | RLU_STATUS_ERROR_VALUE_MASK | \
     RLU_STATUS_ERROR_POLICY_MASK)

/* What a word of a window holds. */
#define ROWS_PER_WORD (32u / RLU_POLICY_ROW1_SHIFT)
#define Q_VALUES_PER_WORD (32u / RLU_Q_TABLE_ODD_SHIFT)

/* A register and what to write to it. */
typedef struct {
    uint32_t offset, word;
} setting;

/* What a task depends on, beside STATES and REWARD. Interrupts belong to the system. */
static const uint32_t saved_registers[] = {
    RLU_MODE_OFFSET,        RLU_ALPHA_OFFSET,        RLU_GAMMA_OFFSET,       RLU_EPSILON_OFFSET,
    RLU_LFSR_OFFSET,        RLU_WEIGHT_A_OFFSET,     RLU_WEIGHT_L_OFFSET,    RLU_WEIGHT_E_OFFSET,
    RLU_ACCURACY_TH_OFFSET, RLU_LATENCY_TH_OFFSET,   RLU_ENERGY_TH_OFFSET,   RLU_LATENCY_HIGH_OFFSET,
    RLU_ENERGY_HIGH_OFFSET, RLU_LATENCY_GAIN_OFFSET, RLU_ENERGY_GAIN_OFFSET, RLU_ACCURACY_OFFSET,
    RLU_LATENCY_OFFSET,     RLU_ENERGY_OFFSET,       RLU_EPISODIC_OFFSET,    RLU_PLANNING_OFFSET,
    RLU_DOUBT_OFFSET,       RLU_RIDGE_OFFSET,
};

#define COUNT_OF(array) ((uint32_t)(sizeof(array) / sizeof((array)[0])))

/* Words of a saved state: what it is, then these, in this order. A word of a row or an episode that is not in use is 0. */
enum { MARK, CONFIG, FORMATS, MEMORIES, STORED, OLDEST, ROWS, REWARD, FIRST_REGISTER };
#define STATE_MARK 0x524C5301u /* "RLS", and the version of this order */

typedef char state_words_and_what_is_saved_agree
    [FIRST_REGISTER + sizeof(saved_registers) / sizeof(saved_registers[0]) == RLU_STATE_SETTINGS ? 1 : -1];

static uint32_t get(const rlu_unit *unit, uint32_t offset)
{
    return unit->read(unit->context, offset);
}

/* Write registers, one after another, until one keeps the unit busy for too long. */
static int put_all(const rlu_unit *unit, const setting *settings, uint32_t count)
{
    int result = RLU_OK;

    for (uint32_t i = 0; i < count && result == RLU_OK; i++)
        result = rlu_put(unit, settings[i].offset, settings[i].word);
    return result;
}

/* What the driver refuses by itself, before it writes anything, ends as what the unit refuses. */
static int refused(const rlu_unit *unit)
{
    (void)rlu_check(unit, NULL);
    return RLU_REFUSED;
}

/* Write registers, and what the unit says to that. */
static int set_all(const rlu_unit *unit, const setting *settings, uint32_t count)
{
    int result = put_all(unit, settings, count);

    return result != RLU_OK ? result : rlu_check(unit, NULL);
}

/* Whether a unit has the parameters of rlu_regs.h: a loop over another one would go too far. */
static int same_parameters(const rlu_unit *unit)
{
    uint32_t episodes = get(unit, RLU_EPISODES_OFFSET), plan = get(unit, RLU_PLAN_OFFSET);

    return get(unit, RLU_CONFIG_OFFSET) == RLU_CONFIG_RESET && get(unit, RLU_FORMATS_OFFSET) == RLU_FORMATS_RESET &&
           (episodes & RLU_EPISODES_CAPACITY_MASK) >> RLU_EPISODES_CAPACITY_SHIFT == RLU_PARAM_EPISODES &&
           (plan & RLU_PLAN_POINTS_MASK) >> RLU_PLAN_POINTS_SHIFT == RLU_PARAM_POINTS;
}

static void read_policy(const rlu_unit *unit, uint8_t *policy, uint32_t rows)
{
    for (uint32_t row = 0, word = 0; row < rows; row++) {
        if (row % ROWS_PER_WORD == 0)
            word = get(unit, RLU_POLICY_OFFSET + RLU_POLICY_STRIDE * (row / ROWS_PER_WORD));
        policy[row] = (uint8_t)(word >> RLU_POLICY_ROW1_SHIFT * (row % ROWS_PER_WORD) & RLU_POLICY_ROW0_MASK);
    }
}

int rlu_wait(const rlu_unit *unit)
{
    uint32_t polls = 0;

    while (get(unit, RLU_STATUS_OFFSET) & RLU_STATUS_BUSY_MASK) {
        if (unit->patience != 0 && ++polls >= unit->patience)
            return RLU_TIMEOUT;
        if (unit->idle != NULL)
            unit->idle(unit->context);
    }
    return RLU_OK;
}

int rlu_put(const rlu_unit *unit, uint32_t offset, uint32_t word)
{
    unit->write(unit->context, offset, word);
    return rlu_wait(unit);
}

int rlu_check(const rlu_unit *unit, uint32_t *flags)
{
    uint32_t status = get(unit, RLU_STATUS_OFFSET);

    if (flags != NULL)
        *flags = status;
    if ((status & ERROR_FLAGS) == 0)
        return RLU_OK;
    unit->write(unit->context, RLU_STATUS_OFFSET, ERROR_FLAGS);
    return RLU_REFUSED;
}

int rlu_open(const rlu_unit *unit)
{
    if (get(unit, RLU_ID_OFFSET) != RLU_ID_RESET || get(unit, RLU_VERSION_OFFSET) >> 16 != RLU_VERSION_RESET >> 16)
        return RLU_NO_UNIT;
    if (!same_parameters(unit))
        return RLU_OTHER_UNIT;
    if (rlu_wait(unit) != RLU_OK)
        return RLU_TIMEOUT;
    (void)rlu_check(unit, NULL); /* flags that somebody else left behind */
    return RLU_OK;
}

int rlu_configure(const rlu_unit *unit, const rlu_task *task)
{
    /* STATES first: writing it divides the old reward, during which nothing else can be written. */
    const setting settings[] = {{RLU_STATES_OFFSET, task->rows}, {RLU_LFSR_OFFSET, task->seed},
                                {RLU_ALPHA_OFFSET, task->alpha}, {RLU_GAMMA_OFFSET, task->gamma}};
    const setting clear = {RLU_COMMAND_OFFSET, RLU_COMMAND_CLEAR_MASK};
    int result;

    if (task->rows == 0 || task->rows > RLU_PARAM_STATES)
        return refused(unit); /* the counts of further rows would go to other registers */
    if ((result = put_all(unit, settings, COUNT_OF(settings))) != RLU_OK)
        return result;
    for (uint32_t row = 0; row < task->rows; row++)
        unit->write(unit->context, RLU_ACTION_COUNT_OFFSET + RLU_ACTION_COUNT_STRIDE * row,
                    task->action_counts[row]);
    return set_all(unit, &clear, 1);
}

int rlu_set_weights(const rlu_unit *unit, uint32_t accuracy, uint32_t latency, uint32_t energy)
{
    const setting settings[] = {
        {RLU_WEIGHT_A_OFFSET, accuracy}, {RLU_WEIGHT_L_OFFSET, latency}, {RLU_WEIGHT_E_OFFSET, energy}};

    return set_all(unit, settings, COUNT_OF(settings));
}

int rlu_set_thresholds(const rlu_unit *unit, uint32_t accuracy, uint32_t latency, uint32_t energy)
{
    const setting settings[] = {
        {RLU_ACCURACY_TH_OFFSET, accuracy}, {RLU_LATENCY_TH_OFFSET, latency}, {RLU_ENERGY_TH_OFFSET, energy}};

    return set_all(unit, settings, COUNT_OF(settings));
}

/* 1 / (high - low) as a gain, rounded; 0 if that is none. */
static uint32_t gain_of(uint32_t low, uint32_t high)
{
    uint32_t one = UINT32_C(1) << (RLU_PARAM_COEF_FRAC + RLU_PARAM_GAIN_FRAC), span = high - low;

    if (low >= high || high > RLU_COEF_ONE || (one + span / 2) / span > RLU_LATENCY_GAIN_MAX)
        return 0;
    return (one + span / 2) / span;
}

int rlu_set_ranges(const rlu_unit *unit, uint32_t latency_low, uint32_t latency_high, uint32_t energy_low,
                   uint32_t energy_high)
{
    const setting settings[] = {{RLU_LATENCY_HIGH_OFFSET, latency_high},
                                {RLU_LATENCY_GAIN_OFFSET, gain_of(latency_low, latency_high)},
                                {RLU_ENERGY_HIGH_OFFSET, energy_high},
                                {RLU_ENERGY_GAIN_OFFSET, gain_of(energy_low, energy_high)}};

    if (settings[1].word == 0 || settings[3].word == 0)
        return refused(unit);
    return set_all(unit, settings, COUNT_OF(settings));
}

/* Make a policy: write what it depends on, the command last, and read it. */
static int made_policy(const rlu_unit *unit, const setting *settings, uint32_t count, uint8_t *policy, uint32_t rows)
{
    int result = put_all(unit, settings, count);

    if (result != RLU_OK)
        return result;
    read_policy(unit, policy, rows);
    return rlu_check(unit, NULL);
}

int rlu_sample(const rlu_unit *unit, uint32_t epsilon, uint8_t *policy, uint32_t rows)
{
    const setting settings[] = {{RLU_EPSILON_OFFSET, epsilon}, {RLU_COMMAND_OFFSET, RLU_COMMAND_SAMPLE_MASK}};

    return made_policy(unit, settings, COUNT_OF(settings), policy, rows);
}

int rlu_write_policy(const rlu_unit *unit, const uint8_t *policy, uint32_t rows)
{
    if (rows > RLU_PARAM_STATES)
        return refused(unit); /* further rows would go to other registers */
    for (uint32_t row = 0; row < rows; row++)
        if (policy[row] >= RLU_PARAM_ACTIONS)
            return refused(unit); /* it would spill into the next row */
    for (uint32_t row = 0, word = 0; row < rows; row++) {
        word |= (uint32_t)policy[row] << RLU_POLICY_ROW1_SHIFT * (row % ROWS_PER_WORD);
        if (row % ROWS_PER_WORD == ROWS_PER_WORD - 1 || row == rows - 1) {
            unit->write(unit->context, RLU_POLICY_OFFSET + RLU_POLICY_STRIDE * (row / ROWS_PER_WORD), word);
            word = 0;
        }
    }
    return rlu_check(unit, NULL);
}

int rlu_is_outlier(const rlu_unit *unit, uint32_t latency, uint32_t energy)
{
    const setting settings[] = {{RLU_LATENCY_OFFSET, latency}, {RLU_ENERGY_OFFSET, energy}};
    uint32_t status;

    if (put_all(unit, settings, COUNT_OF(settings)) != RLU_OK)
        return RLU_TIMEOUT;
    if (rlu_check(unit, &status) != RLU_OK)
        return RLU_REFUSED;
    return (status & (RLU_STATUS_LATENCY_OUTLIER_MASK | RLU_STATUS_ENERGY_OUTLIER_MASK)) != 0;
}

int rlu_learn(const rlu_unit *unit, uint32_t accuracy, int32_t *reward)
{
    const setting settings[] = {{RLU_ACCURACY_OFFSET, accuracy},
                                {RLU_COMMAND_OFFSET, RLU_COMMAND_REWARD_MASK | RLU_COMMAND_UPDATE_MASK}};
    int result = put_all(unit, settings, COUNT_OF(settings));

    if (result != RLU_OK)
        return result;
    *reward = (int32_t)get(unit, RLU_REWARD_OFFSET);
    return rlu_check(unit, NULL);
}

int32_t rlu_q_value(const rlu_unit *unit, uint32_t row, uint32_t action)
{
    uint32_t place = RLU_Q_TABLE_STRIDE * row + 4 * (action / Q_VALUES_PER_WORD);
    uint32_t word = get(unit, RLU_Q_TABLE_OFFSET + place);

    return (int16_t)(action % Q_VALUES_PER_WORD == 0 ? word & RLU_Q_TABLE_EVEN_MASK : word >> RLU_Q_TABLE_ODD_SHIFT);
}

int rlu_plans(const rlu_unit *unit, const rlu_planning *how)
{
    /* 1 / (rows + ridge): after a step towards an episode, what is predicted of it is right. */
    uint32_t sum = (get(unit, RLU_STATES_OFFSET) << RLU_PARAM_GAIN_FRAC) + (how->ridge & RLU_RIDGE_RIDGE_MASK);
    uint32_t alpha = ((UINT32_C(1) << (RLU_PARAM_COEF_FRAC + RLU_PARAM_GAIN_FRAC)) + sum / 2) / sum;
    const setting settings[] = {{RLU_MODE_OFFSET, RLU_MODE_PLANNING_MASK},
                                {RLU_PLANNING_OFFSET, how->planning},
                                {RLU_RIDGE_OFFSET, how->ridge},
                                {RLU_ALPHA_OFFSET, alpha}};

    return set_all(unit, settings, COUNT_OF(settings));
}

/* A function, because a compiler warns of a comparison with 0, which some units have. */
static int below(uint32_t value, uint32_t limit)
{
    return value < limit;
}

int rlu_load_costs(const rlu_unit *unit, uint32_t point, uint32_t row, const uint32_t *latency, const uint32_t *energy,
                   uint32_t actions)
{
    /* Larger numbers would be those of other words. */
    if (!below(point, RLU_PARAM_POINTS) || !below(row, RLU_PARAM_STATES) || actions > RLU_PARAM_ACTIONS)
        return refused(unit);
    for (uint32_t action = 0; action < actions; action++)
        if (latency[action] > RLU_LATENCY_MAX || energy[action] > RLU_ENERGY_MAX)
            return refused(unit); /* one would spill into the other */
    unit->write(unit->context, RLU_MEMORY_ADDRESS_OFFSET, RLU_COST_WORD(point, row, 0));
    for (uint32_t action = 0; action < actions; action++)
        unit->write(unit->context, RLU_MEMORY_DATA_OFFSET, latency[action] | energy[action] << 16);
    return rlu_check(unit, NULL);
}

static int planned(const rlu_unit *unit, uint32_t varied, uint32_t doubt, uint32_t command, uint8_t *policy,
                   uint32_t rows)
{
    const setting settings[] = {
        {RLU_EPSILON_OFFSET, varied}, {RLU_DOUBT_OFFSET, doubt}, {RLU_COMMAND_OFFSET, command}};

    return made_policy(unit, settings, COUNT_OF(settings), policy, rows);
}

int rlu_plan(const rlu_unit *unit, uint32_t varied, uint32_t doubt, uint8_t *policy, uint32_t rows)
{
    return planned(unit, varied, doubt, RLU_COMMAND_SAMPLE_MASK, policy, rows);
}

int rlu_recommend(const rlu_unit *unit, uint32_t varied, uint32_t doubt, uint8_t *policy, uint32_t rows,
                  uint32_t *accuracy, uint8_t *trials)
{
    uint32_t before[RLU_POLICY_ENTRIES], lfsr = get(unit, RLU_LFSR_OFFSET), word = 0;
    int result;

    for (uint32_t i = 0; i < RLU_POLICY_ENTRIES; i++)
        before[i] = get(unit, RLU_POLICY_OFFSET + RLU_POLICY_STRIDE * i);
    result = planned(unit, varied, doubt, RLU_COMMAND_RECOMMEND_MASK, policy, rows);
    if (result == RLU_TIMEOUT)
        return result;
    *accuracy = (get(unit, RLU_PLAN_OFFSET) & RLU_PLAN_ACCURACY_MASK) >> RLU_PLAN_ACCURACY_SHIFT;
    for (uint32_t row = 0; trials != NULL && row < rows; row++) {
        if (rlu_read_memory(unit, RLU_TRIALS_WORD(row, policy[row]), &word, 1) != RLU_OK)
            result = RLU_REFUSED;
        trials[row] = (uint8_t)word;
    }
    if (rlu_put(unit, RLU_LFSR_OFFSET, lfsr) != RLU_OK)
        return RLU_TIMEOUT;
    for (uint32_t i = 0; i < RLU_POLICY_ENTRIES; i++)
        unit->write(unit->context, RLU_POLICY_OFFSET + RLU_POLICY_STRIDE * i, before[i]);
    return rlu_check(unit, NULL) == RLU_OK ? result : RLU_REFUSED;
}

int rlu_read_memory(const rlu_unit *unit, uint32_t first, uint32_t *words, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        unit->write(unit->context, RLU_MEMORY_ADDRESS_OFFSET, first + i);
        words[i] = get(unit, RLU_MEMORY_DATA_OFFSET);
    }
    return rlu_check(unit, NULL);
}

int rlu_write_memory(const rlu_unit *unit, uint32_t first, const uint32_t *words, uint32_t count)
{
    unit->write(unit->context, RLU_MEMORY_ADDRESS_OFFSET, first);
    for (uint32_t i = 0; i < count; i++) /* the unit counts the address up */
        unit->write(unit->context, RLU_MEMORY_DATA_OFFSET, words[i]);
    return rlu_check(unit, NULL);
}

void rlu_episodes(const rlu_unit *unit, uint32_t *stored, uint32_t *oldest)
{
    uint32_t next = (get(unit, RLU_PLAN_OFFSET) & RLU_PLAN_NEXT_MASK) >> RLU_PLAN_NEXT_SHIFT;

    *stored = (get(unit, RLU_EPISODES_OFFSET) & RLU_EPISODES_STORED_MASK) >> RLU_EPISODES_STORED_SHIFT;
    *oldest = next >= *stored ? next - *stored : next + RLU_PARAM_EPISODES - *stored;
}

/* How many words of a window the first rows take, and where each of them is. */
static uint32_t policy_words(uint32_t rows)
{
    return (rows + ROWS_PER_WORD - 1) / ROWS_PER_WORD;
}

static void read_words(const rlu_unit *unit, uint32_t offset, uint32_t stride, uint32_t *words, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        words[i] = get(unit, offset + stride * i);
}

static void write_words(const rlu_unit *unit, uint32_t offset, uint32_t stride, const uint32_t *words, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        unit->write(unit->context, offset + stride * i, words[i]);
}

/* Which unit a state is of: words MARK to MEMORIES. */
static void identity(uint32_t *state)
{
    state[MARK] = STATE_MARK;
    state[CONFIG] = RLU_CONFIG_RESET;
    state[FORMATS] = RLU_FORMATS_RESET;
    state[MEMORIES] = (uint32_t)RLU_PARAM_EPISODES << 16 | RLU_PARAM_POINTS;
}

/* A sum in which the order counts: a word that is damaged, lost or moved changes it. */
static uint32_t checksum(const uint32_t *state)
{
    uint32_t sum = 1, sums = 0;

    for (uint32_t i = 0; i < RLU_STATE_WORDS - 1; i++) {
        sum += state[i];
        sums += sum;
    }
    return sums;
}

/* The parts of a state after its registers, in order. */
#define STATE_POLICY RLU_STATE_SETTINGS
#define STATE_COUNTS (STATE_POLICY + RLU_POLICY_ENTRIES)
#define STATE_Q_TABLE (STATE_COUNTS + RLU_ACTION_COUNT_ENTRIES)
#define STATE_PLAN (STATE_Q_TABLE + RLU_Q_TABLE_ENTRIES * RLU_Q_TABLE_WORDS)

#if RLU_PARAM_POINTS > 0
#define STATE_COSTS STATE_PLAN
#define STATE_TRIALS (STATE_COSTS + RLU_PARAM_POINTS * RLU_PARAM_STATES * RLU_PARAM_ACTIONS)
#define STATE_POLICIES (STATE_TRIALS + RLU_PARAM_STATES * RLU_PARAM_ACTIONS)
#define STATE_RESULTS (STATE_POLICIES + RLU_PARAM_EPISODES * RLU_POLICY_ENTRIES)

/* Read or write what a planning unit has in its own memories; of the episodes, the oldest first. */
static int save_plan(const rlu_unit *unit, uint32_t *state)
{
    int result = RLU_OK;

    for (uint32_t row = 0; row < state[ROWS]; row++) {
        uint32_t *words = state + STATE_TRIALS + RLU_PARAM_ACTIONS * row;

        result |= rlu_read_memory(unit, RLU_TRIALS_WORD(row, 0), words, RLU_PARAM_ACTIONS);
        for (uint32_t point = 0; point < RLU_PARAM_POINTS; point++) {
            words = state + STATE_COSTS + RLU_PARAM_ACTIONS * (RLU_PARAM_STATES * point + row);
            result |= rlu_read_memory(unit, RLU_COST_WORD(point, row, 0), words, RLU_PARAM_ACTIONS);
        }
    }
    for (uint32_t i = 0; i < state[STORED]; i++) {
        uint32_t place = (state[OLDEST] + i) % RLU_PARAM_EPISODES, words = policy_words(state[ROWS]);

        result |= rlu_read_memory(unit, RLU_POLICY_WORD(place, 0), state + STATE_POLICIES + RLU_POLICY_ENTRIES * i, words);
        result |= rlu_read_memory(unit, RLU_RESULT_WORD(place), state + STATE_RESULTS + i, 1);
    }
    return result;
}

static int restore_plan(const rlu_unit *unit, const uint32_t *state)
{
    const uint32_t nothing = 0;
    uint32_t tried = 0;
    int result = RLU_OK;

    for (uint32_t row = 0; row < state[ROWS]; row++) {
        const uint32_t *words = state + STATE_TRIALS + RLU_PARAM_ACTIONS * row;

        for (uint32_t action = 0; action < RLU_PARAM_ACTIONS; action++)
            tried |= words[action];
        result |= rlu_write_memory(unit, RLU_TRIALS_WORD(row, 0), words, RLU_PARAM_ACTIONS);
        for (uint32_t point = 0; point < RLU_PARAM_POINTS; point++) {
            words = state + STATE_COSTS + RLU_PARAM_ACTIONS * (RLU_PARAM_STATES * point + row);
            result |= rlu_write_memory(unit, RLU_COST_WORD(point, row, 0), words, RLU_PARAM_ACTIONS);
        }
    }
    /* Tells the unit that its effects have begun, which the results do not if none of them was measured. */
    if (state[STORED] > 0 && tried != 0)
        result |= rlu_write_memory(unit, RLU_RESULT_WORD(state[OLDEST]), &nothing, 1);
    for (uint32_t i = 0; i < state[STORED]; i++) {
        uint32_t place = (state[OLDEST] + i) % RLU_PARAM_EPISODES, words = policy_words(state[ROWS]);

        result |= rlu_write_memory(unit, RLU_POLICY_WORD(place, 0), state + STATE_POLICIES + RLU_POLICY_ENTRIES * i, words);
        result |= rlu_write_memory(unit, RLU_RESULT_WORD(place), state + STATE_RESULTS + i, 1);
    }
    return result;
}
#else
static int save_plan(const rlu_unit *unit, uint32_t *state)
{
    (void)unit;
    (void)state;
    return RLU_OK;
}

static int restore_plan(const rlu_unit *unit, const uint32_t *state)
{
    (void)unit;
    (void)state;
    return RLU_OK;
}
#endif

int rlu_save(const rlu_unit *unit, uint32_t *state)
{
    const uint32_t searches = RLU_MODE_EPISODIC_MASK | RLU_MODE_PLANNING_MASK;
    int result;

    if (!same_parameters(unit))
        return RLU_OTHER_UNIT;
    if ((result = rlu_wait(unit)) != RLU_OK)
        return result;
    (void)rlu_check(unit, NULL); /* flags that somebody else left behind */
    if ((get(unit, RLU_MODE_OFFSET) & searches) == RLU_MODE_EPISODIC_MASK)
        return RLU_REFUSED; /* its episodes cannot be read */
    for (uint32_t i = 0; i < RLU_STATE_WORDS; i++)
        state[i] = 0;
    identity(state);
    rlu_episodes(unit, state + STORED, state + OLDEST);
    state[ROWS] = get(unit, RLU_STATES_OFFSET);
    state[REWARD] = get(unit, RLU_REWARD_OFFSET);
    for (uint32_t i = 0; i < COUNT_OF(saved_registers); i++)
        state[FIRST_REGISTER + i] = get(unit, saved_registers[i]);
    read_words(unit, RLU_POLICY_OFFSET, RLU_POLICY_STRIDE, state + STATE_POLICY, policy_words(state[ROWS]));
    read_words(unit, RLU_ACTION_COUNT_OFFSET, RLU_ACTION_COUNT_STRIDE, state + STATE_COUNTS, state[ROWS]);
    for (uint32_t row = 0; row < state[ROWS]; row++)
        read_words(unit, RLU_Q_TABLE_OFFSET + RLU_Q_TABLE_STRIDE * row, 4,
                   state + STATE_Q_TABLE + RLU_Q_TABLE_WORDS * row, RLU_Q_TABLE_WORDS);
    result = save_plan(unit, state);
    if (rlu_check(unit, NULL) != RLU_OK)
        result = RLU_REFUSED;
    if (result == RLU_OK)
        state[RLU_STATE_WORDS - 1] = checksum(state);
    return result;
}

int rlu_restore(const rlu_unit *unit, const uint32_t *state)
{
    setting first = {RLU_STATES_OFFSET, 0};
    setting then[] = {{RLU_COMMAND_OFFSET, RLU_COMMAND_CLEAR_MASK}, {RLU_REWARD_OFFSET, 0}};
    uint32_t own[MEMORIES + 1];
    int result;

    /* Which unit first: the state of a smaller one is shorter. */
    identity(own);
    if (state[MARK] != own[MARK])
        return RLU_DAMAGED;
    for (uint32_t i = 0; i <= MEMORIES; i++)
        if (state[i] != own[i])
            return RLU_OTHER_UNIT;
    if (state[RLU_STATE_WORDS - 1] != checksum(state))
        return RLU_DAMAGED;
    if (!same_parameters(unit))
        return RLU_OTHER_UNIT;
    first.word = state[ROWS];
    then[1].word = state[REWARD];
    if ((result = rlu_wait(unit)) != RLU_OK)
        return result;
    (void)rlu_check(unit, NULL); /* flags that somebody else left behind */
    if ((result = put_all(unit, &first, 1)) != RLU_OK)
        return result;
    write_words(unit, RLU_ACTION_COUNT_OFFSET, RLU_ACTION_COUNT_STRIDE, state + STATE_COUNTS, state[ROWS]);
    if ((result = put_all(unit, then, COUNT_OF(then))) != RLU_OK)
        return result;
    for (uint32_t i = 0; i < COUNT_OF(saved_registers); i++)
        if ((result = rlu_put(unit, saved_registers[i], state[FIRST_REGISTER + i])) != RLU_OK)
            return result;
    write_words(unit, RLU_POLICY_OFFSET, RLU_POLICY_STRIDE, state + STATE_POLICY, policy_words(state[ROWS]));
    for (uint32_t row = 0; row < state[ROWS]; row++)
        write_words(unit, RLU_Q_TABLE_OFFSET + RLU_Q_TABLE_STRIDE * row, 4,
                    state + STATE_Q_TABLE + RLU_Q_TABLE_WORDS * row, RLU_Q_TABLE_WORDS);
    result = restore_plan(unit, state);
    return rlu_check(unit, NULL) == RLU_OK ? result : RLU_REFUSED;
}

int rlu_enable_irq(const rlu_unit *unit, uint32_t mask)
{
    const setting enable = {RLU_IRQ_ENABLE_OFFSET, mask};

    return set_all(unit, &enable, 1);
}

uint32_t rlu_acknowledge_irq(const rlu_unit *unit)
{
    uint32_t pending;

    if (get(unit, RLU_STATUS_OFFSET) & RLU_STATUS_BUSY_MASK)
        return 0; /* the unit would refuse the write, as an error */
    pending = get(unit, RLU_IRQ_STATUS_OFFSET);
    unit->write(unit->context, RLU_IRQ_STATUS_OFFSET, pending);
    return pending;
}
