"""What the engine and the service cost, beside the bare network and beside what people use today (`make bench`)."""
