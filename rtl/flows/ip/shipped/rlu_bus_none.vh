// Bus tasks of the bench for the unit's own request/acknowledge bus.
`include "rlu_inst.vh"

reg req = 0;
reg we = 0;
reg [31:0] addr = 0;
reg [31:0] wdata = 0;
assign bus__req = req;
assign bus__we = we;
assign bus__addr = addr;  // only the low bits have wires
assign bus__wdata = wdata;

// Signals change shortly after the rising edge of the clock; the answers are sampled at its falling edge.
task bus_access;
  begin
    #1 req = 1;
    @(negedge clk);
    while (bus__ack !== 1'b1) @(negedge clk);
    word = bus__rdata;
    refused = bus__err;
    @(posedge clk);
    #1 req = 0;
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
