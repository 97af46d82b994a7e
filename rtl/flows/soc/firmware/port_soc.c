/* SPDX-License-Identifier: Apache-2.0
 * The firmware's port on the SoC: the unit and LiteX's serial port, in memory. */
#include "port.h"
#include "soc.h"

static volatile uint32_t *const unit = (volatile uint32_t *)SOC_UNIT;
static volatile uint32_t *const uart = (volatile uint32_t *)SOC_UART;

enum { RXTX, TXFULL };

uint32_t port_read(uint32_t offset)
{
    return unit[offset / 4];
}

void port_write(uint32_t offset, uint32_t word)
{
    unit[offset / 4] = word;
}

void port_print(char character)
{
    while (uart[TXFULL])
        ;
    uart[RXTX] = (uint8_t)character;
}
