// Bus tasks of the bench for AXI4-Lite.
`include "rlu_inst.vh"

reg awvalid = 0;
reg wvalid = 0;
reg bready = 0;
reg arvalid = 0;
reg rready = 0;
reg [31:0] addr = 0;
reg [31:0] wdata = 0;
assign s_axi_awvalid = awvalid;
assign s_axi_awaddr = addr;  // only the low bits have wires
assign s_axi_awprot = 3'b000;
assign s_axi_wvalid = wvalid;
assign s_axi_wdata = wdata;
assign s_axi_wstrb = 4'b1111;
assign s_axi_bready = bready;
assign s_axi_arvalid = arvalid;
assign s_axi_araddr = addr;
assign s_axi_arprot = 3'b000;
assign s_axi_rready = rready;

// Signals change shortly after the rising edge of the clock; the answers are sampled at its falling edge.
reg aw_taken;
reg w_taken;
// Cycles that an answer is let wait, in which it must not change; without one the master is ready before it comes.
reg [1:0] patience = 0;

task unsteady;
  begin
    failures = failures + 1;
    $display("address 0x%04h: the answer changed before it was taken", addr);
  end
endtask

task bus_write(input [31:0] address, input [31:0] data);
  begin
    addr = address;
    wdata = data;
    #1 awvalid = 1;
    wvalid = 1;
    while (awvalid || wvalid) begin
      @(negedge clk);
      aw_taken = s_axi_awready;
      w_taken = s_axi_wready;
      @(posedge clk);
      #1 if (aw_taken) awvalid = 0;
      if (w_taken) wvalid = 0;
    end
    bready = patience == 0;
    @(negedge clk);
    while (s_axi_bvalid !== 1'b1) @(negedge clk);
    refused = s_axi_bresp != 2'b00;
    repeat (patience) begin
      @(negedge clk);
      if (s_axi_bvalid !== 1'b1 || (s_axi_bresp != 2'b00) !== refused) unsteady;
    end
    if (patience != 0) begin
      @(posedge clk);
      #1 bready = 1;
    end
    @(posedge clk);
    #1 bready = 0;
    patience = patience + 1;
  end
endtask

task bus_read(input [31:0] address);
  begin
    addr = address;
    #1 arvalid = 1;
    @(negedge clk);
    while (s_axi_arready !== 1'b1) @(negedge clk);
    @(posedge clk);
    #1 arvalid = 0;
    rready = patience == 0;
    @(negedge clk);
    while (s_axi_rvalid !== 1'b1) @(negedge clk);
    word = s_axi_rdata;
    refused = s_axi_rresp != 2'b00;
    repeat (patience) begin
      @(negedge clk);
      if (s_axi_rvalid !== 1'b1 || s_axi_rdata !== word || (s_axi_rresp != 2'b00) !== refused) unsteady;
    end
    if (patience != 0) begin
      @(posedge clk);
      #1 rready = 1;
    end
    @(posedge clk);
    #1 rready = 0;
    patience = patience + 1;
  end
endtask
