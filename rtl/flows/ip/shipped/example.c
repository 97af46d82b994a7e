/* Searches with the driver: what an application does. `measure_` functions are the application's own. */
#include <stddef.h>

#include "rlu.h"

#define ROWS (RLU_PARAM_STATES < 9 ? RLU_PARAM_STATES : 9)
#define ROUNDS 12

/* Latency and energy of a policy as fractions of full scale, and its accuracy, as coefficients. */
extern void measure_cost(const uint8_t *policy, uint32_t rows, uint32_t *latency, uint32_t *energy);
extern uint32_t measure_accuracy(const uint8_t *policy, uint32_t rows);

/* Search for the best policy; 0, or a negative error of the driver. */
int search(const rlu_unit *unit, uint8_t *policy)
{
    uint8_t counts[ROWS];
    rlu_task task = {counts, ROWS, 1, RLU_COEF(0.25), RLU_COEF(0.99)};
    int result;

    for (uint32_t row = 0; row < ROWS; row++)
        counts[row] = RLU_PARAM_ACTIONS < 3 ? RLU_PARAM_ACTIONS : 3;
    if ((result = rlu_open(unit)) != RLU_OK || (result = rlu_configure(unit, &task)) != RLU_OK)
        return result;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        uint32_t latency, energy, accuracy = 0;
        int32_t reward;

        /* Explore less and less. */
        if ((result = rlu_sample(unit, RLU_COEF(1.0) / ROUNDS * (ROUNDS - round), policy, ROWS)) != RLU_OK)
            return result;
        measure_cost(policy, ROWS, &latency, &energy);
        if ((result = rlu_is_outlier(unit, latency, energy)) < 0)
            return result;
        if (result == 0) /* not worth the time otherwise: the reward will be 0 */
            accuracy = measure_accuracy(policy, ROWS);
        if ((result = rlu_learn(unit, accuracy, &reward)) != RLU_OK)
            return result;
    }
    return rlu_sample(unit, 0, policy, ROWS); /* the best actions found */
}

#if RLU_PARAM_POINTS > 0
#define POINTS (RLU_PARAM_POINTS < RLU_PARAM_ACTIONS ? RLU_PARAM_POINTS : RLU_PARAM_ACTIONS)
#define HALF RLU_COEF(0.5)

/* What an action of a row adds to latency and energy at an operating point, as fractions of full scale. */
extern void measure_action(uint32_t point, uint32_t row, uint32_t action, uint32_t *latency, uint32_t *energy);

/* The same with a unit that plans: it is told what each action costs before it starts. `accuracy` is that predicted for
 * the policy. */
int planned_search(const rlu_unit *unit, uint8_t *policy, uint32_t *accuracy)
{
    uint8_t counts[ROWS];
    rlu_task task = {counts, ROWS, 1, 0, 0};
    rlu_planning how = {RLU_PLANNING_RESET | RLU_PLANNING_TRUST_MASK, RLU_GAIN(1.0)};
    int result;

    for (uint32_t row = 0; row < ROWS; row++)
        counts[row] = RLU_PARAM_ACTIONS < 3 ? RLU_PARAM_ACTIONS : 3;
    counts[ROWS - 1] = POINTS; /* the last row chooses the operating point */
    if ((result = rlu_open(unit)) != RLU_OK || (result = rlu_configure(unit, &task)) != RLU_OK ||
        (result = rlu_plans(unit, &how)) != RLU_OK)
        return result;
    for (uint32_t point = 0; point < POINTS; point++)
        for (uint32_t row = 0; row < ROWS; row++) {
            uint32_t latency[RLU_PARAM_ACTIONS], energy[RLU_PARAM_ACTIONS];

            for (uint32_t action = 0; action < counts[row]; action++)
                measure_action(point, row, action, &latency[action], &energy[action]);
            if ((result = rlu_load_costs(unit, point, row, latency, energy, counts[row])) != RLU_OK)
                return result;
        }
    for (uint32_t round = 0; round < ROUNDS; round++) {
        uint32_t latency, energy, measured = 0, doubt = RLU_DOUBT_RESET + RLU_DOUBT_RESET * round / 40;
        int32_t reward;

        /* Doubt more and more: a search that has found little must look further away. */
        if ((result = rlu_plan(unit, HALF, doubt, policy, ROWS)) != RLU_OK)
            return result;
        measure_cost(policy, ROWS, &latency, &energy);
        if ((result = rlu_is_outlier(unit, latency, energy)) < 0)
            return result;
        if (result == 0)
            measured = measure_accuracy(policy, ROWS);
        if ((result = rlu_learn(unit, measured, &reward)) != RLU_OK)
            return result;
    }
    return rlu_recommend(unit, HALF, RLU_DOUBT_RESET, policy, ROWS, accuracy, NULL); /* what should be deployed */
}
#endif
