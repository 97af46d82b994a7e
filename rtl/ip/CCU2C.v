// Lattice ECP5's carry cell, for simulation and lint only: two look-up tables of four inputs, each with a carry.
// The tools for that family bring their own; leave this file out of synthesis.
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
  // The carry passes where the look-up table of all four inputs gives 1, else the one of A and B makes it.
  wire lut4_0 = INIT0[{D0, C0, B0, A0}];
  wire lut4_1 = INIT1[{D1, C1, B1, A1}];
  wire lut2_0 = INIT0[{2'b00, B0, A0}];
  wire lut2_1 = INIT1[{2'b00, B1, A1}];
  wire carry = lut4_0 ? CIN : INJECT1_0 != "YES" && lut2_0;
  assign S0 = lut4_0 ^ (INJECT1_0 != "YES" && CIN);
  assign S1 = lut4_1 ^ (INJECT1_1 != "YES" && carry);
  assign COUT = lut4_1 ? carry : INJECT1_1 != "YES" && lut2_1;
endmodule
