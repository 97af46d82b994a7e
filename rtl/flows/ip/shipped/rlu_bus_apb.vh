// Bus tasks of the bench for APB: setup phase, then access phase.
`include "rlu_inst.vh"

reg sel = 0;
reg enable = 0;
reg we = 0;
reg [31:0] addr = 0;
reg [31:0] wdata = 0;
assign s_apb_psel = sel;
assign s_apb_penable = enable;
assign s_apb_paddr = addr;  // only the low bits have wires
assign s_apb_pwrite = we;
assign s_apb_pwdata = wdata;
assign s_apb_pstrb = {4{we}};
assign s_apb_pprot = 3'b000;

// Signals change shortly after the rising edge of the clock; the answers are sampled at its falling edge.
task bus_access;
  begin
    #1 sel = 1;
    @(posedge clk);
    #1 enable = 1;
    @(negedge clk);
    while (s_apb_pready !== 1'b1) @(negedge clk);
    word = s_apb_prdata;
    refused = s_apb_pslverr;
    @(posedge clk);
    #1 sel = 0;
    enable = 0;
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
