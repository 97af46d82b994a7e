// Properties of the unit's AXI4-Lite port, for any master: what the unit's own proofs show of it.
// Bind it beside the unit in simulation (Verilator --assert, Questa, VCS, Xcelium) or in a formal tool.
module rlu_sva_axi4lite #(
    parameter int LATENCY,     // cycles from the last handshake of a request to its answer
    parameter int WRITE_WAITS, // cycles that a write may wait for a read besides
    parameter int READ_WAITS   // cycles that a read may wait for a write besides
) (
    input logic clk,
    input logic rst,
    input logic s_axi_awvalid,
    input logic s_axi_awready,
    input logic s_axi_wvalid,
    input logic s_axi_wready,
    input logic s_axi_bvalid,
    input logic s_axi_bready,
    input logic [1:0] s_axi_bresp,
    input logic s_axi_arvalid,
    input logic s_axi_arready,
    input logic s_axi_rvalid,
    input logic s_axi_rready,
    input logic [1:0] s_axi_rresp,
    input logic [31:0] s_axi_rdata
);
  // Requests taken and not answered yet: one whose answer waits, and the next.
  logic [1:0] addresses, words, reads;
  logic [7:0] write_waited, read_waited;
  wire write_waits = addresses != 0 && words != 0 && !s_axi_bvalid;
  wire read_waits = reads != 0 && !s_axi_rvalid;

  always @(posedge clk)
    if (rst) begin
      addresses <= 0;
      words <= 0;
      reads <= 0;
      write_waited <= 0;
      read_waited <= 0;
    end else begin
      addresses <= addresses + 2'(s_axi_awvalid && s_axi_awready) - 2'(s_axi_bvalid && s_axi_bready);
      words <= words + 2'(s_axi_wvalid && s_axi_wready) - 2'(s_axi_bvalid && s_axi_bready);
      reads <= reads + 2'(s_axi_arvalid && s_axi_arready) - 2'(s_axi_rvalid && s_axi_rready);
      write_waited <= write_waits ? write_waited + 1 : 0;
      read_waited <= read_waits ? read_waited + 1 : 0;
    end

  // An answer waits, unchanged, until it is taken.
  write_answer_held :
  assert property (@(posedge clk) disable iff (rst)
    s_axi_bvalid && !s_axi_bready |=> s_axi_bvalid && $stable(s_axi_bresp));
  read_answer_held :
  assert property (@(posedge clk) disable iff (rst)
    s_axi_rvalid && !s_axi_rready |=> s_axi_rvalid && $stable(s_axi_rresp) && $stable(s_axi_rdata));

  // None is there after a clock edge in reset.
  no_answer_from_reset :
  assert property (@(posedge clk) rst |=> !s_axi_bvalid && !s_axi_rvalid);

  // It belongs to a request that was taken before.
  write_answer_asked_for :
  assert property (@(posedge clk) disable iff (rst) s_axi_bvalid |-> addresses != 0 && words != 0);
  read_answer_asked_for :
  assert property (@(posedge clk) disable iff (rst) s_axi_rvalid |-> reads != 0);

  // It comes in time.
  write_answer_in_time :
  assert property (@(posedge clk) disable iff (rst) write_waits |-> 32'(write_waited) < LATENCY - 1 + WRITE_WAITS);
  read_answer_in_time :
  assert property (@(posedge clk) disable iff (rst) read_waits |-> 32'(read_waited) < LATENCY - 1 + READ_WAITS);

  // It is OKAY or SLVERR.
  write_answer_code :
  assert property (@(posedge clk) disable iff (rst) s_axi_bvalid |-> s_axi_bresp == 0 || s_axi_bresp == 2);
  read_answer_code :
  assert property (@(posedge clk) disable iff (rst) s_axi_rvalid |-> s_axi_rresp == 0 || s_axi_rresp == 2);
endmodule
