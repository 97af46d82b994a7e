// Bench of the packaged RL unit in plain Verilog. It plays rlu_scenario.vh, whose expected words come from the
// unit's golden model, over the bus. Ends with PASS, or with FAIL and a non-zero exit code.
//
//   iverilog -g2012 -I . -I bench -o rlu_tb.vvp bench/*.v rlu*.v && vvp -n rlu_tb.vvp
//
// With +waves it writes rlu_tb.vcd, for which waves/rlu.gtkw is the signal list.
`timescale 1ns / 1ps
`include "rlu_regs.vh"

module rlu_tb;
  reg clk = 0;
  reg rst = 1;
  wire rst_n = ~rst;  // for a unit whose reset is active low
  always #5 clk = ~clk;

  integer checks = 0;
  integer failures = 0;
  reg [31:0] word;
  reg refused;

  // The unit, and the tasks bus_write(address, data) and bus_read(address), which set `word` and `refused`.
  `include "rlu_bus.vh"

  task fail(input [31:0] address, input [31:0] expected);
    begin
      failures = failures + 1;
      $display("address 0x%04h: read 0x%08h%0s, expected 0x%08h", address, word, refused ? " (refused)" : "", expected);
    end
  endtask

  task write(input [31:0] address, input [31:0] data);
    begin
      bus_write(address, data);
      checks = checks + 1;
      if (refused !== 1'b0) begin
        failures = failures + 1;
        $display("address 0x%04h: a write of 0x%08h was refused", address, data);
      end
    end
  endtask

  // The word must be the expected one.
  task expect_word(input [31:0] address, input [31:0] expected);
    begin
      bus_read(address);
      checks = checks + 1;
      if (refused !== 1'b0 || word !== expected) fail(address, expected);
    end
  endtask

  // The bus must answer with an error.
  task refuse_write(input [31:0] address, input [31:0] data);
    begin
      bus_write(address, data);
      checks = checks + 1;
      if (refused !== 1'b1) begin
        failures = failures + 1;
        $display("address 0x%04h: a write of 0x%08h was not refused", address, data);
      end
    end
  endtask

  task refuse_read(input [31:0] address);
    begin
      bus_read(address);
      checks = checks + 1;
      if (refused !== 1'b1) begin
        failures = failures + 1;
        $display("address 0x%04h: a read was not refused", address);
      end
    end
  endtask

  // Waiting by polling: read STATUS until it is not busy.
  task wait_idle;
    begin
      bus_read(`RLU_STATUS_OFFSET);
      while ((word & `RLU_STATUS_BUSY_MASK) != 0) bus_read(`RLU_STATUS_OFFSET);
    end
  endtask

  // Waiting for the interrupt, and acknowledging it as a handler does.
  task wait_irq;
    begin
      while (!irq) @(posedge clk);
      expect_word(`RLU_IRQ_STATUS_OFFSET, `RLU_IRQ_STATUS_DONE_MASK);
      write(`RLU_IRQ_STATUS_OFFSET, `RLU_IRQ_STATUS_DONE_MASK);
      repeat (4) @(posedge clk);
      checks = checks + 1;
      if (irq !== 1'b0) begin
        failures = failures + 1;
        $display("irq is still high after it was acknowledged");
      end
    end
  endtask

  `include "rlu_scenario.vh"

  task finish;
    begin
      if (failures == 0) begin
        $display("PASS: %0d checks", checks);
        $finish;
      end else begin
        $display("FAIL: %0d of %0d checks", failures, checks);
        $fatal;
      end
    end
  endtask

  initial begin
    if ($test$plusargs("waves")) begin
      $dumpfile("rlu_tb.vcd");
      $dumpvars(0, rlu_tb);
    end
    repeat (4) @(posedge clk);
    #1 rst = 0;
    scenario;
    finish;
  end

  // A handshake or an interrupt that never comes is a failure too.
  integer seen = 0;
  integer waited = 0;
  always @(posedge clk) begin
    waited = checks == seen ? waited + 1 : 0;
    seen = checks;
    if (waited == 10000) begin
      failures = failures + 1;
      $display("the unit hangs: %0d clock cycles after check %0d", waited, checks);
      finish;
    end
  end
endmodule
