// Properties of the unit's Wishbone port, for any master, standard or pipelined: what the unit's own proofs show of it.
// Bind it beside the unit in simulation (Verilator --assert, Questa, VCS, Xcelium) or in a formal tool.
module rlu_sva_wishbone #(
    parameter int LATENCY  // cycles from a request to its answer
) (
    input logic clk,
    input logic rst,
    input logic wb_cyc,
    input logic wb_stb,
    input logic wb_we,
    input logic [3:0] wb_sel,
    input logic wb_ack,
    input logic wb_err,
    input logic wb_stall
);
  wire request = wb_cyc && wb_stb && !wb_stall;
  wire nothing = wb_we && wb_sel == 0;  // a write of no byte, which is answered at once
  logic skipped;
  logic [LATENCY:1] asked;  // bit i: a request i cycles ago
  logic [LATENCY:1] lasts;  // and its bus cycle was not ended since

  always @(posedge clk)
    if (rst) begin
      skipped <= 0;
      asked <= 0;
      lasts <= 0;
    end else begin
      skipped <= request && nothing;
      asked <= {asked[LATENCY-1:1], request && !nothing};
      lasts <= {lasts[LATENCY-1:1] & {LATENCY - 1{wb_cyc}}, request && !nothing};
    end

  // Each request is answered in its cycle, and nothing else is.
  answer_in_time :
  assert property (@(posedge clk) disable iff (rst) (wb_ack || wb_err) == (skipped || lasts[LATENCY]));

  // With one of both.
  one_answer :
  assert property (@(posedge clk) disable iff (rst) !(wb_ack && wb_err));
  nothing_is_acknowledged :
  assert property (@(posedge clk) disable iff (rst) skipped |-> wb_ack);

  // The unit is busy from the cycle after a request to the one of its answer, even if nobody waits for it any more.
  stall :
  assert property (@(posedge clk) disable iff (rst) wb_stall == (skipped || asked != 0));
endmodule
