/* SPDX-License-Identifier: Apache-2.0
 * A whole search by the unit, without a host. The package's example searches; the costs and accuracies are tables here,
 * in the processor's own memory. Every word that the driver reads is printed, the policy at the end, and then END. */
#include "port.h"
#include "rlu.h"

int search(const rlu_unit *unit, uint8_t *policy); /* example.c */
void measure_cost(const uint8_t *policy, uint32_t rows, uint32_t *latency, uint32_t *energy);
uint32_t measure_accuracy(const uint8_t *policy, uint32_t rows);
int main(void);

#define ROWS (RLU_PARAM_STATES < 9 ? RLU_PARAM_STATES : 9)
#define CHOICES 3
#define END_OF_TRANSMISSION 4

/* Latency, energy and lost accuracy of each row's actions, in 1/256 of full scale: coarse bits are cheap and inexact.
 * Made up; a real table comes from `rlu chip table` and a trained network. */
static const uint8_t costs[9][CHOICES][3] = {
    {{4, 3, 9}, {7, 6, 2}, {12, 11, 0}},  {{6, 5, 14}, {11, 9, 4}, {19, 17, 0}}, {{5, 4, 11}, {9, 8, 3}, {16, 14, 0}},
    {{8, 7, 7}, {13, 12, 2}, {22, 20, 0}}, {{7, 6, 6}, {12, 11, 1}, {20, 18, 0}}, {{9, 8, 5}, {15, 14, 1}, {24, 22, 0}},
    {{6, 6, 4}, {10, 10, 1}, {17, 17, 0}}, {{4, 3, 3}, {6, 5, 1}, {10, 8, 0}},    {{2, 2, 18}, {4, 3, 6}, {6, 5, 0}},
};

static volatile uint32_t interrupts;

static void print(const char *text)
{
    while (*text)
        port_print(*text++);
}

static void print_hex(uint32_t word)
{
    for (int shift = 28; shift >= 0; shift -= 4)
        port_print("0123456789abcdef"[word >> shift & 15]);
}

static void print_number(uint32_t number)
{
    if (number >= 10)
        print_number(number / 10);
    port_print((char)('0' + number % 10));
}

static uint32_t quiet_read(void *context, uint32_t offset)
{
    (void)context;
    return port_read(offset);
}

/* Reads, and prints the word; not while the unit is busy, which a model of it never is. */
static uint32_t printed_read(void *context, uint32_t offset)
{
    uint32_t word = quiet_read(context, offset);

    if (offset == RLU_STATUS_OFFSET && (word & RLU_STATUS_BUSY_MASK))
        return word;
    print("read ");
    print_hex(offset);
    port_print(' ');
    print_hex(word);
    port_print('\n');
    return word;
}

static void write_word(void *context, uint32_t offset, uint32_t word)
{
    (void)context;
    port_write(offset, word);
}

static const rlu_unit unit = {.read = printed_read, .write = write_word};
static const rlu_unit quiet_unit = {.read = quiet_read, .write = write_word};

void handle_interrupt(void)
{
    if (rlu_acknowledge_irq(&quiet_unit) & RLU_IRQ_STATUS_DONE_MASK)
        interrupts++;
}

static uint32_t total(const uint8_t *policy, uint32_t rows, uint32_t which)
{
    uint32_t sum = 0;

    for (uint32_t row = 0; row < rows; row++)
        sum += costs[row][policy[row]][which];
    return sum < 256 ? sum : 256;
}

static uint32_t coefficient(uint32_t parts)
{
    return (parts << RLU_PARAM_COEF_FRAC) >> 8;
}

void measure_cost(const uint8_t *policy, uint32_t rows, uint32_t *latency, uint32_t *energy)
{
    *latency = coefficient(total(policy, rows, 0));
    *energy = coefficient(total(policy, rows, 1));
}

uint32_t measure_accuracy(const uint8_t *policy, uint32_t rows)
{
    return coefficient(240 - total(policy, rows, 2));
}

int main(void)
{
    uint8_t policy[ROWS] = {0};
    int result;

    print("RLU SoC\n");
    irq_enable();
    rlu_enable_irq(&unit, RLU_IRQ_ENABLE_DONE_MASK);
    result = search(&unit, policy);
    print("result ");
    print_number(result < 0 ? (uint32_t)-result : (uint32_t)result);
    print("\npolicy");
    for (uint32_t row = 0; row < ROWS; row++) {
        port_print(' ');
        print_number(policy[row]);
    }
    port_print('\n');
    for (uint32_t row = 0; row < ROWS; row++)
        for (uint32_t action = 0; action < RLU_PARAM_ACTIONS && action < CHOICES; action++)
            (void)rlu_q_value(&unit, row, action);
    print("interrupts ");
    print_number(interrupts);
    print("\nEND\n");
    port_print(END_OF_TRANSMISSION);
    return 0;
}
