// Lattice ECP5's carry cell, for simulation and lint only: two look-up tables of four inputs, each with a carry.
// The tools for that family bring their own; leave this file out of synthesis.
// Two units in one design each bring it.
`ifndef CCU2C_MODEL
`define CCU2C_MODEL
module CCU2C #(
    parameter [15:0] INIT0 = 16'h0000,
    parameter [15:0] INIT1 = 16'h0000,
    parameter [23:0] INJECT1_0 = "YES",
    parameter [23:0] INJECT1_1 = "YES"
) (
    input CIN,
    input A0,
    input B0,
    input C0,
    input D0,
    input A1,
    input B1,
    input C1,
    input D1,
    output S0,
    output S1,
    output COUT
);
  // A bit of a table, chosen input by input: an unknown one that makes no difference makes the result no less known.
  function lut(input [15:0] init, input a, input b, input c, input d);
    reg [7:0] by_d;
    reg [3:0] by_c;
    reg [1:0] by_b;
    begin
      by_d = d ? init[15:8] : init[7:0];
      by_c = c ? by_d[7:4] : by_d[3:0];
      by_b = b ? by_c[3:2] : by_c[1:0];
      lut = a ? by_b[1] : by_b[0];
    end
  endfunction

  // The carry passes where the look-up table of all four inputs gives 1, else the one of A and B makes it.
  wire lut4_0 = lut(INIT0, A0, B0, C0, D0);
  wire lut4_1 = lut(INIT1, A1, B1, C1, D1);
  wire lut2_0 = lut(INIT0, A0, B0, 1'b0, 1'b0);
  wire lut2_1 = lut(INIT1, A1, B1, 1'b0, 1'b0);
  wire carry = lut4_0 ? CIN : INJECT1_0 != "YES" && lut2_0;
  assign S0 = lut4_0 ^ (INJECT1_0 != "YES" && CIN);
  assign S1 = lut4_1 ^ (INJECT1_1 != "YES" && carry);
  assign COUT = lut4_1 ? carry : INJECT1_1 != "YES" && lut2_1;
endmodule
`endif
