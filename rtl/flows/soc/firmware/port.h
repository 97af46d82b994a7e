/* SPDX-License-Identifier: Apache-2.0
 * What the firmware needs of the place where it runs: port_soc.c on the SoC, port_pipe.c on a host. */
#ifndef PORT_H
#define PORT_H

#include <stdint.h>

uint32_t port_read(uint32_t offset); /* a word of the unit */
void port_write(uint32_t offset, uint32_t word);
void port_print(char character);
void irq_enable(void); /* from here on the unit's interrupt calls handle_interrupt */

void handle_interrupt(void); /* main.c's */

#endif
