// Bus tasks of the bench for Wishbone: classic single cycles.
`include "rlu_inst.vh"

reg cyc = 0;
reg we = 0;
reg [31:0] addr = 0;
reg [31:0] wdata = 0;
assign wb_cyc = cyc;
assign wb_stb = cyc;
assign wb_we = we;
assign wb_adr = addr >> 2;  // Wishbone addresses words; only the low bits have wires
assign wb_dat_w = wdata;
assign wb_sel = 4'b1111;

// Signals change shortly after the rising edge of the clock; the answers are sampled at its falling edge.
task bus_access;
  begin
    #1 cyc = 1;
    @(negedge clk);
    while (wb_ack !== 1'b1 && wb_err !== 1'b1) @(negedge clk);
    word = wb_dat_r;
    refused = wb_err;
    @(posedge clk);
    #1 cyc = 0;
  end
endtask

task bus_write(input [31:0] address, input [31:0] data);
  begin
    addr = address;
    wdata = data;
    we = 1;
    bus_access;
  end
endtask

task bus_read(input [31:0] address);
  begin
    addr = address;
    we = 0;
    bus_access;
  end
endtask
