/* A search with the driver: what an application does. `measure_` functions are the application's own. */
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
