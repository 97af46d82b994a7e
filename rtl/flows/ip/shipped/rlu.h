/* Driver of the RL unit: C99 or later, or C++; no library, no heap. The unit's registers are in rlu_regs.h.
 *
 * Values are words in the unit's own formats; RLU_COEF and RLU_GAIN make them from constants at compile time.
 * Functions return RLU_OK, or a negative error. After RLU_REFUSED the unit's error flags have been cleared; after
 * RLU_TIMEOUT it is still at work, and refuses every write, and reads of windows, until it is done or reset. rlu_open,
 * rlu_save and rlu_restore begin by clearing flags that somebody else left behind; all others report them.
 */
#ifndef RLU_H
#define RLU_H

#include <stdint.h>

#include "rlu_regs.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A fraction 0..1 as a coefficient (probability, weight, threshold, measurement), a number 0..15.9 as a gain. */
#define RLU_COEF(x) ((uint32_t)((x) * (double)(1ul << RLU_PARAM_COEF_FRAC) + 0.5))
#define RLU_GAIN(x) ((uint32_t)((x) * (double)(1ul << RLU_PARAM_GAIN_FRAC) + 0.5))

#define RLU_COEF_ONE (UINT32_C(1) << RLU_PARAM_COEF_FRAC)

enum {
    RLU_OK = 0,
    RLU_NO_UNIT = -1,   /* ID or major version is not that of an RL unit of this register map */
    RLU_OTHER_UNIT = -2, /* an RL unit, or a saved state, of other parameters than rlu_regs.h */
    RLU_REFUSED = -3,   /* the unit refused an access: a value out of range, or an access while busy */
    RLU_TIMEOUT = -4,   /* the unit was still busy when patience had run out */
    RLU_DAMAGED = -5    /* a saved state is not what rlu_save wrote */
};

/* How to reach one unit. Offsets are those of rlu_regs.h, from the unit's base address. */
typedef struct {
    uint32_t (*read)(void *context, uint32_t offset);
    void (*write)(void *context, uint32_t offset, uint32_t word);
    void (*idle)(void *context); /* called over and over while the unit works (sleep, wait for irq); may be NULL */
    void *context;
    uint32_t patience; /* how often a wait looks whether the unit is done before it gives up; 0: for ever */
} rlu_unit;

/* A task: what is searched, and how. Registers that are not here keep their values. */
typedef struct {
    const uint8_t *action_counts; /* actions of every row, 1..RLU_PARAM_ACTIONS */
    uint32_t rows;                /* their number, 1..RLU_PARAM_STATES */
    uint32_t seed;                /* of the random numbers, 1..RLU_LFSR_MAX */
    uint32_t alpha, gamma;        /* learning rate, discount: coefficients */
} rlu_task;

/* Check that a unit of these parameters answers. */
int rlu_open(const rlu_unit *unit);

/* Begin a task: write it, and clear the Q-table. RLU_REFUSED for a value out of range: if it is `rows`, nothing has been
 * written, else all the rest has. */
int rlu_configure(const rlu_unit *unit, const rlu_task *task);

/* The reward, in coefficients; without these, it keeps what it was set to before. Weights: how much each measurement
 * counts. */
int rlu_set_weights(const rlu_unit *unit, uint32_t accuracy, uint32_t latency, uint32_t energy);

/* Thresholds: the accuracy at or below which, and the latency and energy from which, a policy's reward is 0. */
int rlu_set_thresholds(const rlu_unit *unit, uint32_t accuracy, uint32_t latency, uint32_t energy);

/* Normalisation: latency and energy score 1 at low and 0 at high. RLU_REFUSED, and nothing is written, unless
 * low < high <= RLU_COEF(1.0), and for a span so small that its gain, 1 / (high - low), is no gain. */
int rlu_set_ranges(const rlu_unit *unit, uint32_t latency_low, uint32_t latency_high, uint32_t energy_low,
                   uint32_t energy_high);

/* Draw a new policy, one action per row; epsilon is a coefficient: the probability that a row explores. */
int rlu_sample(const rlu_unit *unit, uint32_t epsilon, uint8_t *policy, uint32_t rows);

/* Hand over latency and energy, as fractions of full scale: 1 if a threshold is missed, else 0. */
int rlu_is_outlier(const rlu_unit *unit, uint32_t latency, uint32_t energy);

/* Hand over the accuracy, compute the reward and learn from it; the reward is in units of 2**-RLU_PARAM_Q_FRAC.
 * RLU_REFUSED, too, if the policy has an action that its row has not. */
int rlu_learn(const rlu_unit *unit, uint32_t accuracy, int32_t *reward);

/* Replace the policy by the application's own, for rlu_learn. RLU_REFUSED, and nothing is written, for more than
 * RLU_PARAM_STATES rows, and for an action of RLU_PARAM_ACTIONS or above. */
int rlu_write_policy(const rlu_unit *unit, const uint8_t *policy, uint32_t rows);

/* One Q-value, in the same units. */
int32_t rlu_q_value(const rlu_unit *unit, uint32_t row, uint32_t action);

/* A unit that plans (RLU_PARAM_POINTS above 0). Another refuses all of this. */

/* How it plans. */
typedef struct {
    uint32_t planning; /* PLANNING: RLU_PLANNING_RESET, with RLU_PLANNING_TRUST_MASK if measured accuracies are exact */
    uint32_t ridge;    /* RIDGE, a gain: 1 if measured accuracies are exact, more if they are not */
} rlu_planning;

/* Let the task that was configured be planned; it has a learning rate of its own. Then load the costs. */
int rlu_plans(const rlu_unit *unit, const rlu_planning *how);

/* What the first actions of a row add to latency and energy at an operating point, as coefficients: fractions of full
 * scale. The last row's action is the operating point; its own cost is what no other row accounts for. RLU_REFUSED for
 * a cost above RLU_COEF(1.0). */
int rlu_load_costs(const rlu_unit *unit, uint32_t point, uint32_t row, const uint32_t *latency, const uint32_t *energy,
                   uint32_t actions);

/* Plan the next policy, one action per row. Coefficients: the share of the rows that the start of a climb varies, and
 * the doubt about a row whose action was never tried. */
int rlu_plan(const rlu_unit *unit, uint32_t varied, uint32_t doubt, uint8_t *policy, uint32_t rows);

/* The policy that the unit believes to be best, the accuracy that it predicts, and how often the action of each row was
 * tried; `trials` may be NULL. What rlu_learn and rlu_plan go on from stays the same, except after RLU_TIMEOUT. */
int rlu_recommend(const rlu_unit *unit, uint32_t varied, uint32_t doubt, uint8_t *policy, uint32_t rows,
                  uint32_t *accuracy, uint8_t *trials);

/* Numbers of the words of its memories. A cost is latency in bits 15..0 and energy in bits 31..16. An episode is the
 * words of its policy, as in the window POLICY, and its result: accuracy in bits 15..0, and what it has taught in bits
 * 31..16. */
#define RLU_COST_WORD(point, row, action) \
    (RLU_MEMORY_COSTS | (uint32_t)(point) << RLU_MEMORY_COSTS_POINT_SHIFT | \
     (uint32_t)(row) << RLU_MEMORY_COSTS_ROW_SHIFT | (uint32_t)(action))
#define RLU_TRIALS_WORD(row, action) \
    (RLU_MEMORY_TRIALS | (uint32_t)(row) << RLU_MEMORY_TRIALS_ROW_SHIFT | (uint32_t)(action))
#define RLU_POLICY_WORD(episode, word) \
    (RLU_MEMORY_POLICIES | (uint32_t)(episode) << RLU_MEMORY_POLICIES_EPISODE_SHIFT | (uint32_t)(word))
#define RLU_RESULT_WORD(episode) (RLU_MEMORY_RESULTS | (uint32_t)(episode))

/* Read or write some words of a memory, one after another. A written result makes its episode the newest: restore the
 * results last, from the oldest to the newest. If trials were counted, but none of the results was measured, write any
 * accuracy as the first result before them: without a measured result the unit begins its effects again. */
int rlu_read_memory(const rlu_unit *unit, uint32_t first, uint32_t *words, uint32_t count);
int rlu_write_memory(const rlu_unit *unit, uint32_t first, const uint32_t *words, uint32_t count);

/* How many episodes are stored, and the place of the oldest. The next ones follow it, after RLU_PARAM_EPISODES - 1 comes
 * 0. */
void rlu_episodes(const rlu_unit *unit, uint32_t *stored, uint32_t *oldest);

/* Save a search, and go on with it later, in this unit or another one of the same parameters, after a reset or a
 * power-up too. `state` has RLU_STATE_WORDS words, which belong to the caller. Saved are the settings, the random
 * numbers, policy, action counts and Q-values, and of a unit that plans costs, trials and episodes; not interrupts, and
 * not the accuracy that was predicted last. rlu_save refuses an episodic search (RLU_REFUSED), whose episodes cannot be
 * read. RLU_OTHER_UNIT, if the unit or the state has other parameters, and RLU_DAMAGED leave the unit, and what `state`
 * points to, as they are; after RLU_TIMEOUT or RLU_REFUSED rlu_restore has written a part. */
#define RLU_STATE_SETTINGS 30 /* words before the policy */
#define RLU_STATE_WORDS \
    (RLU_STATE_SETTINGS + RLU_POLICY_ENTRIES + RLU_ACTION_COUNT_ENTRIES + RLU_Q_TABLE_ENTRIES * RLU_Q_TABLE_WORDS + \
     (RLU_PARAM_POINTS > 0 ? (RLU_PARAM_POINTS + 1) * RLU_PARAM_STATES * RLU_PARAM_ACTIONS + \
                                 RLU_PARAM_EPISODES * (RLU_POLICY_ENTRIES + 1) \
                           : 0) + \
     1)
int rlu_save(const rlu_unit *unit, uint32_t *state);
int rlu_restore(const rlu_unit *unit, const uint32_t *state);

/* Write one register, and wait until the unit is done with it: RLU_OK or RLU_TIMEOUT. */
int rlu_put(const rlu_unit *unit, uint32_t offset, uint32_t word);

/* Wait until the unit is idle: RLU_OK or RLU_TIMEOUT. */
int rlu_wait(const rlu_unit *unit);

/* RLU_REFUSED if an error flag is set, which clears it, else RLU_OK. `flags`, if not NULL, gets the STATUS word. */
int rlu_check(const rlu_unit *unit, uint32_t *flags);

/* Which of the interrupts RLU_IRQ_ENABLE_DONE_MASK and RLU_IRQ_ENABLE_ERROR_MASK raise irq. */
int rlu_enable_irq(const rlu_unit *unit, uint32_t mask);

/* For the interrupt handler: clears the pending interrupts, which lowers irq, and returns them. While the unit is busy it
 * returns 0 and changes nothing: new work began before the handler ran, and irq rises again when that work ends. */
uint32_t rlu_acknowledge_irq(const rlu_unit *unit);

#ifdef __cplusplus
}
#endif

#endif /* RLU_H */
