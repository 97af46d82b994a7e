#include "rlu.h"

#include <stddef.h>

#define ERROR_FLAGS                                                                      \
    (RLU_STATUS_ERROR_ADDRESS_MASK | RLU_STATUS_ERROR_BUSY_MASK | RLU_STATUS_ERROR_VALUE_MASK | \
     RLU_STATUS_ERROR_POLICY_MASK)

/* What a word of a window holds. */
#define ROWS_PER_WORD (32u / RLU_POLICY_ROW1_SHIFT)
#define Q_VALUES_PER_WORD (32u / RLU_Q_TABLE_ODD_SHIFT)

static uint32_t get(const rlu_unit *unit, uint32_t offset)
{
    return unit->read(unit->context, offset);
}

/* What an application must know of a unit beside CONFIG and FORMATS. */
static int has_other_memories(const rlu_unit *unit)
{
    uint32_t episodes = get(unit, RLU_EPISODES_OFFSET), plan = get(unit, RLU_PLAN_OFFSET);

    return (episodes & RLU_EPISODES_CAPACITY_MASK) >> RLU_EPISODES_CAPACITY_SHIFT != RLU_PARAM_EPISODES ||
           (plan & RLU_PLAN_POINTS_MASK) >> RLU_PLAN_POINTS_SHIFT != RLU_PARAM_POINTS;
}

static void read_policy(const rlu_unit *unit, uint8_t *policy, uint32_t rows)
{
    for (uint32_t row = 0, word = 0; row < rows; row++) {
        if (row % ROWS_PER_WORD == 0)
            word = get(unit, RLU_POLICY_OFFSET + RLU_POLICY_STRIDE * (row / ROWS_PER_WORD));
        policy[row] = (uint8_t)(word >> RLU_POLICY_ROW1_SHIFT * (row % ROWS_PER_WORD) & RLU_POLICY_ROW0_MASK);
    }
}

void rlu_wait(const rlu_unit *unit)
{
    while (get(unit, RLU_STATUS_OFFSET) & RLU_STATUS_BUSY_MASK)
        if (unit->idle != NULL)
            unit->idle(unit->context);
}

void rlu_put(const rlu_unit *unit, uint32_t offset, uint32_t word)
{
    unit->write(unit->context, offset, word);
    rlu_wait(unit);
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
    if (get(unit, RLU_CONFIG_OFFSET) != RLU_CONFIG_RESET || get(unit, RLU_FORMATS_OFFSET) != RLU_FORMATS_RESET ||
        has_other_memories(unit))
        return RLU_OTHER_UNIT;
    rlu_wait(unit);
    (void)rlu_check(unit, NULL); /* flags that somebody else left behind */
    return RLU_OK;
}

int rlu_configure(const rlu_unit *unit, const rlu_task *task)
{
    /* STATES first: writing it divides the old reward, during which nothing else can be written. */
    rlu_put(unit, RLU_STATES_OFFSET, task->rows);
    rlu_put(unit, RLU_LFSR_OFFSET, task->seed);
    rlu_put(unit, RLU_ALPHA_OFFSET, task->alpha);
    rlu_put(unit, RLU_GAMMA_OFFSET, task->gamma);
    for (uint32_t row = 0; row < task->rows; row++)
        unit->write(unit->context, RLU_ACTION_COUNT_OFFSET + RLU_ACTION_COUNT_STRIDE * row,
                    task->action_counts[row]);
    rlu_put(unit, RLU_COMMAND_OFFSET, RLU_COMMAND_CLEAR_MASK);
    return rlu_check(unit, NULL);
}

int rlu_sample(const rlu_unit *unit, uint32_t epsilon, uint8_t *policy, uint32_t rows)
{
    rlu_put(unit, RLU_EPSILON_OFFSET, epsilon);
    rlu_put(unit, RLU_COMMAND_OFFSET, RLU_COMMAND_SAMPLE_MASK);
    read_policy(unit, policy, rows);
    return rlu_check(unit, NULL);
}

int rlu_write_policy(const rlu_unit *unit, const uint8_t *policy, uint32_t rows)
{
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
    uint32_t status;

    rlu_put(unit, RLU_LATENCY_OFFSET, latency);
    rlu_put(unit, RLU_ENERGY_OFFSET, energy);
    if (rlu_check(unit, &status) != RLU_OK)
        return RLU_REFUSED;
    return (status & (RLU_STATUS_LATENCY_OUTLIER_MASK | RLU_STATUS_ENERGY_OUTLIER_MASK)) != 0;
}

int rlu_learn(const rlu_unit *unit, uint32_t accuracy, int32_t *reward)
{
    rlu_put(unit, RLU_ACCURACY_OFFSET, accuracy);
    rlu_put(unit, RLU_COMMAND_OFFSET, RLU_COMMAND_REWARD_MASK | RLU_COMMAND_UPDATE_MASK);
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
    uint32_t sum = (get(unit, RLU_STATES_OFFSET) << RLU_PARAM_GAIN_FRAC) + how->ridge;

    rlu_put(unit, RLU_MODE_OFFSET, RLU_MODE_PLANNING_MASK);
    rlu_put(unit, RLU_PLANNING_OFFSET, how->planning);
    rlu_put(unit, RLU_RIDGE_OFFSET, how->ridge);
    rlu_put(unit, RLU_ALPHA_OFFSET, ((UINT32_C(1) << (RLU_PARAM_COEF_FRAC + RLU_PARAM_GAIN_FRAC)) + sum / 2) / sum);
    return rlu_check(unit, NULL);
}

int rlu_load_costs(const rlu_unit *unit, uint32_t point, uint32_t row, const uint32_t *latency, const uint32_t *energy,
                   uint32_t actions)
{
    for (uint32_t action = 0; action < actions; action++)
        if (latency[action] > RLU_LATENCY_MAX || energy[action] > RLU_ENERGY_MAX)
            return RLU_REFUSED; /* one would spill into the other */
    unit->write(unit->context, RLU_MEMORY_ADDRESS_OFFSET, RLU_COST_WORD(point, row, 0));
    for (uint32_t action = 0; action < actions; action++)
        unit->write(unit->context, RLU_MEMORY_DATA_OFFSET, latency[action] | energy[action] << 16);
    return rlu_check(unit, NULL);
}

static void make_policy(const rlu_unit *unit, uint32_t varied, uint32_t doubt, uint32_t command)
{
    rlu_put(unit, RLU_EPSILON_OFFSET, varied);
    rlu_put(unit, RLU_DOUBT_OFFSET, doubt);
    rlu_put(unit, RLU_COMMAND_OFFSET, command);
}

int rlu_plan(const rlu_unit *unit, uint32_t varied, uint32_t doubt, uint8_t *policy, uint32_t rows)
{
    make_policy(unit, varied, doubt, RLU_COMMAND_SAMPLE_MASK);
    read_policy(unit, policy, rows);
    return rlu_check(unit, NULL);
}

int rlu_recommend(const rlu_unit *unit, uint32_t varied, uint32_t doubt, uint8_t *policy, uint32_t rows,
                  uint32_t *accuracy, uint8_t *trials)
{
    uint32_t before[RLU_POLICY_ENTRIES], lfsr = get(unit, RLU_LFSR_OFFSET), word = 0;
    int result = RLU_OK;

    for (uint32_t i = 0; i < RLU_POLICY_ENTRIES; i++)
        before[i] = get(unit, RLU_POLICY_OFFSET + RLU_POLICY_STRIDE * i);
    make_policy(unit, varied, doubt, RLU_COMMAND_RECOMMEND_MASK);
    read_policy(unit, policy, rows);
    *accuracy = (get(unit, RLU_PLAN_OFFSET) & RLU_PLAN_ACCURACY_MASK) >> RLU_PLAN_ACCURACY_SHIFT;
    for (uint32_t row = 0; trials != NULL && row < rows; row++) {
        if (rlu_read_memory(unit, RLU_TRIALS_WORD(row, policy[row]), &word, 1) != RLU_OK)
            result = RLU_REFUSED;
        trials[row] = (uint8_t)word;
    }
    rlu_put(unit, RLU_LFSR_OFFSET, lfsr);
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

void rlu_enable_irq(const rlu_unit *unit, uint32_t mask)
{
    rlu_put(unit, RLU_IRQ_ENABLE_OFFSET, mask);
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
