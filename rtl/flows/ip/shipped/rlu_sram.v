// A memory of the unit: one read port and one write port of one clock, no reset, any contents at power-up.
//
// This is a model for simulation. Put a module of the same name around your SRAM macro in its place. What the unit needs:
// - read_data is the word whose address was given one cycle ago, until the next rising edge;
// - bit i of write_enable writes the bits [i * GRANULE +: GRANULE] of the word and no others;
// - a read of the word that is written in the same cycle may give anything, and the unit never uses it: here it is X.
module rlu_sram #(
    parameter WIDTH = 32,    // bits of a word
    parameter DEPTH = 2,     // words
    parameter ADDRESS = 1,   // bits of an address
    parameter GRANULE = 32   // bits that are written together; WIDTH is a multiple
) (
    input clk,
    input [ADDRESS-1:0] read_address,
    output reg [WIDTH-1:0] read_data,
    input [ADDRESS-1:0] write_address,
    input [WIDTH-1:0] write_data,
    input [WIDTH/GRANULE-1:0] write_enable
);
  reg [WIDTH-1:0] words[0:DEPTH-1];
  integer i;

  always @(posedge clk) begin
    if (|write_enable && read_address == write_address) read_data <= {WIDTH{1'bx}};
    else read_data <= words[read_address];
    for (i = 0; i < WIDTH / GRANULE; i = i + 1)
      if (write_enable[i]) words[write_address][i*GRANULE+:GRANULE] <= write_data[i*GRANULE+:GRANULE];
  end
endmodule
