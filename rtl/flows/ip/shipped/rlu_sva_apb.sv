// Properties of the unit's APB port, for a requester that follows the rules of APB: what the unit's own proofs show of it.
// Bind it beside the unit in simulation (Verilator --assert, Questa, VCS, Xcelium) or in a formal tool.
module rlu_sva_apb #(
    parameter int LATENCY  // cycles from the setup phase to the answer
) (
    input logic clk,
    input logic rst,
    input logic s_apb_psel,
    input logic s_apb_penable,
    input logic s_apb_pwrite,
    input logic [3:0] s_apb_pstrb,
    input logic s_apb_pready,
    input logic s_apb_pslverr
);
  wire setup = s_apb_psel && !s_apb_penable;
  wire access = s_apb_psel && s_apb_penable;
  wire nothing = s_apb_pwrite && s_apb_pstrb == 0;  // a write of no byte, which has no wait state
  logic skipped, waiting, broken;
  logic [LATENCY:1] asked;  // bit i: a setup phase i cycles ago
  // The requester's rules: an access phase follows each setup phase and lasts until it is ready.
  wire kept = !broken && access == waiting;

  always @(posedge clk)
    if (rst) begin
      skipped <= 0;
      waiting <= 0;
      broken <= 0;
      asked <= 0;
    end else begin
      skipped <= setup && nothing;
      waiting <= setup || (access && !s_apb_pready);
      broken <= !kept;
      asked <= {asked[LATENCY-1:1], setup && !nothing};
    end

  // Each access phase ends in its cycle, and nothing else does.
  ready_in_time :
  assert property (@(posedge clk) disable iff (rst) kept |-> s_apb_pready == (skipped || asked[LATENCY]));
  ready_in_access_phase :
  assert property (@(posedge clk) disable iff (rst) kept && s_apb_pready |-> access);

  // An error comes with the end only, and never for a write of nothing.
  error_with_ready :
  assert property (@(posedge clk) disable iff (rst) s_apb_pslverr |-> s_apb_pready);
  nothing_is_no_error :
  assert property (@(posedge clk) disable iff (rst) kept && skipped |-> !s_apb_pslverr);
endmodule
